"""Several runs in one table, method by question set, and their accuracy against tokens and seconds
as a chart. Computes nothing that the runs' reports do not have."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from free_video_llm.errors import ConfigError, one_of
from free_video_llm.evaluation.jsonl import write_whole
from free_video_llm.evaluation.report import Report
from free_video_llm.evaluation.statistics import Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Forms of the table by a file's ending.
FORMS = ("md", "tex", "csv")
CHARTS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Cell:
    """A run's figures on a set: its accuracy by one metric, tokens and seconds a question."""

    metric: str
    share: Share
    tokens: float | None
    seconds: float | None


@dataclass(frozen=True)
class ResultsTable:
    """Runs by name, in order, and sets; a cell for each that was run."""

    runs: tuple[str, ...]
    sets: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]

    def rows(self) -> list[tuple[str, ...]]:
        """A heading and a row for each run: of every set accuracy with half its interval, in per
        cent, and means of visual tokens and seconds over the sets."""
        metrics = {s: self._metric(s) for s in self.sets}
        heading = ("method", *(f"{s} ({metrics[s]})" for s in self.sets), "tokens", "s/question")
        rows: list[tuple[str, ...]] = [heading]
        for run in self.runs:
            own = [self.cells.get((run, s)) for s in self.sets]
            tokens = _mean([cell.tokens for cell in own if cell is not None])
            seconds = _mean([cell.seconds for cell in own if cell is not None])
            rows.append(
                (
                    run,
                    *("–" if cell is None else _percent(cell.share) for cell in own),
                    "–" if tokens is None else f"{tokens:,.0f}",
                    "–" if seconds is None else f"{seconds:.2f}",
                )
            )
        return rows

    def _metric(self, name: str) -> str:
        found = {cell.metric for (_, s), cell in self.cells.items() if s == name}
        return " / ".join(sorted(found))


def table_of(reports: Sequence[Report], *, metric: str | None = None) -> ResultsTable:
    """The table of some runs.

    Args:
        metric: exact, contains, choice, or a judge's file name; where None, of each run its first
            judge, else choice, else contains.

    Raises:
        ConfigError: two runs have one name and set, or a run does not have the metric.
    """
    cells: dict[tuple[str, str], Cell] = {}
    for report in reports:
        key = (report.name, str(report.run["set"]))
        if key in cells:
            raise ConfigError(f"two runs are called {key[0]} on {key[1]}: name one of them")
        name, share = _accuracy(report, metric)
        cells[key] = Cell(name, share, report.costs.visual_tokens, report.costs.seconds)
    runs = tuple(dict.fromkeys(run for run, _ in cells))
    return ResultsTable(runs, tuple(dict.fromkeys(name for _, name in cells)), cells)


def _accuracy(report: Report, metric: str | None) -> tuple[str, Share]:
    judged = {name: figures.accuracy for name, figures in report.total.judges.items()}
    known = {**judged, **report.total.accuracy}
    if metric is not None:
        one_of("metric", metric, known, ConfigError)
        return metric, known[metric]
    name = next(iter(judged), None) or ("choice" if "choice" in known else "contains")
    return name, known[name]


def render(table: ResultsTable, form: str) -> str:
    """The table as Markdown, LaTeX (with booktabs), or CSV."""
    rows = table.rows()
    if form == "csv":
        held = io.StringIO()
        csv.writer(held, lineterminator="\n").writerows(rows)
        return held.getvalue()
    if form == "tex":
        columns = "l" + "r" * (len(rows[0]) - 1)
        lines = [" & ".join(map(_tex, row)) + r" \\" for row in rows]
        body = "\n".join([lines[0], r"\midrule", *lines[1:]])
        return (
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        )
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    rule = "|---" + "|---:" * (len(rows[0]) - 1) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def write_table(table: ResultsTable, path: Path) -> Path:
    """Write it in the form of the file's ending. Raises ConfigError."""
    form = path.suffix.lower().lstrip(".")
    one_of("ending of --table", form, FORMS, ConfigError)
    return write_whole(path, render(table, form))


def draw(table: ResultsTable) -> Figure:
    """Accuracy against visual tokens and against seconds, a panel for each set, with intervals."""
    from matplotlib.figure import Figure

    from free_video_llm.picture.styles import COLORS

    figure = Figure(figsize=(9.0, 3.2 * len(table.sets)), layout="constrained")
    panels = figure.subplots(len(table.sets), 2, squeeze=False, sharey="row")
    for row, name in zip(panels, table.sets, strict=True):
        for axis, what in zip(row, ("tokens", "seconds"), strict=True):
            for number, run in enumerate(table.runs):
                cell = table.cells.get((run, name))
                at = None if cell is None else getattr(cell, what)
                if cell is None or at is None or cell.share.value is None:
                    continue
                low, high = cell.share.interval or (cell.share.value, cell.share.value)
                value = 100 * cell.share.value
                axis.errorbar(
                    [at], [value], yerr=[[value - 100 * low], [100 * high - value]],
                    fmt="os^DvP"[number % 6], color=COLORS[number % len(COLORS)], capsize=3,
                    label=run,
                )  # fmt: skip
            axis.set_xlabel("visual tokens" if what == "tokens" else "seconds a question")
            axis.grid(alpha=0.3)
            axis.margins(x=0.1)
            axis.set_xlim(left=0)
        row[0].set_ylabel(f"{name}: right, %")
    handles, labels = panels[0][0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def write_chart(table: ResultsTable, path: Path) -> Path:
    """Write the chart as PNG, SVG or PDF. Raises ConfigError."""
    one_of("ending of --chart", path.suffix.lower().lstrip("."), CHARTS, ConfigError)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(table).savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _percent(share: Share) -> str:
    if share.value is None or share.interval is None:
        return "–"
    low, high = share.interval
    return f"{100 * share.value:.1f} ±{50 * (high - low):.1f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _tex(cell: str) -> str:
    for letter in r"&%$#_{}":
        cell = cell.replace(letter, "\\" + letter)
    return cell.replace("±", r"$\pm$").replace("–", "--")
