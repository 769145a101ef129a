"""How many tokens each frame keeps, and which: what several reducers need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def divided(weights: torch.Tensor, total: int, *, most: int) -> list[int]:
    """`total` tokens shared out by weights [T]: at least one each, at most `most`; what is left by
    rounding goes to the largest rests, of equal ones to the earlier.

    Examples:
        >>> import torch
        >>> divided(torch.tensor([1.0, 1.0, 2.0]), 6, most=10)
        [2, 2, 2]
        >>> divided(torch.tensor([0.0, 0.0, 5.0]), 8, most=4)
        [2, 2, 4]
    """
    values = weights.double().cpu()
    count = len(values)
    shares = values / values.sum() if values.sum() > 0 else values * 0 + 1 / count
    wanted = (1 + shares * (total - count)).tolist()
    counts = [min(most, int(number)) for number in wanted]
    order = sorted(range(count), key=lambda frame: (counts[frame] - wanted[frame], frame))
    while sum(counts) < total:
        for frame in order:
            if sum(counts) < total and counts[frame] < most:
                counts[frame] += 1
    return counts


def highest(scores: torch.Tensor, counts: list[int]) -> list[torch.Tensor]:
    """Places of the highest scores [T,N] of each frame, ascending; of equal ones the earlier."""
    order = scores.sort(dim=1, descending=True, stable=True).indices.cpu()
    return [places[:count].sort().values for places, count in zip(order, counts, strict=True)]
