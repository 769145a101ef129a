"""The clip's timeline: seconds across, the question's similarity as a curve, a lane per pathway.

Shared by the evidence and the comparison picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from free_video_llm.picture.canvas import (
    FAINT,
    GRID,
    INK,
    MARGIN,
    MUTED,
    PAPER,
    SMALL,
    WIDTH,
    Canvas,
)
from free_video_llm.picture.styles import Mark

if TYPE_CHECKING:
    from free_video_llm.answer import Evidence, PathwayEvidence

LANE = 14.0
#: Beyond so many marks, the lines from the curve down to the lanes would be a thicket.
MOST_GUIDES = 24
_STEPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800,
    3600, 7200, 14400, 21600, 43200, 86400,
)  # fmt: skip


@dataclass(frozen=True)
class TimeAxis:
    """Where on the canvas a second lies."""

    left: float
    right: float
    duration: float
    exact: bool = False  # whether tenths of a second would give two sampled frames one time

    @staticmethod
    def of(evidence: Evidence, left: float, right: float) -> TimeAxis:
        """The axis of a clip, from its beginning to its end or its last sampled frame."""
        seconds = evidence.frames.seconds
        last = float(seconds[-1]) if len(seconds) else 0.0
        duration = max(float(evidence.frames.duration), last)
        duration = duration if math.isfinite(duration) else last
        stamps = {clock(float(second), duration) for second in seconds}
        return TimeAxis(left, right, duration, exact=len(stamps) < len(seconds))

    def x(self, second: float) -> float:
        """Points from the left edge of the canvas."""
        if self.duration <= 0:
            return (self.left + self.right) / 2
        share = min(max(second / self.duration, 0.0), 1.0)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Round seconds, as many as have room."""
        if self.duration <= 0:
            return [0.0]
        room = max(2, int((self.right - self.left) / 52))
        step = next((s for s in _STEPS if self.duration / s <= room), None)
        if step is None:
            step = 86400.0 * math.ceil(self.duration / 86400 / room)
        return [n * step for n in range(int(self.duration / step + 1e-9) + 1)]

    def label(self, second: float) -> str:
        """A tick's text."""
        if self.duration >= 100:
            return clock(second, self.duration)
        return f"{round(second, 2):g} s"

    def stamp(self, second: float) -> str:
        """A frame's time: tenths of seconds (hundredths if need be), or minutes and seconds."""
        if self.exact and self.duration < 100:
            return f"{second:.2f} s"
        return clock(second, self.duration)


def clock(second: float, duration: float) -> str:
    """A time as people read it, as exact as a clip of `duration` seconds needs.

    Examples:
        >>> clock(7.25, 28), clock(75, 150), clock(3700, 9000)
        ('7.2 s', '1:15', '1:01:40')
    """
    if duration < 100:
        return f"{second:.2f} s" if duration < 2 else f"{second:.1f} s"
    whole = round(second)
    minutes, seconds = divmod(whole, 60)
    if duration < 3600:
        return f"{minutes}:{seconds:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


