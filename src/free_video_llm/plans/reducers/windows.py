"""Windows as large as the question's map wants them: a frame in which little is near to it gives
up tokens to one in which much is, and all frames together have the plan's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.plans.methods import reducer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]


@reducer("windows", guided=True)
def windows(
    states: torch.Tensor, count: int, relevance: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Of states [T,N,C] `count`: in each frame's map of relevance, the smallest window that holds
    a share of what is above the map's mean, the same share in all frames and as large as there is
    room for. What is then left goes to the most relevant cells beside the windows."""
    import numpy as np
    import torch

    frames, tokens, _ = states.shape
    given = np.ones((frames, tokens)) if relevance is None else relevance.double().cpu().numpy()
    side = round(tokens**0.5)
    found = [_frontier(above_mean(frame.reshape(side, side))) for frame in given]
    kept = np.zeros((frames, side, side), bool)
    for number, which in enumerate(_fitting([shares for shares, _ in found], count)):
        top, left, high, wide = found[number][1][which]
        kept[number, top : top + high, left : left + wide] = True
    beside = np.where(kept.reshape(-1), -np.inf, given.reshape(-1))
    rest = np.argsort(-beside, kind="stable")[: count - int(kept.sum())]
    kept.reshape(-1)[rest] = True
    return [torch.from_numpy(frame.reshape(-1).nonzero()[0]) for frame in kept]


def above_mean(values: FloatArray) -> FloatArray:
    """What each cell of a map has above its mean, as shares of that; even where the map is flat.

    Examples:
        >>> import numpy as np
        >>> above_mean(np.array([[0.0, 1.0], [0.0, 3.0]]))
        array([[0., 0.],
               [0., 1.]])
    """
    import numpy as np

    above = np.maximum(values - values.mean(), 0)
    total = float(above.sum())
    return above / total if total > 1e-12 else np.full(values.shape, 1 / values.size)


def _frontier(shares: FloatArray) -> tuple[FloatArray, IntArray]:
    """For every number of cells from 1 on, the greatest share that a window of as many or fewer
    cells holds: float [N], and its top, left, rows and columns: int [N,4]. Of windows that hold
    the same, the smaller one, then the squarer one, then the one nearer to the middle."""
    import numpy as np

    side = len(shares)
    corners = np.zeros((side + 1, side + 1))
    corners[1:, 1:] = shares.cumsum(0).cumsum(1)  # the integral image
    most, where = np.full(side * side + 1, -1.0), np.zeros((side * side + 1, 4), np.int64)
    sizes = [(h, w) for h in range(1, side + 1) for w in range(1, side + 1)]
    for high, wide in sorted(sizes, key=lambda size: (size[0] * size[1], abs(size[0] - size[1]))):
        sums = (
            corners[high:, wide:] - corners[:-high, wide:] - corners[high:, :-wide]
            + corners[:-high, :-wide]
        )  # fmt: skip
        best = sums.max()
        if best > most[high * wide] + 1e-12:
            tops, lefts = np.nonzero(sums >= best - 1e-12)
            away = (2 * tops + high - side) ** 2 + (2 * lefts + wide - side) ** 2
            nearest = int(away.argmin())
            most[high * wide] = best
            where[high * wide] = (tops[nearest], lefts[nearest], high, wide)
    for cells in range(1, len(most)):
        if most[cells] <= most[cells - 1] + 1e-12:
            most[cells], where[cells] = most[cells - 1], where[cells - 1]
    return most[1:], where[1:]


def _fitting(shares: list[FloatArray], count: int) -> list[int]:
    """For each frame the place on its frontier of the smallest window that holds a share, for the
    greatest share at which all windows together have no more than `count` cells."""
    import numpy as np

    levels = np.unique(np.concatenate(shares))
    low, high = 0, len(levels)  # all frames' single best cells fit
    chosen = [0] * len(shares)
    while low < high:
        middle = (low + high) // 2
        places = [int(np.searchsorted(frame, levels[middle] - 1e-12)) for frame in shares]
        if sum(place + 1 for place in places) <= count:
            low, chosen = middle + 1, places
        else:
            high = middle
    return chosen
