"""BOLT: frames at even steps of the summed scores (Liu et al., CVPR 2025, arXiv 2503.21483).

Where scores are high the steps lie close together, and nowhere do they leave a gap: between the
best frames alone and an even spread.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import among, filled, free_frames, in_unit_range

if TYPE_CHECKING:
    import torch

#: To which scores are raised: as for Video-MME in the paper.
POWER = 3.0


@selector("bolt", caption="at even steps of what the question finds", guided=True)
def bolt(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """Frames whose cumulative share of the sharpened scores first reaches `count` even targets.

    The targets run from 1/count to 1 − 1/count; of one alone, one half. Where two fall on one
    frame, the best frame that is left takes the place of the second.

    Examples:
        >>> import torch
        >>> bolt(torch.tensor([0.0, 0.1, 0.9, 1.0, 0.9, 0.0]), torch.ones(6, 1), 3)
        [2, 3, 4]
    """
    import torch

    free = free_frames(len(scores), exclude)
    count = min(count, len(free))
    if not count:
        return []
    some = among(scores, free).double().cpu()
    weights = in_unit_range(some) ** POWER
    if not weights.any():
        weights = torch.ones_like(weights)
    reached = (weights / weights.sum()).cumsum(0)
    targets = torch.linspace(1 / count, 1 - 1 / count, count, dtype=torch.float64)
    if count == 1:
        targets = torch.tensor([0.5], dtype=torch.float64)
    places = torch.searchsorted(reached, targets - 1e-12).clamp_max(len(free) - 1)
    return [free[place] for place in filled(places.tolist(), some, count)]
