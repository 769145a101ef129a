"""A row of a run: a question with what the model said, or why it said nothing.

Rows are written to `results.jsonl` and read back by another day's program: reading checks every
value, so that whoever has a row can rely on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from free_video_llm.benchmarks.base import Question
from free_video_llm.errors import shown

#: A row's number, video and question; see `Question.identity`.
Identity = tuple[int, str, str]
#: Seconds that every answered row has: of its video, of itself, of its whole batch.
OF_THE_VIDEO = ("decode", "encode")
OF_THE_QUESTION = ("prompt", "select", "project")
OF_THE_BATCH = ("prefill", "generate")
#: Counts of tokens that every answered row has.
TOKENS = ("visual", "prompt", "answer")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What the model said to a question, and what it took.

    Attributes:
        prediction: its text.
        tokens: counts: "visual", "prompt", "answer", and "by_pathway" of the visual ones.
        timings: seconds by step; see `OF_THE_VIDEO` and the names beside it.
        batch: questions that were answered together.
        evidence: which frames of which pathway, when, which box (docs/evaluation.md).
    """

    prediction: str
    token_ids: tuple[int, ...]
    tokens: Mapping[str, Any]
    timings: Mapping[str, float]
    batch: int
    evidence: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One question of a run. `answer` is None where it failed, for `reason`."""

    question: Question
    answer: Answered | None = None
    reason: str = ""

    @property
    def identity(self) -> Identity:
        return self.question.identity

    @property
    def status(self) -> str:
        """ "answered" or "failed"."""
        return "failed" if self.answer is None else "answered"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        question, answer = self.question, self.answer
        asked: dict[str, Any] = {
            "row": question.row,
            "video": question.video,
            "question": question.question,
            "answer": question.answer,
            "options": list(question.options),
            "kind": question.kind,
            "question_id": question.question_id,
            "status": self.status,
        }
        if answer is None:
            return asked | {"reason": self.reason}
        return asked | {
            "prediction": answer.prediction,
            "token_ids": list(answer.token_ids),
            "tokens": dict(answer.tokens),
            "timings": dict(answer.timings),
            "batch": answer.batch,
            "evidence": dict(answer.evidence),
            "warnings": list(answer.warnings),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Row:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a value is missing or of another kind; names it.
        """
        number, video, text = read_identity(data)
        question = Question(
            row=number,
            video=video,
            question=text,
            answer=_text(data, "answer"),
            options=tuple(_list_of(data, "options", str)),
            kind=_text(data, "kind"),
            question_id=_text(data, "question_id"),
        )
        status = data.get("status")
        if status == "failed":
            return Row(question, reason=_text(data, "reason"))
        if status != "answered":
            raise ValueError(f"status is 'answered' or 'failed', not {shown(status)}")
        return Row(question, _answered(data))


def _answered(data: Mapping[str, Any]) -> Answered:
    tokens, timings = _mapping(data, "tokens"), _mapping(data, "timings")
    for name in TOKENS:
        _whole(tokens, name)
    for name in (*OF_THE_VIDEO, *OF_THE_QUESTION, *OF_THE_BATCH):
        _number(timings, name)
    return Answered(
        prediction=_text(data, "prediction"),
        token_ids=tuple(_list_of(data, "token_ids", int)),
        tokens=tokens,
        timings=timings,
        batch=_whole(data, "batch", least=1),
        evidence=_evidence(data),
        warnings=tuple(_list_of(data, "warnings", str)),
    )


def _evidence(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the report draws of it is there."""
    evidence = _mapping(data, "evidence")
    _number(evidence, "duration_seconds")
    sampled = _mapping(evidence, "sampled")
    for name in ("seconds", "scores"):
        _list_of(sampled, name, int | float)
    for pathway in _list_of(evidence, "pathways", Mapping):
        _text(pathway, "name")
        _whole(pathway, "tokens")
        for kept in _list_of(pathway, "frames", Mapping):
            _number(kept, "second")
            _number(kept, "score")
            if "region" in kept and len(_list_of(kept, "region", int | float)) != 4:
                raise ValueError("a region is four numbers")
    return evidence


def read_identity(data: Mapping[str, Any]) -> Identity:
    """What a line is of: of a row, or of a judgement. Raises ValueError."""
    return _whole(data, "row"), _text(data, "video"), _text(data, "question")


# --- values of a JSON --------------------------------------------------------------------------


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise ValueError(_wrong(data, name, "a text"))
    return value


def _whole(data: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(_wrong(data, name, f"a whole number of {least} or more"))
    return value


def _number(data: Mapping[str, Any], name: str) -> float:
    value = data.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(_wrong(data, name, "a number"))
    return float(value)


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(_wrong(data, name, "a JSON object"))
    return value


def _list_of(data: Mapping[str, Any], name: str, kind: Any) -> list[Any]:
    value = data.get(name)
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise ValueError(_wrong(data, name, "a list of its kind"))
    return value


def _wrong(data: Mapping[str, Any], name: str, right: str) -> str:
    if name not in data:
        return f"it has no {name}"
    return f"{name} is {right}, not {shown(data[name])}"
