"""AKS: the best frames of a stretch where they stand out, else of each of its halves (Tang et al.,
CVPR 2025, arXiv 2502.21271; written from the paper alone)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import among, filled, free_frames, in_unit_range

if TYPE_CHECKING:
    import torch

#: By how much the mean of the best frames of a stretch has to be above the mean of all, in scores
#: from 0 to 1; and how often a stretch is halved at most.
STANDS_OUT, DEEPEST = 0.8, 5


@selector("aks", caption="the best of each stretch, as far as they stand out", guided=True)
def aks(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """`count` frames, shared out by halving the clip where its best frames do not stand out.

    A half has half of the places, whole ones; what is lost by that is given to the best frames
    that are left.

    Examples:
        >>> import torch
        >>> aks(torch.tensor([0.9, 1.0, 0.8, 0.7, 0.1, 0.6, 0.2, 0.3]), torch.ones(8, 1), 4)
        [1, 2, 5, 7]
    """
    free = free_frames(len(scores), exclude)
    count = min(count, len(free))
    if not count:
        return []
    some = in_unit_range(among(scores, free).double().cpu())
    chosen = _share_out(some, 0, len(free), count, 0)
    return [free[place] for place in filled(chosen, some, count)]


def _share_out(scores: torch.Tensor, start: int, stop: int, count: int, depth: int) -> list[int]:
    """Places between `start` and `stop`, `count` at most."""
    part = scores[start:stop]
    if not count or not len(part):
        return []
    order = part.sort(descending=True, stable=True).indices[:count]
    stands_out = float(part[order].mean() - part.mean()) > STANDS_OUT
    if stands_out or depth == DEEPEST or len(part) < 2 or count < 2:
        return [start + place for place in order.tolist()]
    middle = start + len(part) // 2
    left = _share_out(scores, start, middle, count // 2, depth + 1)
    return left + _share_out(scores, middle, stop, count // 2, depth + 1)
