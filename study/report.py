"""What the study found: docs/study.md with its tables and pictures, from the lines of a run.

    python study/report.py outputs/study                    # writes docs/study.md
    python study/report.py outputs/study --out build/study  # elsewhere

Every figure and every verdict in the page is computed here from the run's lines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from free_video_llm.evaluation.jsonl import read_lines
from free_video_llm.evaluation.statistics import Difference, Share, paired_difference
from methods import CANDIDATES, COUNTS, CURVES
from worlds import WORLDS

ROOT = Path(__file__).parent.parent
INK, MUTED, GRID = "#1b1f24", "#5a6472", "#dfe3e8"
COLORS = dict(zip(CURVES, ("#9aa3ad", "#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True))
ABOUT = {
    "ordinary": "one to three shots with two or three small objects that move, often of one shape "
    "or one colour",
    "needle": "what is asked about is small and shows in 2 to 4 % of the frames, among others of "
    "its shape or its colour",
    "corner": "what is asked about is an eighth to a sixth of the frame wide, at an edge, in one "
    "of two shots, beside something large",
    "crowd": "seven to ten small objects at once (`tiny` was trained on three at most)",
    "global": "five shots; is something seen anywhere, half of it nowhere",
    "order": "two to four shots with an object each; which of two comes first, and how many there "
    "are",
    "long": "ten minutes, and what is asked about is seen for one second",
}
POINT = 0.01
#: What a cell gathers from the lines.
GATHERED = ("right", "clips", "kinds", "tokens", "scored", "evidence")


@dataclass(frozen=True)
class Cell:
    """One plan in one world: for each question whether it was right, and of which clip."""

    plan: str
    name: str
    group: str
    candidates: str
    right: tuple[bool, ...]
    clips: tuple[int, ...]
    kinds: tuple[str, ...]
    tokens: float
    scored: float
    evidence: tuple[dict[str, Any], ...]

    @property
    def share(self) -> Share:
        return Share(sum(self.right), len(self.right))

    def share_of(self, kind: str) -> Share:
        found = [right for right, of in zip(self.right, self.kinds, strict=True) if of == kind]
        return Share(sum(found), len(found))

    def mean(self, key: str) -> float | None:
        found = [float(e[key]) for e in self.evidence if e.get(key) is not None]
        return sum(found) / len(found) if found else None


World = dict[tuple[str, str], Cell]


def read_world(folder: Path, world: str) -> tuple[World, dict[str, float]]:
    """The cells of a world by plan and candidates, and the mean seconds of watching."""
    lines = [line for path in sorted(folder.glob(f"{world}-*.jsonl")) for line in read_lines(path)]
    lines.sort(key=lambda line: int(line["clip"]))
    found: dict[tuple[str, str], dict[str, list[Any]]] = {}
    about: dict[tuple[str, str], tuple[str, str]] = {}
    for line in lines:
        for row in line["rows"]:
            key = (row["plan"], row["candidates"])
            cell = found.setdefault(key, {name: [] for name in GATHERED})
            about[key] = (row["name"], row["group"])
            cell["right"] += [
                said == q["answer"] for said, q in zip(row["said"], line["questions"], strict=True)
            ]
            cell["clips"] += [line["clip"]] * len(row["said"])
            cell["kinds"] += [question["kind"] for question in line["questions"]]
            cell["tokens"] += row["tokens"]
            cell["scored"] += row["scored"]
            cell["evidence"] += [score for score in row["evidence"] if score is not None]
    cells = {
        key: Cell(
            plan=key[0],
            name=about[key][0],
            group=about[key][1],
            candidates=key[1],
            right=tuple(cell["right"]),
            clips=tuple(cell["clips"]),
            kinds=tuple(cell["kinds"]),
            tokens=_mean(cell["tokens"]),
            scored=_mean(cell["scored"]),
            evidence=tuple(cell["evidence"]),
        )
        for key, cell in found.items()
    }
    watching = {
        name: _mean([line["watching"][name] for line in lines])
        for name in (lines[0]["watching"] if lines else {})
    }
    return cells, watching


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def difference(ours: Cell, theirs: Cell) -> Difference:
    """Ours − theirs over the same questions, clips resampled."""
    return paired_difference(
        [float(r) for r in theirs.right], [float(r) for r in ours.right], ours.clips
    )


# --- words ------------------------------------------------------------------------------------


def percent(share: Share) -> str:
    low, high = share.interval or (0.0, 1.0)
    return f"{100 * (share.value or 0):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def points(d: Difference) -> str:
    return f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]".replace("-", "−")


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def plan_table(cells: Iterable[Cell], base: Cell) -> list[str]:
    """Plans with accuracy, the difference to a base, and evidence."""
    return table(
        ("", "plan", "tokens", "right, % [95 %]", f"− `{base.plan}`", "hit", "time IoU", "box"),
        (
            (
                cell.name,
                f"`{cell.plan}`",
                f"{cell.tokens:,.0f}",
                percent(cell.share),
                "" if cell is base else points(difference(cell, base)),
                number(cell.mean("hit")),
                number(cell.mean("time_iou")),
                number(cell.mean("box_inside")),
            )
            for cell in cells
        ),
    )


def kind_table(cells: Sequence[Cell]) -> list[str]:
    """Plans with their accuracy in each kind of question."""
    kinds = sorted(set(cells[0].kinds))
    rows = (
        (f"`{cell.plan}`", f"{cell.tokens:,.0f}", *(percent(cell.share_of(kind)) for kind in kinds))
        for cell in cells
    )
    return table(("plan", "tokens", *kinds), rows)


def of_group(world: World, group: str, tokens: float | None = None) -> list[Cell]:
    found = [cell for cell in world.values() if cell.group == group]
    return [c for c in found if tokens is None or abs(c.tokens - tokens) < 0.02 * tokens]


def selector(world: World, name: str, count: int) -> Cell:
    return world[f"f={name}:{count}/spatial_2d_max_pool", ""]


def promise(text: str, d: Difference, *, above: bool) -> str:
    """A line with a verdict: whether the interval lies above 0, or the mean not below −1 point."""
    met = d.low > 0 if above else d.value >= -POINT
    return f"- {text}: {points(d)} points; {'yes' if met else '**no**'}."


# --- the page -----------------------------------------------------------------------------------


def page(folder: Path) -> str:
    """docs/study.md."""
    about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    worlds = {name: read_world(folder, name) for name in WORLDS}
    worlds = {name: world for name, world in worlds.items() if world[0]}
    lines = [
        "# What is worth its tokens: a study in the toy world",
        "",
        "Made by `make study` (`study/run.py`, then `study/report.py`): every figure and every yes "
        f"or no below is computed from its answers. Seed {about['seed']}; presets and constants "
        "were chosen on other seeds. The model is `tiny`, 12 × 12 patches a frame, 50 candidate "
        "frames. **What a toy world shows does not carry over to trained models by itself**: see "
        "the end.",
        "",
    ]
    lines += table(
        ("kind", "questions", "clips", "what"),
        (
            (name, f"{len(c.right):,}", f"{len(set(c.clips)):,}", ABOUT[name])
            for name, (cells, _) in worlds.items()
            for c in [next(iter(cells.values()))]
        ),
    )
    lines += [
        "Intervals are 95 %: Wilson's for shares, of differences a bootstrap over clips. *hit*: "
        "how often a kept frame shows what was asked for; *time IoU*: of the stretches that kept "
        "frames stand for and those in which it is seen; *box*: the share of it inside the kept "
        "region (`fvl report --truth` scores runs the same way). Questions about what is not there "
        "have no truth to score by.",
        "",
        "![Accuracy against tokens](images/study-frontier.png)",
        "",
    ]
    short = {name: cells for name, (cells, _) in worlds.items() if name != "long"}
    lines += verdicts(short, worlds.get("long"))
    for name, cells in short.items():
        base = selector(cells, "uniform", 4)
        lines += [f"## {name.capitalize()}: {ABOUT[name]}", ""]
        lines += ["Selectors at 144 tokens (4 frames in 6 × 6):", ""]
        lines += plan_table(of_group(cells, "selector", 144), base)
        lines += [
            "Regions of the 4 nearest frames, 144 tokens: a quarter of each frame, or by `windows` "
            "a quarter of all together:",
            "",
        ]
        lines += plan_table(
            of_group(cells, "region"), cells["f=prompt:4/concat/mean-center:0.25", ""]
        )
        lines += ["Reducers at 144 tokens, and presets as they are:", ""]
        lines += plan_table(of_group(cells, "reducer") + of_group(cells, "preset"), base)
        if name == "order":
            lines += ["By kind of question, right in %:", ""]
            lines += kind_table([*of_group(cells, "preset"), selector(cells, "uniform", 8)])
    if "long" in worlds:
        lines += long_section(*worlds["long"])
    lines += ANSWERS
    return "\n".join(lines).rstrip() + "\n"


def verdicts(short: dict[str, World], long: tuple[World, dict[str, float]] | None) -> list[str]:
    """What was promised, and whether it holds."""
    lines = ["## Does a tenth of the tokens do?", ""]
    for name in ("ordinary", "needle"):
        if name in short:
            ours = short[name]["lean", ""]
            for other in ("slowfast", "paper"):
                theirs = short[name][other, ""]
                text = (
                    f"{name}: `lean` ({ours.tokens:.0f} tokens) not worse than `{other}` "
                    f"({theirs.tokens:,.0f}) by more than a point"
                )
                lines.append(promise(text, difference(ours, theirs), above=False))
    for name, cells in short.items():
        above = name in ("needle", "corner")
        what = "better than" if above else "not worse by more than a point than"
        ours, theirs = cells["lean", ""], selector(cells, "uniform", 4)
        lines.append(
            promise(
                f"{name}: `lean` {what} uniform at equal tokens",
                difference(ours, theirs),
                above=above,
            )
        )
    for name in ("global", "order"):
        if name in short:
            ours, theirs = short[name]["global", ""], selector(short[name], "uniform", 8)
            text = f"{name}: preset `global` not worse by more than a point than uniform at equal"
            lines.append(promise(f"{text} tokens", difference(ours, theirs), above=False))
    if long is not None:
        lines += long_verdicts(*long)
    return [*lines, "", *losses(short)]


def long_verdicts(cells: World, watching: dict[str, float]) -> list[str]:
    """The same of long clips, by the two presets that are for them."""
    lines = []
    for preset, equal in (("long", "uniform:6"), ("moment", "uniform:4")):
        ours = cells[preset, "search 0.1"]
        theirs = cells[f"f={equal}/spatial_2d_max_pool", "50 even"]
        value, hit = ours.share.value or 0, ours.mean("hit") or 0.0
        lines += [
            promise(
                f"long: `{preset}` ({ours.tokens:.0f} tokens) with `--search` better than uniform "
                "at equal tokens",
                difference(ours, theirs),
                above=True,
            ),
            f"- long: `{preset}` right in 95 % or more: {percent(ours.share)} %; "
            f"{'yes' if value >= 0.95 else '**no**'}.",
            f"- long: a kept frame of `{preset}` shows it in 95 % or more: {100 * hit:.1f} %; "
            f"{'yes' if hit >= 0.95 else '**no**'}.",
        ]
    ratio = watching["search 0.1"] / watching["1 a second"]
    return [
        *lines,
        f"- long: at most a tenth of the candidates scored: {ours.scored:.0f} of 600; "
        f"{'yes' if ours.scored <= 60 else '**no**'}.",
        f"- long: watched in at most a quarter of the time of scoring all: {ratio:.2f}; "
        f"{'yes' if ratio <= 0.25 else '**no**'}. This is with `tiny`, whose passes are cheap "
        "beside decoding; with scorers of real sizes see `bench/search.py` and cost.md.",
    ]


def losses(short: dict[str, World]) -> list[str]:
    """Where `lean` is more than a point worse than others, by the mean."""
    found = []
    for name, cells in short.items():
        ours = cells["lean", ""]
        others = [cell for cell in cells.values() if cell is not ours]
        for theirs in sorted(others, key=lambda cell: -(cell.share.value or 0))[:5]:
            d = difference(ours, theirs)
            if d.value < -POINT:
                found.append(
                    f"- {name}: `{theirs.plan}` ({theirs.tokens:,.0f} tokens) is better: "
                    f"{points(d)} points."
                )
    lines = ["## Where `lean` loses", "", "More than a point to any of the five best plans:", ""]
    return [*lines, *(found or ["- nowhere."]), ""]


def long_section(cells: World, watching: dict[str, float]) -> list[str]:
    """Long clips: plans by candidates."""
    lines = [f"## Long: {ABOUT['long']}", ""]
    header = ("plan", "tokens", *(f"{name}: right, %" for name in CANDIDATES), "hit with search")
    rows = []
    for plan in dict.fromkeys(plan for plan, _ in cells):
        of_plan = [cells[plan, name] for name in CANDIDATES]
        rows.append(
            (
                f"`{plan}`",
                f"{of_plan[-1].tokens:,.0f}",
                *(percent(cell.share) for cell in of_plan),
                number(of_plan[-1].mean("hit")),
            )
        )
    lines += table(header, rows)
    seconds = ", ".join(f"{name} {watching[name]:.2f} s" for name in CANDIDATES)
    return [
        *lines,
        f"Watching, mean: {seconds}. `--search` decodes all candidates and scores a tenth; its "
        "first look takes what differs from what is before it, so that near-duplicates do not "
        "crowd out the second that matters.",
        "",
    ]


ANSWERS = [
    """\
