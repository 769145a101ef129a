"""The figures of a run: shares with intervals, counts that add up to the file's rows, costs.

Computes from rows and judgements; where they are read from and how they are shown is for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from free_video_llm.evaluation.metrics import read_letter, score_text
from free_video_llm.evaluation.row import (
    OF_THE_BATCH,
    OF_THE_QUESTION,
    OF_THE_VIDEO,
    TOKENS,
    Identity,
    Row,
)
from free_video_llm.evaluation.statistics import Share

#: A row's identity to its judgement.
Judgements = Mapping[Identity, Mapping[str, Any]]


@dataclass(frozen=True)
class Marked:
    """A row with its offline metrics: "exact", "contains", "f1", or "choice" and the letter."""

    row: Row
    marks: Mapping[str, float]
    letter: str | None = None

    @property
    def answered(self) -> bool:
        return self.row.answer is not None


def mark(row: Row) -> Marked:
    """Apply the offline metrics to a row; a failed one has none right."""
    question, answer = row.question, row.answer
    if answer is None:
        names = ("choice",) if question.options else ("exact", "contains", "f1")
        return Marked(row, dict.fromkeys(names, 0.0))
    if question.options:
        letter = read_letter(answer.prediction, question.options)
        right = letter is not None and question.options[ord(letter) - ord("A")] == question.answer
        return Marked(row, {"choice": float(right)}, letter)
    scores = score_text(answer.prediction, question.answer)
    marks = {"exact": float(scores.exact), "contains": float(scores.contains), "f1": scores.f1}
    return Marked(row, marks)


@dataclass(frozen=True)
class JudgeFigures:
    """What one judge's verdicts come to.

    Attributes:
        accuracy: yes among judged and failed rows: a question without an answer is not right.
        accuracy_judged: yes among judged rows only, as the field counts.
        score: mean of the judged rows' scores, None without any.
    """

    judged: int
    judge_failed: int
    not_judged: int
    accuracy: Share
    accuracy_judged: Share
    score: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "judged": self.judged,
            "judge_failed": self.judge_failed,
            "not_judged": self.not_judged,
            "accuracy": self.accuracy.to_dict(),
            "accuracy_judged": self.accuracy_judged.to_dict(),
            "score": self.score,
        }


@dataclass(frozen=True)
class Group:
    """The figures of all rows, or of those of one type of question.

    Attributes:
        asked: rows of the question file; answered + failed + not_reached.
        accuracy: of each offline metric, right among the answered and failed rows that it is for.
        f1: mean over the same rows, None for multiple choice.
        unreadable: answers to multiple-choice questions that name no option.
        judges: by the judge's file name.
    """

    name: str
    asked: int
    answered: int
    failed: int
    not_reached: int
    accuracy: Mapping[str, Share]
    f1: float | None
    unreadable: int
    judges: Mapping[str, JudgeFigures]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "asked": self.asked,
            "answered": self.answered,
            "failed": self.failed,
            "not_reached": self.not_reached,
            "accuracy": {name: share.to_dict() for name, share in self.accuracy.items()},
            "f1": self.f1,
            "unreadable": self.unreadable,
            "judges": {name: figures.to_dict() for name, figures in self.judges.items()},
        }


def summarise(
    name: str, asked: int, marked: Sequence[Marked], judges: Mapping[str, Judgements]
) -> Group:
    """The figures of some rows, `asked` of which the question file has."""
    answered = sum(m.answered for m in marked)
    there = {metric for m in marked for metric in m.marks} or {"exact", "contains"}
    metrics = [metric for metric in ("choice", "exact", "contains") if metric in there]
    return Group(
        name=name,
        asked=asked,
        answered=answered,
        failed=len(marked) - answered,
        not_reached=asked - len(marked),
        accuracy={
            metric: Share(int(sum(marks)), len(marks))
            for metric in metrics
            for marks in [[m.marks[metric] for m in marked if metric in m.marks]]
        },
        f1=_mean(m.marks["f1"] for m in marked if "f1" in m.marks),
        unreadable=sum(m.answered and "choice" in m.marks and m.letter is None for m in marked),
        judges={judge: _judge_figures(marked, verdicts) for judge, verdicts in judges.items()},
    )


def _judge_figures(marked: Sequence[Marked], verdicts: Judgements) -> JudgeFigures:
    answered = [m for m in marked if m.answered]
    found = [verdicts.get(m.row.identity, {"status": "not judged"}) for m in answered]
    judged = [verdict for verdict in found if verdict["status"] == "judged"]
    yes = sum(verdict["pred"] == "yes" for verdict in judged)
    judge_failed = sum(verdict["status"] == "judge-failed" for verdict in found)
    return JudgeFigures(
        judged=len(judged),
        judge_failed=judge_failed,
        not_judged=len(answered) - len(judged) - judge_failed,
        accuracy=Share(yes, len(judged) + len(marked) - len(answered)),
        accuracy_judged=Share(yes, len(judged)),
        score=_mean(verdict["score"] for verdict in judged),
    )


@dataclass(frozen=True)
class Costs:
    """What an answered question took, on average. None where nothing was answered.

    `seconds` counts a video's decoding and encoding once for all its questions, and of a batch's
    time each question's part.
    """

    visual_tokens: float | None
    prompt_tokens: float | None
    answer_tokens: float | None
    seconds: float | None
    seconds_by_step: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "visual_tokens": self.visual_tokens,
            "prompt_tokens": self.prompt_tokens,
            "answer_tokens": self.answer_tokens,
            "seconds": self.seconds,
            "seconds_by_step": dict(self.seconds_by_step),
        }


def costs(rows: Iterable[Row]) -> Costs:
    """Tokens and seconds per answered question."""
    answered = [(row.question.video, row.answer) for row in rows if row.answer is not None]
    if not answered:
        return Costs(None, None, None, None, {})
    videos: dict[str, Mapping[str, float]] = {}
    steps = dict.fromkeys((*OF_THE_VIDEO, *OF_THE_QUESTION, *OF_THE_BATCH), 0.0)
    for video, answer in answered:
        videos[video] = answer.timings
        for step in OF_THE_QUESTION:
            steps[step] += answer.timings[step]
        for step in OF_THE_BATCH:
            steps[step] += answer.timings[step] / answer.batch
    for step in OF_THE_VIDEO:
        steps[step] = sum(timings[step] for timings in videos.values())
    by_step = {step: seconds / len(answered) for step, seconds in steps.items()}
    tokens = {name: _mean(answer.tokens[name] for _, answer in answered) for name in TOKENS}
    return Costs(
        tokens["visual"], tokens["prompt"], tokens["answer"], sum(by_step.values()), by_step
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
