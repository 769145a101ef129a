"""Peaks: one frame for each event, the top of every rise of the scores."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import among, filled, free_frames

if TYPE_CHECKING:
    import torch


@selector("peaks", caption="one for each rise of what the question finds", guided=True)
def peaks(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """The highest local maxima of the scores in time; the best of the rest where there are fewer.

    Of a level stretch its middle is the top.

    Examples:
        >>> import torch
        >>> peaks(torch.tensor([0.1, 0.9, 0.8, 0.2, 0.3, 0.7, 0.1]), torch.ones(7, 1), 2)
        [1, 5]
    """
    import torch

    free = free_frames(len(scores), exclude)
    count = min(count, len(free))
    some = among(scores, free).double().cpu()
    values, lengths = torch.unique_consecutive(some, return_counts=True)
    stops = lengths.cumsum(0)
    lower = torch.full((1,), -torch.inf, dtype=values.dtype)
    rises = values > torch.cat([lower, values[:-1]])
    falls = values > torch.cat([values[1:], lower])
    middles = (2 * stops - lengths - 1) // 2
    tops, heights = middles[rises & falls], values[rises & falls]
    best = heights.sort(descending=True, stable=True).indices[:count]
    return [free[place] for place in filled(tops[best].tolist(), some, count)]
