"""Peaks: one frame for each event, the top of every rise of the scores."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import filled, free_frames

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
    free = free_frames(len(scores), exclude)
    some = scores[free].double().cpu()
    values = some.tolist()
    tops = []
    start = 0
    while start < len(values):
        stop = start
        while stop + 1 < len(values) and values[stop + 1] == values[start]:
            stop += 1
        rises = start == 0 or values[start - 1] < values[start]
        falls = stop == len(values) - 1 or values[stop + 1] < values[stop]
        if rises and falls:
            tops.append((start + stop) // 2)
        start = stop + 1
    tops.sort(key=lambda place: (-values[place], place))
    count = min(count, len(free))
    return [free[place] for place in filled(tops[:count], some, count)]
