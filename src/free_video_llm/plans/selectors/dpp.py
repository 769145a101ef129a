"""A determinantal point process: relevant frames, as unlike one another as can be.

The greedy search for the likeliest set (Chen et al., NeurIPS 2018, arXiv 1709.05135), on the kernel
r_i · cos(i, j) · r_j, with relevance r from the scores as MDP3 (arXiv 2501.02885) takes it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import among, filled, free_frames, in_unit_range

if TYPE_CHECKING:
    import torch

#: How much more relevant the best frame is than the worst: its exponent.
SHARPNESS = 2.0
#: The share of a frame's own part below which it lies within what was chosen: float32's rounding.
ALIKE = 1e-5
#: Frames that are looked at first, the most relevant: none adds more than its relevance squared, so
#: that of an hour's most need not be.
FIRST = 512


@selector("dpp", caption="relevant, and as unlike as can be", guided=True)
def dpp(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """The greedy likeliest `count` frames; of equally likely ones the earlier.

    Examples:
        >>> import torch
        >>> same, other = [1.0, 0.0], [0.0, 1.0]
        >>> dpp(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([same, same, other]), 2)
        [0, 2]
    """
    import torch

    free = free_frames(len(scores), exclude)
    count = min(count, len(free))
    if not count:
        return []
    some = among(scores, free).double().cpu()
    relevance = torch.exp(SHARPNESS * in_unit_range(some))
    order = relevance.sort(descending=True, stable=True).indices
    places = torch.tensor(free)
    chosen: list[int] | None = None
    size = FIRST
    while chosen is None:
        part = order[:size].sort().values
        beyond = float(relevance[order[size]] ** 2) if size < len(order) else -math.inf
        unit = vectors[places[part].to(vectors.device)].float().cpu()
        chosen = _likeliest(relevance[part], unit, count, beyond)
        size *= 4
    return [free[place] for place in filled(part[chosen].tolist(), some, count)]


def _likeliest(
    relevance: torch.Tensor, unit: torch.Tensor, count: int, beyond: float
) -> list[int] | None:
    """The greedy search among some frames; None where one that adds `beyond` could do as well."""
    import torch

    # What is left of a frame's own part of the kernel once the chosen ones are taken out of it.
    left = relevance**2
    rows = torch.zeros(count, len(left), dtype=torch.float64)
    chosen: list[int] = []
    for step in range(count):
        best = int(left.argmax())
        if not left[best] > beyond:
            return None
        if not left[best] > ALIKE * relevance[best] ** 2:
            break  # all that is left lies within what was chosen
        chosen.append(best)
        kernel = relevance[best] * relevance * (unit @ unit[best]).double()
        rows[step] = (kernel - rows[:step].T @ rows[:step, best]) / left[best].sqrt()
        left = left - rows[step] ** 2
        left[best] = -torch.inf
    return chosen
