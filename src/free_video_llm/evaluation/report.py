"""The report of a run: all figures, its judges by exact version, the worst and some random rows.

Reads a run's folder; how a report is shown is `render.py`'s and `page.py`'s.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.agreement import Agreement, agreements
from free_video_llm.evaluation.evidence_score import EvidenceFigures, figures_of, score_evidence
from free_video_llm.evaluation.jsonl import read_lines
from free_video_llm.evaluation.row import Identity, read_identity
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.evaluation.summary import (
    Costs,
    Group,
    Judgements,
    Marked,
    costs,
    mark,
    summarise,
)
from free_video_llm.evaluation.truth import Truths

#: Rows of each sample.
SAMPLE = 20


@dataclass(frozen=True)
class JudgeFile:
    """A judge's verdicts on a run, and how it was asked."""

    name: str
    about: dict[str, Any]
    verdicts: Judgements


@dataclass(frozen=True)
class Report:
    """Everything that a run has to show.

    Attributes:
        run: `run.json`.
        total: the figures of all rows.
        kinds: the same by type of question.
        judges: how each judge was asked, with the exact models that answered.
        reasons: why questions failed, with counts, most frequent first.
        worst, random: samples of rows.
        evidence: how well what was kept meets what answers are known to rest on, if that is known.
        agreement: of every two judges.
    """

    folder: Path
    run: dict[str, Any]
    total: Group
    kinds: tuple[Group, ...]
    costs: Costs
    judges: tuple[JudgeFile, ...]
    reasons: tuple[tuple[str, int], ...]
    worst: tuple[dict[str, Any], ...]
    random: tuple[dict[str, Any], ...]
    evidence: EvidenceFigures | None = None
    agreement: tuple[Agreement, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON (docs/evaluation.md describes every entry)."""
        return {
            "schema": 1,
            "name": self.name,
            "set": self.run["set"],
            "run": self.run,
            "total": self.total.to_dict(),
            "kinds": [group.to_dict() for group in self.kinds],
            "per_question": self.costs.to_dict(),
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
            "judges": {judge.name: judge.about for judge in self.judges},
            "agreement": [pair.to_dict() for pair in self.agreement],
            "failures": [{"reason": reason, "rows": rows} for reason, rows in self.reasons],
            "worst": list(self.worst),
            "random": list(self.random),
        }


def read_judges(run: RunFolder) -> tuple[JudgeFile, ...]:
    """The judges' files of a run.

    Raises:
        ConfigError: one is damaged.
    """
    judges = []
    for path in sorted(run.path.glob("judge-*.jsonl")):
        try:
            about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ConfigError(
                f"{path.with_suffix('.json')} is missing or damaged: judge again"
            ) from None
        verdicts = dict(_verdicts(path))
        judges.append(JudgeFile(path.stem.removeprefix("judge-"), about, verdicts))
    return tuple(judges)


def _verdicts(path: Path) -> Iterator[tuple[Identity, dict[str, Any]]]:
    for number, line in enumerate(read_lines(path), start=1):
        status, score = line.get("status"), line.get("score")
        judged = status == "judged" and line.get("pred") in ("yes", "no")
        judged = judged and isinstance(score, int | float) and not isinstance(score, bool)
        try:
            if not judged and status not in ("judge-failed", "not judged"):
                raise ValueError("it has no verdict, and no reason for none")
            yield read_identity(line), line
        except ValueError as error:
            raise ConfigError(
                f"{path}: line {number} is no judgement: {error}; judge again"
            ) from None


def make_report(
    run: RunFolder, *, sample: int = SAMPLE, seed: int = 0, truth: Truths | None = None
) -> Report:
    """Compute the report of a run, finished or not.

    Raises:
        ConfigError: there is no run, or a file of it is damaged.
    """
    about = run.read_run()
    if about is None:
        raise ConfigError(f"no run in {run.path}: it has no run.json")
    marked = sorted((mark(row) for row in run.rows()), key=lambda m: m.row.question.row)
    judges = read_judges(run)
    verdicts = {judge.name: judge.verdicts for judge in judges}
    by_kind: dict[str, list[Marked]] = {kind: [] for kind in about["questions"]["kinds"]}
    for m in marked:
        by_kind.setdefault(m.row.question.kind, []).append(m)
    kinds = tuple(
        summarise(kind, about["questions"]["kinds"].get(kind, 0), rows, verdicts)
        for kind, rows in by_kind.items()
    )
    return Report(
        folder=run.path,
        run=about,
        total=summarise("all", about["questions"]["rows"], marked, verdicts),
        kinds=kinds if len(kinds) > 1 else (),
        costs=costs(m.row for m in marked),
        judges=judges,
        reasons=_reasons(marked),
        worst=tuple(_sample_row(m, judges) for m in _worst(marked, judges, sample)),
        random=tuple(_sample_row(m, judges) for m in _random(marked, sample, seed)),
        evidence=None if truth is None else _evidence(marked, truth),
        agreement=agreements(verdicts),
    )


def _evidence(marked: Sequence[Marked], truth: Truths) -> EvidenceFigures:
    scores = []
    for m in marked:
        known = truth.of(m.row.question)
        if known is not None and m.row.answer is not None:
            score = score_evidence(m.row.answer.evidence, known)
            scores += [] if score is None else [score]
    if not scores:
        raise ConfigError(
            "the truth is of none of this run's questions: its records name other videos or "
            "question ids"
        )
    return figures_of(scores)


def _reasons(marked: Sequence[Marked]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for m in marked:
        if not m.answered:
            # One reason for all videos: what is quoted differs from row to row.
            reason = "…".join(m.row.reason.split("'")[::2]) or m.row.reason
            counts[reason] = counts.get(reason, 0) + 1
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:20])


def _worst(marked: Sequence[Marked], judges: Sequence[JudgeFile], count: int) -> list[Marked]:
    """Wrong answers, the furthest off first: by the first judge's score, or by token F1."""

    def badness(m: Marked) -> tuple[float, float, int]:
        verdict = judges[0].verdicts.get(m.row.identity, {}) if judges else {}
        right = m.marks.get("f1", m.marks.get("choice", 0.0))
        return float(verdict.get("score", 5.0)), right, m.row.question.row

    def wrong(m: Marked) -> bool:
        verdict = judges[0].verdicts.get(m.row.identity, {}) if judges else {}
        if "pred" in verdict:
            return bool(verdict["pred"] == "no")
        return not m.marks.get("choice", m.marks.get("contains", 0.0))

    return sorted((m for m in marked if m.answered and wrong(m)), key=badness)[:count]


def _random(marked: Sequence[Marked], count: int, seed: int) -> list[Marked]:
    chosen = random.Random(seed).sample(range(len(marked)), min(count, len(marked)))
    return [marked[i] for i in sorted(chosen)]


def _sample_row(m: Marked, judges: Sequence[JudgeFile]) -> dict[str, Any]:
    said = {judge.name: judge.verdicts.get(m.row.identity) for judge in judges}
    kept = m.row.to_dict()
    for name in ("token_ids", "timings", "batch"):
        kept.pop(name, None)
    return kept | {"marks": dict(m.marks), "letter": m.letter, "judges": said}
