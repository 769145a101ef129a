"""Which of very many candidate frames to look at first, and which next: from small pictures of
them, and from the scores of those that were looked at. Pure functions; nothing is decoded here."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

#: Cells along one side of the small pictures that are compared: coarse enough that grain averages
#: out, fine enough for what is a tenth of the picture wide.
CELLS = 16
#: Values of small pictures that are summed together.
AT_ONCE = 400_000
#: Of the frames of a first look, the share that goes to stretches between the strongest changes;
#: the others cut the longest stretches.
OF_CHANGES = 0.9
#: Neighbours over which the usual movement is taken.
AROUND = 9


def small_pictures(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    """Means of CELLS × CELLS cells: uint8 [n,S,S,3], S at least CELLS, to float32 [n,CELLS²·3]."""
    count, side = pixels.shape[:2]
    edges = np.linspace(0, side, CELLS + 1).round().astype(int)
    size = np.diff(edges).astype(np.float32)
    # Sums by a product of matrices: half the time of reduceat, and as exact, since whole numbers
    # below 2**24 are. A few pictures at a time stay in a CPU's cache as floats.
    cell = np.repeat(np.eye(CELLS, dtype=np.float32), np.diff(edges), axis=1)  # [CELLS,S]
    sums = np.empty((count, CELLS, CELLS, 3), np.float32)
    step = max(1, AT_ONCE // (3 * side**2))
    for start in range(0, count, step):
        some = pixels[start : start + step].reshape(-1, side, side * 3).astype(np.float32)
        sums[start : start + step] = cell @ (cell @ some).reshape(-1, CELLS, side, 3)
    means: FloatArray = sums / (size[:, None] * size[None, :])[None, :, :, None]
    return means.reshape(count, -1)


def changes(small: FloatArray) -> FloatArray:
    """How much more each picture differs from the one before than its neighbours usually do:
    [T-1], in squared grey levels a cell."""
    steps = np.square(np.diff(small, axis=0)).mean(axis=1)
    padded = np.pad(steps, AROUND // 2, mode="reflect" if len(steps) > AROUND else "edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, AROUND), axis=1)
    return np.asarray(steps - usual, np.float32)


def first_look(small: FloatArray, count: int) -> list[int]:
    """`count` of the T pictures, ascending: the middle of each stretch between the strongest
    changes, and of the parts of longer stretches.

    Examples:
        >>> still = np.zeros((9, 3), np.float32)
        >>> first_look(still, 3)
        [1, 4, 7]
        >>> still[4] = 50  # what is seen in one picture alone
        >>> 4 in first_look(still, 3)
        True
    """
    total = len(small)
    if count >= total:
        return list(range(total))
    cuts: set[int] = set()
    if total > 1:
        change = changes(small)
        strongest = np.argsort(-change, kind="stable")[: max(0, round(count * OF_CHANGES) - 1)]
        cuts = {int(step) + 1 for step in strongest if change[step] > 0}
    edges = [0, *sorted(cuts), total]
    # Each stretch is cut into as many even parts as leave none much longer than the others.
    stretches = [(float(a - b), a, b, 1) for a, b in itertools.pairwise(edges)]
    heapq.heapify(stretches)
    for _ in range(count - len(stretches)):
        _, start, stop, parts = heapq.heappop(stretches)
        heapq.heappush(stretches, ((start - stop) / (parts + 1), start, stop, parts + 1))
    return sorted(
        start + (stop - start) * (2 * part + 1) // (2 * parts)
        for _, start, stop, parts in stretches
        for part in range(parts)
    )


def next_look(scores: Mapping[int, float], total: int, count: int) -> list[int]:
    """Up to `count` of T candidates that have no score yet, ascending: those in the middle between
    the best that have one and their neighbours.

    Examples:
        >>> next_look({0: 0.1, 8: 0.9, 16: 0.2}, 17, 2)
        [4, 12]
    """
    known: Sequence[int] = sorted(scores)
    gaps: list[tuple[float, int, int, int]] = []
    for left, right in zip([-1, *known], [*known, total], strict=True):
        near = max(scores.get(left, -np.inf), scores.get(right, -np.inf))
        heapq.heappush(gaps, (-near, left - right, left, right))
    found: list[int] = []
    while gaps and len(found) < count:
        near, _, left, right = heapq.heappop(gaps)
        if right - left > 1:
            found.append((left + right) // 2)
    return sorted(found)
