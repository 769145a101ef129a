"""The kept frames: large thumbnails with their region, and filmstrips for overviews.

Sizes are computed from how many frames there are and from the clip's proportions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from free_video_llm.picture.canvas import FAINT, INK, MUTED, PAPER, SMALL, Canvas
from free_video_llm.picture.styles import Mark
from free_video_llm.picture.thumbnail import compose, heat_range, kept_mask, outline

if TYPE_CHECKING:
    from free_video_llm.answer import Evidence, KeptFrame, PathwayEvidence

GAP = 9.0
#: Narrowest cell of the grid of thumbnails: its caption must fit.
NARROWEST = 66.0
#: From this width on a caption is one line: mark, time, name, score.
ONE_LINE = 112.0
CAPTION_LINE = 10.5
TALLEST = 190.0
STRIP_HEIGHT = 36.0
#: A region with more edges is no box: a thick frame would hide what is in it.
MOST_EDGES = 12
Scale = tuple[float, float] | None


@dataclass(frozen=True)
class Tiling:
    """A grid of thumbnails: so many columns of cells, each with an image of width × height."""

    columns: int
    cell: float
    width: float
    height: float


def tile(count: int, aspect: float, width: float) -> Tiling:
    """The grid in which `count` images of `aspect` (width ÷ height) are large, but not too large.

    The images of a few frames are large and of many small; empty places and an unused margin are
    avoided.
    """
    wanted = min(max(86_000 / max(count, 1), 3_000), 34_000)
    best, least = Tiling(1, width, width, width / aspect), math.inf
    for across in range(1, 11):
        high = min((width - (across - 1) * GAP) / across / aspect, TALLEST)
        wide = high * aspect
        cell = max(wide, NARROWEST)
        columns = int((width + GAP + 1e-6) // (cell + GAP))
        if columns < across:
            break
        rows = math.ceil(count / columns)
        columns = math.ceil(count / rows)  # rows as equal as can be
        places, used = rows * columns, columns * (cell + GAP) - GAP
        unlike = abs(math.log(wide * high / wanted))
        unlike += 1.5 * (1 - count / places) + 3 * (1 - used / width)
        if unlike < least:
            best, least = Tiling(columns, cell, wide, high), unlike
    return best


def proportions(evidence: Evidence) -> float:
    """The clip's width ÷ height, within what can be shown."""
    return min(max(evidence.frames.width / max(evidence.frames.height, 1), 0.2), 8.0)


def patches_per_side(evidence: Evidence) -> int:
    """Patches along one side of a frame at full detail."""
    return max(1, round(math.sqrt(evidence.all_tokens / max(len(evidence.frames), 1))))


def heat_scale(pathways: Sequence[PathwayEvidence]) -> Scale:
    """One scale of similarities for all frames that are shown with one."""
    maps = [k.similarity for p in pathways for k in p.kept if k.similarity is not None]
    return heat_range(maps)


def draw_thumbnail(
    canvas: Canvas,
    evidence: Evidence,
    kept: KeptFrame,
    box: tuple[float, float, float, float],
    *,
    color: str,
    scale: Scale,
    line: float = 1.6,
) -> None:
    """A kept frame in a box (x, y, width, height): what was not kept dimmed, the region framed."""
    x, y, width, height = box
    mask = kept_mask(kept.cells, patches_per_side(evidence)) if len(kept.cells) else None
    make = partial(compose, evidence.frames.pixels[kept.frame], mask=mask, heat=kept.similarity,
                   scale=scale)  # fmt: skip
    canvas.image(x, y, width, height, make, name="thumbnail")
    canvas.box(x, y, width, height, edge="#c9d0d6", line=0.5)
    if mask is not None and not mask.all():
        edges = outline(mask)
        plain = len(edges) <= MOST_EDGES
        line = line if plain else 0.6
        inner_x, inner_y = x + line / 2, y + line / 2  # the frame lies inside the image
        wide, high = width - line, height - line
        lines = [
            ((inner_x + ax * wide, inner_y + ay * high), (inner_x + bx * wide, inner_y + by * high))
            for (ax, ay), (bx, by) in edges
        ]
        if plain:
            canvas.segments(lines, color=PAPER, width=line + 1.4)
        canvas.segments(lines, color=color, width=line, name="region")


