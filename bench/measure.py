"""How the bench measures: interleaved repeats, ratios pair by pair, memory in a process of its own.

Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

#: Lets glibc keep what is freed (see run.py): for seconds.
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 62)}
#: Lets it give back at once what is freed: for memory. Left alone, it does so or not by what was
#: freed before, and the same work takes up to a quarter more or less.
RETURNING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
Work = Callable[[], object]


@dataclass(frozen=True)
class Series:
    """What was measured several times: a label, and the values in the order of the repeats."""

    label: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Figure:
    """One line of the results: `first` ÷ `second`, or `first` alone.

    Attributes:
        section: the heading it stands under.
        what: the line's own name.
        unit: of the values, such as "s" or "MB".
        bound: what the ratio (or, alone, the value) is to keep to; None where nothing was promised.
        at_least: whether the bound is from below.
        note: what the reader should know of this line.
    """

    section: str
    what: str
    first: Series
    second: Series | None = None
    unit: str = "s"
    bound: float | None = None
    at_least: bool = True
    note: str = ""

    def ratios(self) -> list[float]:
        """Repeat by repeat, so that a machine that drifts is fair to both; alone, the values."""
        if self.second is None:
            return list(self.first.values)
        return [a / b for a, b in zip(self.first.values, self.second.values, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios())

    def holds(self) -> bool | None:
        """Whether the median keeps to the bound."""
        if self.bound is None:
            return None
        return self.median >= self.bound if self.at_least else self.median <= self.bound


@dataclass(frozen=True)
class Curve:
    """Values over a quantity, for the plot: `points` are x, median y; `marks` are named x."""

    section: str
    name: str
    unit: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[str, float], ...] = ()


@dataclass
class Results:
    """All figures and curves of a run."""

    size: str
    machine: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def replace(self, figures: list[Figure], curves: list[Curve]) -> None:
        """Put a section's new figures and curves in place of its old ones."""
        named = {entry.section for entry in (*figures, *curves)}
        self.figures = [f for f in self.figures if f.section not in named] + figures
        self.curves = [c for c in self.curves if c.section not in named] + curves

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        data = json.loads(path.read_text(encoding="utf-8"))
        figures = [_figure(entry) for entry in data["figures"]]
        curves = [
            Curve(**entry | {k: tuple(map(tuple, entry[k])) for k in ("points", "marks")})
            for entry in data["curves"]
        ]
        return cls(data["size"], data["machine"], figures, curves)


def _figure(entry: dict[str, Any]) -> Figure:
    def series(part: dict[str, Any] | None) -> Series | None:
        return part and Series(part["label"], tuple(part["values"]))

    return Figure(**entry | {"first": series(entry["first"]), "second": series(entry["second"])})


def seconds(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(
    works: Mapping[str, Work], repeats: int, *, what: str, warm: bool = True
) -> dict[str, Series]:
    """Seconds of several ways of doing the same, taken in turn so that a drifting machine is fair.

    With `warm`, each is done once before, uncounted.
    """
    if warm:
        for work in works.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in tqdm(range(repeats), desc=what, disable=None, leave=False):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: Series(name, tuple(values)) for name, values in times.items()}


def alone(job: str, *arguments: str) -> dict[str, float]:
    """What a job of `jobs.py` reports from a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("jobs.py")), job, *arguments]
    plain = {name: value for name, value in os.environ.items() if name not in KEEPING}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=plain | RETURNING
    )
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report
