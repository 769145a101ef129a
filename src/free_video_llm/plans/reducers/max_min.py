"""Max-min diversity with the question: each token as unlike all kept ones as can be, and near to
what was asked.

The greedy farthest-point choice that FlashVID (arXiv 2602.08024) makes with the encoder's
attention, here with the scorer's similarity of each patch to the question in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.plans.methods import reducer
from free_video_llm.plans.selectors.ranking import in_unit_range

if TYPE_CHECKING:
    import torch

#: What a patch counts that has nothing to do with the question, beside 1 for the nearest one.
FLOOR = 0.2


@reducer("max-min", guided=True)
def max_min(
    states: torch.Tensor, count: int, relevance: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Of states [T,N,C] `count`, one after the other: the greatest product of relevance and of the
    least cosine distance to those that are kept. Of every frame its most relevant one is kept."""
    import torch
    import torch.nn.functional as F

    frames, tokens, _ = states.shape
    unit = F.normalize(states.float(), dim=-1).flatten(0, 1)
    worth = torch.ones(frames, tokens, device=unit.device)
    if relevance is not None:
        worth = FLOOR + (1 - FLOOR) * in_unit_range(relevance.float()).to(unit.device)
    firsts = worth.argmax(1) + torch.arange(frames, device=unit.device) * tokens
    kept = torch.zeros(frames * tokens, dtype=torch.bool, device=unit.device)
    kept[firsts] = True
    distance = (1 - unit @ unit[firsts].T).amin(1)
    weight = worth.flatten()
    for _ in range(count - frames):
        gain = (weight * distance.clamp_min(0)).masked_fill(kept, -1.0)
        best = int(gain.argmax())
        kept[best] = True
        distance = torch.minimum(distance, 1 - unit @ unit[best])
    return [row.nonzero()[:, 0].cpu() for row in kept.reshape(frames, tokens)]