def caption_lines(width: float) -> int:
    """Lines of a caption below a thumbnail."""
    return 1 if width >= ONE_LINE else 2


def draw_caption(
    canvas: Canvas, x: float, y: float, width: float, *, mark: Mark, texts: tuple[str, str, str],
) -> None:  # fmt: skip
    """Below a thumbnail: the pathway's mark, the time, the pathway's name, the score."""
    name, stamp, score = texts
    canvas.marks([x + 3.6], [y + 5.6], shape=mark.shape, color=mark.color, size=6.8)
    used = 10 + canvas.text(x + 10, y + 8.3, stamp, size=SMALL, bold=True, name="caption")
    if width < ONE_LINE:
        canvas.text(x + 10, y + 8.3 + CAPTION_LINE, score, size=SMALL, color=MUTED, name="caption")
        return
    free = width - used - canvas.measure(score, SMALL) - 12
    font = canvas.letters.font(SMALL)
    if free > 24 and name:
        short = canvas.letters.fit(canvas.letters.clean(name), font, free)
        canvas.text(x + used + 6, y + 8.3, short, size=SMALL, color=INK, name="caption")
    canvas.text(x + width, y + 8.3, score, size=SMALL, color=MUTED, align="right", name="caption")


def spread(count: int, places: int) -> list[int]:
    """At most `places` of `count` numbers, evenly spread, both ends among them."""
    if count <= places:
        return list(range(count))
    if places <= 1:
        return [count // 2]
    return [round(i * (count - 1) / (places - 1)) for i in range(places)]


def small_size(aspect: float, height: float, widest: float = 110.0) -> tuple[float, float]:
    """Width and height of small pictures, `height` points high or less.

    Upright ones are higher, or little would be seen of them: as large as 4:3 if that is not more
    than about twice the height.
    """
    if aspect < 1:
        height *= min(math.sqrt(4 / 3 / aspect), 2.1)
    width = min(height * aspect, widest)
    return width, width / aspect


def draw_strip(
    canvas: Canvas,
    evidence: Evidence,
    pathway: PathwayEvidence,
    grid: tuple[int, int],
    box: tuple[float, float, float],
    *,
    stamps: Sequence[str],
) -> tuple[int, float]:
    """A filmstrip in a box (x, y, width) with the pooled grid drawn over each frame.

    Returns how many frames it shows, and where it ends.
    """
    x, y, width = box
    wide, high = small_size(proportions(evidence), STRIP_HEIGHT)
    cell = max(wide, max((canvas.measure(stamp, SMALL) for stamp in stamps), default=0.0))
    step = cell + 4
    shown = spread(len(pathway.kept), int((width + 4) // step))
    if len(shown) < len(pathway.kept):
        step = max(step, (width - cell) / max(len(shown) - 1, 1))
    for place, number in enumerate(shown):
        kept = pathway.kept[number]
        left = x + place * step
        make = partial(compose, evidence.frames.pixels[kept.frame])
        canvas.image(left, y, wide, high, make, name="thumbnail")
        _draw_grid(canvas, grid, (left, y, wide, high))
        canvas.text(left, y + high + 9, stamps[number], size=SMALL, color=MUTED, name="caption")
    return len(shown), y + high + 12


def _draw_grid(
    canvas: Canvas, grid: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    (rows, columns), (x, y, width, height) = grid, box
    if height / rows >= 3.5:
        across = [((x, y + height * r / rows), (x + width, y + height * r / rows))
                  for r in range(1, rows)]  # fmt: skip
        canvas.segments(across, color="#ffffffb0", width=0.6)
    if width / columns >= 3.5:
        down = [((x + width * c / columns, y), (x + width * c / columns, y + height))
                for c in range(1, columns)]  # fmt: skip
        canvas.segments(down, color="#ffffffb0", width=0.6)
    canvas.box(x, y, width, height, edge=FAINT, line=0.4)
