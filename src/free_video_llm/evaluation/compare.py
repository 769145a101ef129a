"""Compares runs pair by pair: the rows both answered, the difference, its interval, equal tokens.

Reads runs' folders; says nothing about runs of different question sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from free_video_llm.errors import ConfigError, one_of
from free_video_llm.evaluation.report import JudgeFile, read_judges
from free_video_llm.evaluation.row import Identity, Row
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.evaluation.statistics import (
    Difference,
    mcnemar,
    paired_difference,
)
from free_video_llm.evaluation.summary import mark

METRICS = ("exact", "contains", "f1", "choice")


@dataclass(frozen=True)
class Pair:
    """A row of the question file as both runs answered it, and the metric of each."""

    first: Row
    second: Row
    values: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """One run against another by one metric.

    Attributes:
        pairs: rows that both answered (and both had judged, by a judge).
        answered_only_first, answered_only_second: rows that only one of them answered; they are
            left out.
        difference: second − first, with a 95 % interval that resamples videos.
        discordant: pairs that only the first, and only the second, got right; None for token F1.
        p: exact McNemar, of the discordant pairs; None for token F1.
        counted: which tokens: "visual", or where one was shown pictures those of whole "prompt"s.
        tokens: their mean of both on the pairs.
        equal_tokens: whether every pair has as many.
        worse, better: the pairs on which the second is, the most so first, in the file's order.
    """

    first: str
    second: str
    metric: str
    pairs: int
    answered_only_first: int
    answered_only_second: int
    means: tuple[float, float]
    difference: Difference
    discordant: tuple[int, int] | None
    p: float | None
    counted: Literal["visual", "prompt"]
    tokens: tuple[float, float]
    equal_tokens: bool
    notes: tuple[str, ...] = ()
    worse: tuple[Pair, ...] = ()
    better: tuple[Pair, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "second": self.second,
            "metric": self.metric,
            "pairs": self.pairs,
            "answered_only_first": self.answered_only_first,
            "answered_only_second": self.answered_only_second,
            "means": list(self.means),
            "difference": self.difference.to_dict(),
            "right_only_first": self.discordant[0] if self.discordant else None,
            "right_only_second": self.discordant[1] if self.discordant else None,
            "mcnemar_p": self.p,
            f"{self.counted}_tokens": list(self.tokens),
            "equal_tokens": self.equal_tokens,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Run:
    name: str
    about: dict[str, Any]
    rows: Mapping[Identity, Row]
    judges: Mapping[str, JudgeFile]


def compare_runs(
    folders: Sequence[RunFolder], *, metric: str | None = None, seed: int = 0
) -> list[Comparison]:
    """Every run after the first against the first.

    `metric`: "exact", "contains", "f1", "choice", or a judge's file name; None takes a judge that
    all runs have, else "choice" or "contains".

    Raises:
        ConfigError: fewer than two runs, different questions, or nothing to compare.
    """
    if len(folders) < 2:
        raise ConfigError("a comparison needs two runs or more")
    runs = [_load(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        if run.about["questions"]["hash"] != first.about["questions"]["hash"]:
            raise ConfigError(
                f"{run.name} ({run.about['set']}) and {first.name} ({first.about['set']}) were not "
                "asked the same questions: only runs over the same question file can be compared"
            )
    metric = _choose_metric(runs, metric)
    return [_compare(first, run, metric, seed) for run in runs[1:]]


def _load(folder: RunFolder) -> _Run:
    about = folder.read_run()
    if about is None:
        raise ConfigError(f"no run in {folder.path}: it has no run.json")
    rows = {row.identity: row for row in folder.rows() if row.answer is not None}
    judges = {judge.name: judge for judge in read_judges(folder)}
    return _Run(f"{about['set']}/{folder.path.name}", about, rows, judges)


def _choose_metric(runs: Sequence[_Run], metric: str | None) -> str:
    choices = any(row.question.options for row in runs[0].rows.values())
    common = [name for name in runs[0].judges if all(name in run.judges for run in runs)]
    allowed = ["choice"] if choices else [*common, "contains", "exact", "f1"]
    if metric is None:
        return allowed[0]
    one_of("metric", metric, allowed, ConfigError)
    return metric


def _values(run: _Run, metric: str) -> dict[Identity, float]:
    """The metric of every row that has it."""
    if metric in METRICS:
        return {identity: mark(row).marks[metric] for identity, row in run.rows.items()}
    return {
        identity: float(verdict["pred"] == "yes")
        for identity, verdict in run.judges[metric].verdicts.items()
        if verdict["status"] == "judged" and identity in run.rows
    }


def _compare(first: _Run, second: _Run, metric: str, seed: int) -> Comparison:
    ours, theirs = _values(first, metric), _values(second, metric)
    pairs = sorted(ours.keys() & theirs.keys())
    if not pairs:
        raise ConfigError(
            f"{first.name} and {second.name} have no row in common that both answered"
        )
    a, b = [ours[i] for i in pairs], [theirs[i] for i in pairs]
    kind = _counted([first, second], pairs)
    tokens = [_tokens(run, pairs, kind) for run in (first, second)]
    p = discordant = None
    if metric != "f1":
        worse = sum(x > y for x, y in zip(a, b, strict=True))
        discordant = worse, sum(x < y for x, y in zip(a, b, strict=True))
        p = mcnemar(*discordant)
    return Comparison(
        first=first.name,
        second=second.name,
        metric=metric,
        pairs=len(pairs),
        answered_only_first=len(ours) - len(pairs),
        answered_only_second=len(theirs) - len(pairs),
        means=(sum(a) / len(a), sum(b) / len(b)),
        difference=paired_difference(a, b, [identity[1] for identity in pairs], seed=seed),
        discordant=discordant,
        p=p,
        counted=kind,
        tokens=(sum(tokens[0]) / len(pairs), sum(tokens[1]) / len(pairs)),
        equal_tokens=tokens[0] == tokens[1],
        notes=_notes(first, second, metric),
        worse=_apart(first, second, pairs, a, b, sign=-1),
        better=_apart(first, second, pairs, a, b, sign=1),
    )


def _apart(
    first: _Run,
    second: _Run,
    pairs: Sequence[Identity],
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    sign: int,
) -> tuple[Pair, ...]:
    """The pairs on which the second run is better (sign 1) or worse (-1)."""
    found = [
        Pair(first.rows[identity], second.rows[identity], (x, y))
        for identity, x, y in zip(pairs, ours, theirs, strict=True)
        if sign * (y - x) > 0
    ]
    return tuple(sorted(found, key=lambda pair: -sign * (pair.values[1] - pair.values[0])))


def _counted(runs: Sequence[_Run], pairs: Sequence[Identity]) -> Literal["visual", "prompt"]:
    """Which tokens can be compared: a model that was shown pictures counts only whole prompts."""
    return "visual" if all(all(_tokens(run, pairs, "visual")) for run in runs) else "prompt"


def _tokens(run: _Run, pairs: Sequence[Identity], kind: str) -> list[int]:
    answers = [run.rows[identity].answer for identity in pairs]
    return [answer.tokens[kind] for answer in answers if answer is not None]


def _notes(first: _Run, second: _Run, metric: str) -> tuple[str, ...]:
    """What keeps the difference from being the plans' alone."""
    notes = []
    if metric in first.judges:
        exact = [run.judges[metric].about["exact_models"] for run in (first, second)]
        if exact[0] != exact[1]:
            notes.append(f"different judges answered: {exact[0]} and {exact[1]}")
        asked = [run.judges[metric].about["protocol"] for run in (first, second)]
        if asked[0] != asked[1]:
            notes.append("the judges were given different protocols")
    if first.about["model"]["fingerprint"] != second.about["model"]["fingerprint"]:
        notes.append("different models")
    settings = [run.about["settings"] for run in (first, second)]
    for key in ("frames", "decode", "resize", "max_new_tokens", "conv_mode"):
        if settings[0][key] != settings[1][key]:
            notes.append(f"different {key}: {settings[0][key]} and {settings[1][key]}")
    return tuple(notes)


