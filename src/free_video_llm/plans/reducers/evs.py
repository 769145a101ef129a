"""EVS: what has changed since the frame before (NVIDIA, arXiv 2510.14624)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.plans.methods import reducer

if TYPE_CHECKING:
    import torch


@reducer("evs")
def evs(
    states: torch.Tensor, count: int, relevance: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Of states [T,N,C] the `count` that are least like the same place of the frame before.

    All of the first frame count as new, as far as there is room; of every later frame its newest
    token is kept, so that none is without.
    """
    import torch
    import torch.nn.functional as F

    frames, tokens, _ = states.shape
    values = states.float()
    new = torch.full((frames, tokens), 2.5, device=values.device)
    new[1:] = 1 - F.cosine_similarity(values[1:], values[:-1], dim=-1)
    first = new.argmax(1)
    new[torch.arange(frames), first] += 10  # each frame's newest goes first
    kept = torch.zeros(frames * tokens, dtype=torch.bool)
    kept[new.flatten().sort(descending=True, stable=True).indices[:count].cpu()] = True
    return [row.nonzero()[:, 0] for row in kept.reshape(frames, tokens)]
