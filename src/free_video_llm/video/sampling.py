"""Which frames of a clip are sampled: uniform positions of the whole, or of stretches of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from free_video_llm.video.ranges import TimeRange, within, words
from free_video_llm.video.source import refuse
from free_video_llm.video.timeline import FloatArray, IntArray

Rules = Literal["corrected", "released"]


def uniform_indices(total: int, count: int, *, rules: Rules = "corrected") -> IntArray:
    """Uniform frame positions: int64 [T], T = min(total, count), ascending.

    Of a clip with up to twice as many frames as are asked for, each position occurs once and the
    first and the last are among them. Longer clips, and all by the "released" rules, are sampled as
    by `released_indices`. Raises ValueError if `total` or `count` is not positive.

    Examples:
        >>> uniform_indices(3, 50).tolist(), uniform_indices(5, 3).tolist()
        ([0, 1, 2], [0, 2, 4])
        >>> uniform_indices(3, 50, rules="released").tolist()
        [0, 1, 1]
    """
    released = released_indices(total, count)
    if rules == "released" or total > 2 * count:
        return released
    frames = len(released)
    return np.rint(np.linspace(0, total - 1, frames)).astype(np.int64)


def released_indices(total: int, count: int) -> IntArray:
    """The released code's uniform frame positions: int64 [T], T = min(total, count).

    With seg = (total - 1) / T, frame i is (round(seg·i) + round(seg·(i+1))) // 2, `round` being
    half to even (arXiv 2410.10441, released code). With total ≤ count this repeats a position and
    leaves out the last frame; that is the released arithmetic, kept. Raises ValueError if `total`
    or `count` is not positive.
    """
    if total <= 0 or count <= 0:
        raise ValueError(f"total and count must be at least 1; got total={total}, count={count}")
    frames = min(total, count)
    edges = np.rint((total - 1) / frames * np.arange(frames + 1)).astype(np.int64)
    return np.asarray((edges[:-1] + edges[1:]) // 2)


def spread(
    source: str, seconds: FloatArray, count: int, rules: Rules, ranges: Sequence[TimeRange]
) -> IntArray:
    """Uniform positions among the frames at `seconds` [N] that are shown in some ranges.

    Raises VideoError where none is.
    """
    inside = within(seconds, ranges)
    if not len(inside):
        last = float(seconds[-1])
        refuse(source, f"no frame is shown at {words(ranges)}", f"its last one is at {last:.2f} s")
    return np.asarray(inside[uniform_indices(len(inside), count, rules=rules)], np.int64)