def describe(comparison: Comparison) -> list[tuple[str, str]]:
    """A comparison as lines for people."""
    c = comparison
    low, high = 100 * c.difference.low, 100 * c.difference.high
    equal = "equal on every pair" if c.equal_tokens else "NOT equal"
    lines = [
        ("first", f"{c.first}: {100 * c.means[0]:.1f}, {c.tokens[0]:,.1f} {c.counted} tokens"),
        ("second", f"{c.second}: {100 * c.means[1]:.1f}, {c.tokens[1]:,.1f} {c.counted} tokens"),
        ("metric", c.metric),
        ("pairs", f"{c.pairs:,}{_unpaired(c)}"),
        ("second − first", f"{100 * c.difference.value:+.1f} points [{low:+.1f}, {high:+.1f}]"),
        ("tokens", equal),
    ]
    if c.p is not None and c.discordant is not None:
        worse, better = c.discordant
        lines.append(("discordant", f"right only in first {worse:,}, only in second {better:,}"))
        lines.append(("McNemar p", f"{c.p:.3g}"))
    return lines + [("note", note) for note in c.notes]


def _unpaired(c: Comparison) -> str:
    """What is left out of the pairs: rows that only one of the two answered."""
    if not c.answered_only_first and not c.answered_only_second:
        return ""
    return (
        f" (answered only in first {c.answered_only_first:,}, only in second "
        f"{c.answered_only_second:,}: left out)"
    )