## What the paper's reviewers asked

- *Curves at equal tokens.* Above, for five selectors; tables for all others at 144 tokens.
- *The cost of scoring.* A guided plan scores all 50 candidates, a uniform one need not look at what
  it does not keep: with one shared tower 50 passes against 4. Where the LLM has a tower of its own,
  a small scorer makes the 50 cheap (docs/cost.md has the seconds of first questions); a second
  question costs neither.
- *Near-duplicate frames.* `prompt` takes them, `prompt-diverse`, `dpp` and `peaks` do not: the
  tables say where that matters. In long clips it does.
- *Region against centre crop, and against best cells.* The tables of regions. `cells` is what
  several windows a frame come to at last; a window sized by its map is `windows`.
- *Questions about time and about whole clips.* `global` asks for what is anywhere or nowhere,
  `order` for which of two comes first and for how many there are. `lean` takes the frames most like
  what is named, wherever they lie; where order or number is asked, take a plan that sees all of the
  clip.
- *Follow-ups.* All questions on a clip share its decoding and encoding.

## What carries over

On real sets the field reports the same direction for question-guided frames in long videos (AKS,
arXiv 2502.21271; BOLT, arXiv 2503.21483; Q-Frame, arXiv 2506.22139; FOCUS, arXiv 2510.27280: gains
over uniform on LongVideoBench and Video-MME), and little or none for short clips whose questions
any frame answers. So the default stays `paper`; `lean` is for questions about something that is to
be seen, where tokens count; `long` with `--search` for moments in long videos, and `moment` where a
single frame answers. That one frame at full detail does as well here as several in a quarter of it
is this world's, whose questions are about one thing in one frame; published figures for long videos
rise with the frames. `global` or `uniform` are for questions about a whole clip, above all about
order and number, for which `lean`, `moment` and `paper` are not. No pretrained model was run for
this page."""
]


# --- pictures -------------------------------------------------------------------------------


def draw(folder: Path, out: Path) -> Path:
    """Accuracy against tokens, a panel for each world but the long one."""
    worlds = {name: read_world(folder, name)[0] for name in WORLDS if name != "long"}
    worlds = {name: cells for name, cells in worlds.items() if cells}
    sheet = Figure(figsize=(11, 6.8), dpi=110, layout="constrained")
    axes = sheet.subplots(2, 3, squeeze=False).flatten()
    for axis, (name, cells) in zip(axes, worlds.items(), strict=False):
        _panel(axis, name, cells)
    for axis in axes[len(worlds) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    sheet.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize=9, ncols=len(labels)
    )
    FigureCanvasAgg(sheet)
    path = out / "images" / "study-frontier.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path)
    return path


#: Presets by their marks.
MARKERS = {"paper": "s", "paper-small": "D", "slowfast": "^", "lean": "*", "moment": "P"}


def _panel(axis: Axes, name: str, cells: World) -> None:
    for curve in CURVES:
        line = [selector(cells, curve, count) for count in COUNTS]
        values = [100 * (cell.share.value or 0) for cell in line]
        bounds = [cell.share.interval or (0.0, 1.0) for cell in line]
        axis.errorbar(
            [cell.tokens for cell in line], values,
            yerr=[[v - 100 * low for v, (low, _) in zip(values, bounds, strict=True)],
                  [100 * high - v for v, (_, high) in zip(values, bounds, strict=True)]],
            color=COLORS[curve], marker="o", markersize=4, linewidth=1.4, elinewidth=0.7,
            label=curve,
        )  # fmt: skip
    for preset, marker in MARKERS.items():
        cell = cells[preset, ""]
        axis.plot([cell.tokens], [100 * (cell.share.value or 0)], marker=marker, color=INK,
                  markersize=7, linestyle="none", label=preset)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks([36, 72, 144, 288, 576, 1240], ["36", "72", "144", "288", "576", "1,240"])
    axis.minorticks_off()
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_title(name, loc="left", fontsize=10, color=INK)
    axis.set_xlabel("visual tokens", fontsize=8, color=MUTED)
    axis.set_ylabel("right, %", fontsize=8, color=MUTED)
    axis.tick_params(labelsize=8, colors=MUTED)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("study", type=Path, help="the run's folder")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "study.md"
    path.write_text(page(options.study), encoding="utf-8")
    print(path)
    print(draw(options.study, options.out))


if __name__ == "__main__":
    main()
