"""Results as a Markdown table and a picture, and into docs/cost.md."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet

from measure import Curve, Figure, Results, Series

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "cost.png"
INK, MUTED, GRID, OURS, THEIRS = "#1b1f24", "#5a6472", "#dfe3e8", "#0072b2", "#9aa3ad"


def write_table(results: Results, path: Path) -> None:
    """The figures under their headings."""
    path.write_text(table(results), encoding="utf-8")


def table(results: Results) -> str:
    """Markdown: the machine, then a table for each section."""
    lines = [" · ".join(f"{name}: {value}" for name, value in results.machine.items()), ""]
    for section in sorted({figure.section for figure in results.figures}, key=_place):
        lines += [
            f"### {section}", "",
            "| what | | | ratio | range | promised |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        notes = []
        for figure in results.figures:
            if figure.section == section:
                if figure.note and figure.note not in notes:
                    notes.append(figure.note)
                lines.append(row(figure, notes))
        lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _place(section: str) -> tuple[int, str]:
    """What a user waits for first, then what explains it."""
    first = ("A question, and the next", "Memory of a question", "Starting")
    return (first.index(section) if section in first else len(first), section)


def row(figure: Figure, notes: list[str]) -> str:
    """A figure as a row; its note by number."""
    mark = f" ({notes.index(figure.note) + 1})" if figure.note else ""
    values = sorted(figure.ratios())
    spread = f"{number(values[0])} – {number(values[-1])}" if len(values) > 1 else "one run"
    if figure.second is None:
        ratio, second = "", ""
        spread = f"{spread} {figure.unit}" if len(values) > 1 else spread
    else:
        ratio = f"**{number(figure.median)}×**"
        second = measured(figure.second, figure.unit)
    first = measured(figure.first, figure.unit)
    return f"| {figure.what}{mark} | {first} | {second} | {ratio} | {spread} | {promise(figure)} |"


def measured(series: Series, unit: str) -> str:
    """A label and the median, in its unit."""
    return f"{series.label} {number(series.median)} {unit}"


def promise(figure: Figure) -> str:
    """The bound, and whether it is kept."""
    if figure.bound is None:
        return ""
    sign = "≥" if figure.at_least else "≤"
    return f"{sign} {number(figure.bound)} {'✓' if figure.holds() else '**not met**'}"


def number(value: float) -> str:
    """Three figures that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_documents(results: Results) -> None:
    """Fill docs/cost.md, and put the picture beside it.

    Raises:
        ValueError: it has no place for it.
    """
    write_picture(results, PICTURE)
    fill(ROOT / "docs" / "cost.md", "figures", table(results))


def fill(path: Path, mark: str, text: str) -> None:
    """Put text between `<!-- mark -->` and `<!-- end -->` of a page."""
    page = path.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(page):
        raise ValueError(f"{path.name} has no `<!-- {mark} -->` … `<!-- end -->`")
    path.write_text(block.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


def write_picture(results: Results, path: Path) -> None:
    """Three panels: a question's seconds, cost by length, cost by tokens."""
    sheet = Sheet(figsize=(12, 3.9), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(sheet)
    panels = sheet.subplots(1, 3, width_ratios=(1.15, 1, 1))
    draw_questions(panels[0], [f for f in results.figures if f.second and _is_question(f)])
    draw_curves(panels[1], _curves(results, "clip's length"), "length of the clip")
    panels[1].set_xscale("log")
    panels[1].set_xticks([10, 60, 600, 3600], ["10 s", "1 min", "10 min", "1 h"], minor=False)
    panels[1].minorticks_off()
    panels[1].set_title("Cost against the clip's length, 50 frames", loc="left", fontsize=10)
    tokens = _curves(results, "tokens")
    draw_curves(panels[2], [c for c in tokens if c.unit == "s"], "visual tokens")
    panels[2].set_title("Pre-fill against visual tokens", loc="left", fontsize=10)
    draw_memory(panels[2], [c for c in tokens if c.unit == "MB"])
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path)


def _is_question(figure: Figure) -> bool:
    return figure.unit == "s" and figure.first.label == "as released"


def _curves(results: Results, section: str) -> list[Curve]:
    return [curve for curve in results.curves if curve.section.endswith(section)]


def draw_questions(axes: Axes, figures: list[Figure]) -> None:
    """Bars of seconds on a logarithmic scale, with the ratio beside them."""
    _tidy(axes)
    axes.set_xscale("log")
    shortest = 1.0
    for place, figure in enumerate(figures):
        assert figure.second is not None
        for shift, series, color in (
            (-0.19, figure.first, THEIRS), (0.19, figure.second, OURS)
        ):  # fmt: skip
            axes.barh(place + shift, series.median, 0.34, color=color)
        shortest = min(shortest, figure.second.median)
        axes.text(
            figure.first.median * 1.15, place, f"{number(figure.median)}×", va="center",
            fontsize=9, color=INK, weight="bold",
        )  # fmt: skip
    names = [figure.what.split(" (")[0].replace(", ", "\n", 1) for figure in figures]
    axes.set_yticks(range(len(figures)), names, fontsize=8)
    axes.invert_yaxis()
    if figures:
        axes.set_xlim(shortest / 2, max(f.first.median for f in figures) * 6)
    axes.set_xlabel("seconds before the language model", fontsize=8, color=MUTED)
    axes.set_title("As released (grey) and here (blue)", loc="left", fontsize=10)


def draw_curves(axes: Axes, curves: list[Curve], label: str) -> None:
    """Lines with their names at the end, and the marks of the first."""
    _tidy(axes)
    for curve, style in zip(curves, ("-", "--"), strict=False):
        x, y = zip(*curve.points, strict=True)
        axes.plot(x, y, style, marker="o", markersize=4, color=OURS, label=curve.name)
    marks = curves[0].marks if curves else ()
    axes.set_ylim(0, axes.get_ylim()[1] * (1.25 if marks else 1))  # room for their names
    axes.set_xlabel(label, fontsize=8, color=MUTED)
    axes.set_ylabel("seconds", fontsize=8, color=MUTED)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8)
    for name, at in marks:
        axes.axvline(at, color=GRID, linewidth=1, zorder=0)
        axes.text(
            at, axes.get_ylim()[1] * 0.99, f"{name} ", rotation=90, va="top", ha="right",
            fontsize=7.5, color=MUTED,
        )  # fmt: skip


def draw_memory(axes: Axes, curves: list[Curve]) -> None:
    """The same tokens' memory, on an axis of its own."""
    if not curves:
        return
    other = axes.twinx()
    x, y = zip(*curves[0].points, strict=True)
    other.plot(x, y, ":", marker="s", markersize=3, color="#d55e00")
    other.set_ylim(0, other.get_ylim()[1] * 1.25)
    other.set_ylabel("MB added (dotted)", fontsize=8, color="#d55e00")
    other.tick_params(labelsize=8)
    other.spines[["top", "left"]].set_visible(False)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if axes.get_yscale() == "linear" else "y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
