"""How well what was kept meets what the answer is known to rest on. Pure functions of numbers.

A kept frame stands for the time that is nearer to it than to any other frame that was looked at, so
that stretches of kept frames can be laid beside the moments of the truth.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
#: Left, top, right, bottom as shares of the frame.
Box = tuple[float, float, float, float]

#: Seconds within which a kept frame meets a moment that is a single frame, as LV-Haystack's own
#: measure has it (arXiv 2504.02259).
NEAR = 5.0
#: Seconds by which times that are the same may differ: rows have them in milliseconds.
ROUNDING = 1e-3
#: Seconds within which a true box is that of a kept frame.
SAME_FRAME = 0.5


@dataclass(frozen=True)
class Truth:
    """What an answer is known to rest on.

    Attributes:
        moments: from when to when, in seconds; a moment whose ends are one is a single frame.
        boxes: where, by second.
    """

    moments: tuple[Interval, ...]
    boxes: tuple[tuple[float, Box], ...] = ()


@dataclass(frozen=True)
class EvidenceScore:
    """One answer's evidence against the truth.

    Attributes:
        hit: whether any kept frame lies in a moment.
        precision: the share of kept frames that do.
        time_iou: of the stretches of kept frames and the moments.
        box_iou, box_inside: of the kept regions with the true boxes, and the share of the true box
            that lies in the region; means over kept frames that have one, None without any.
    """

    hit: bool
    precision: float
    time_iou: float
    box_iou: float | None
    box_inside: float | None


def score_evidence(evidence: Mapping[str, Any], truth: Truth) -> EvidenceScore | None:
    """The score of evidence as rows have it (docs/evaluation.md); None where nothing was kept.

    Pathways that keep every sampled frame are an overview, and not counted unless there are no
    others.
    """
    sampled = [float(second) for second in evidence["sampled"]["seconds"]]
    pathways = [pathway for pathway in evidence["pathways"] if pathway["frames"]]
    chosen = [pathway for pathway in pathways if len(pathway["frames"]) < len(sampled)]
    frames = [frame for pathway in chosen or pathways for frame in pathway["frames"]]
    if not frames:
        return None
    seconds = sorted({float(frame["second"]) for frame in frames})
    met = [second for second in seconds if _lies_in(second, truth.moments)]
    stretches = stretches_of(seconds, sampled, float(evidence["duration_seconds"]))
    pairs = [
        (tuple(frame.get("region", (0.0, 0.0, 1.0, 1.0))), box)
        for frame in frames
        for second, box in truth.boxes
        if abs(second - float(frame["second"])) <= SAME_FRAME
    ]
    return EvidenceScore(
        hit=bool(met),
        precision=len(met) / len(seconds),
        time_iou=time_iou(stretches, _widened(truth.moments)),
        box_iou=_mean(box_iou(region, box) for region, box in pairs),
        box_inside=_mean(box_inside(region, box) for region, box in pairs),
    )


def _lies_in(second: float, moments: Sequence[Interval]) -> bool:
    """A frame that begins when a moment ends is none of it."""
    return any(
        start - ROUNDING <= second < end - ROUNDING if end > start else abs(second - start) <= NEAR
        for start, end in moments
    )


def _widened(moments: Sequence[Interval]) -> list[Interval]:
    """Moments that are a single frame as wide as what meets them."""
    return [(s, e) if e > s else (s - NEAR, s + NEAR) for s, e in moments]


def stretches_of(
    kept: Sequence[float], sampled: Sequence[float], duration: float
) -> list[Interval]:
    """What kept frames stand for: of each the time nearer to it than to any other sampled frame.

    Examples:
        >>> stretches_of([2.0], [0.0, 2.0, 6.0], 8.0)
        [(1.0, 4.0)]
    """
    times = sorted({*sampled, *kept})
    edges = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(times))]
    edges.append(max(duration, times[-1]))
    wanted = set(kept)
    return [(edges[i], edges[i + 1]) for i, time in enumerate(times) if time in wanted]


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps, ascending."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def time_iou(first: Sequence[Interval], second: Sequence[Interval]) -> float:
    """Seconds in both ÷ seconds in either; 0 where neither has any.

    Examples:
        >>> time_iou([(0, 4), (2, 6)], [(3, 9)])
        0.3333333333333333
    """
    ours, theirs = joined(first), joined(second)
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in ours for b in theirs)
    either = sum(end - start for start, end in (*ours, *theirs)) - both
    return both / either if either > 0 else 0.0


def box_iou(first: Box, second: Box) -> float:
    """Area in both ÷ area in either; 0 where neither has any.

    Examples:
        >>> box_iou((0, 0, 0.5, 1), (0.25, 0, 0.75, 1))
        0.3333333333333333
    """
    both = _common(first, second)
    either = _area(first) + _area(second) - both
    return both / either if either > 0 else 0.0


def box_inside(region: Box, box: Box) -> float:
    """The share of a box that lies in a region."""
    area = _area(box)
    return _common(region, box) / area if area > 0 else 0.0


def _common(a: Box, b: Box) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class EvidenceFigures:
    """Means over the rows whose truth is known.

    Attributes:
        rows: how many those are.
        boxes: how many of them have a true box of a kept frame.
    """

    rows: int
    hit: float | None
    precision: float | None
    time_iou: float | None
    boxes: int
    box_iou: float | None
    box_inside: float | None

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def figures_of(scores: Sequence[EvidenceScore]) -> EvidenceFigures:
    """The means of some rows' scores."""
    boxed = [score for score in scores if score.box_iou is not None]
    return EvidenceFigures(
        rows=len(scores),
        hit=_mean(float(score.hit) for score in scores),
        precision=_mean(score.precision for score in scores),
        time_iou=_mean(score.time_iou for score in scores),
        boxes=len(boxed),
        box_iou=_mean(score.box_iou or 0.0 for score in boxed),
        box_inside=_mean(score.box_inside or 0.0 for score in boxed),
    )