@dataclass(frozen=True)
class ScoreAxis:
    """Where on the canvas a similarity lies."""

    top: float
    bottom: float
    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    @staticmethod
    def of(scores: npt.NDArray[np.floating], top: float, bottom: float) -> ScoreAxis:
        """An axis that just holds the scores, with two to four round ticks."""
        finite = scores[np.isfinite(scores)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        spread = high - low
        if spread < 1e-6:
            low, high, spread = low - 0.05, high + 0.05, 0.1
        low, high = low - 0.12 * spread, high + 0.16 * spread
        exponent = math.floor(math.log10((high - low) / 3))
        unit = 10.0**exponent
        step = next(m * unit for m in (1, 2, 5, 10) if (high - low) / (m * unit) <= 4)
        first = math.ceil(low / step)
        ticks = [n * step for n in range(first, math.floor(high / step) + 1)]
        return ScoreAxis(
            top, bottom, low, high, tuple(ticks), max(0, -math.floor(math.log10(step)))
        )

    def y(self, score: float) -> float:
        """Points from the top edge of the canvas."""
        score = score if math.isfinite(score) else self.low
        return self.bottom - (score - self.low) / (self.high - self.low) * (self.bottom - self.top)


def draw_curve(canvas: Canvas, evidence: Evidence, axis: TimeAxis, scores: ScoreAxis) -> None:
    """The similarity of question and frame over time, with its scale at the left."""
    for tick in scores.ticks:
        y = scores.y(tick)
        canvas.line([(axis.left, y), (axis.right, y)], color=GRID, width=0.6)
        text = f"{tick:.{scores.digits}f}".replace("-", "−")
        canvas.text(axis.left - 6, y + 2.6, text, size=SMALL, color=MUTED, align="right",
                   name="score-tick")  # fmt: skip
    points = [
        (axis.x(float(second)), scores.y(float(score)))
        for second, score in zip(evidence.frames.seconds, evidence.scores, strict=True)
    ]
    if len(points) > 1:
        floor = scores.bottom
        canvas.area([(points[0][0], floor), *points, (points[-1][0], floor)], fill="#eef1f4")
        canvas.line(points, color="#59636e", width=1.1, name="curve")
    else:
        canvas.marks(*_columns(points), shape="o", color=MUTED, size=4, name="curve")


def draw_time_axis(canvas: Canvas, axis: TimeAxis, y: float) -> float:
    """The seconds below y; returns where the labels end."""
    canvas.line([(axis.left, y), (axis.right, y)], color=FAINT, width=0.7)
    ends = -math.inf
    for tick in axis.ticks():
        x = axis.x(tick)
        text = axis.label(tick)
        wide = canvas.measure(text, SMALL)
        if x - wide / 2 < ends + 4:
            continue
        canvas.line([(x, y), (x, y + 3)], color=FAINT, width=0.7)
        canvas.text(x, y + 11, text, size=SMALL, color=MUTED, align="center", name="time-tick")
        ends = x + wide / 2
    return y + 15


def draw_time_grid(canvas: Canvas, axis: TimeAxis, top: float, bottom: float) -> None:
    """Light vertical lines at the axis' ticks."""
    for tick in axis.ticks():
        canvas.line([(axis.x(tick), top), (axis.x(tick), bottom)], color=GRID, width=0.6)


def mark_size(xs: Sequence[float], largest: float) -> float:
    """Points of marks at ascending places such that they have room side by side.

    Few may overlap a little; of many, nine in ten have room, whatever the closest do.

    Examples:
        >>> mark_size([0.0, 3.0], 6.5), round(mark_size([4.0 * n for n in range(30)], 6.5), 1)
        (6.5, 3.4)
    """
    if len(xs) <= MOST_GUIDES:
        return largest
    gap = float(np.percentile(np.diff(xs), 10))
    return min(largest, max(2.6, 0.85 * gap))


def draw_marks(
    canvas: Canvas, pathway: PathwayEvidence, mark: Mark, axis: TimeAxis, y: float
) -> None:
    """A pathway's frames as marks along its lane."""
    xs = [axis.x(kept.second) for kept in pathway.kept]
    if not xs:
        return
    canvas.line([(axis.left, y), (axis.right, y)], color=GRID, width=0.6)
    size = mark_size(sorted(xs), 6.5)
    canvas.marks(xs, [y] * len(xs), shape=mark.shape, color=mark.color, size=size,
                rim=0.7 if size > 4.5 else 0.3, name=f"lane-{pathway.name}")  # fmt: skip


def draw_samples(canvas: Canvas, evidence: Evidence, axis: TimeAxis, y: float) -> None:
    """The sampled frames as ticks along a lane."""
    canvas.line([(axis.left, y), (axis.right, y)], color=GRID, width=0.6)
    xs = [axis.x(float(second)) for second in evidence.frames.seconds]
    ticks = [((x, y - 3.2), (x, y + 3.2)) for x in xs]
    canvas.segments(ticks, color=PAPER, width=2.4)  # or lines down to the lanes would hide them
    canvas.segments(ticks, color=FAINT, width=0.8, name="samples")


def draw_lane_name(
    canvas: Canvas, left: float, y: float, text: str, width: float, mark: Mark | None = None
) -> None:
    """A lane's mark and name, left of the lane."""
    if mark is not None:
        canvas.marks([left + 4], [y], shape=mark.shape, color=mark.color, size=7)
    font = canvas.letters.font(SMALL)
    short = canvas.letters.fit(canvas.letters.clean(text), font, width - 12)
    canvas.text(left + 12, y + 2.7, short, size=SMALL, color=INK, name="lane-name")


def draw_count(canvas: Canvas, y: float, text: str) -> None:
    """What a lane holds, right of it."""
    canvas.text(WIDTH - MARGIN, y + 2.7, text, size=SMALL, color=MUTED, align="right",
               name="lane-count")  # fmt: skip


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
