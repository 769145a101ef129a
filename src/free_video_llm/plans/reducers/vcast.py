"""V-CAST: more tokens where the video turns, and of a frame those that stand out from it (arXiv
2603.27650)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.plans.methods import reducer
from free_video_llm.plans.reducers.budget import divided, highest
from free_video_llm.plans.selectors.ranking import in_unit_range

if TYPE_CHECKING:
    import torch

#: How evenly the budget is spread over frames.
TEMPERATURE = 0.7


@reducer("vcast")
def vcast(
    states: torch.Tensor, count: int, relevance: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Of states [T,N,C] `count` in all, by curvature of the frames' means and by what a token is
    beside its frame's mean."""
    import torch
    import torch.nn.functional as F

    values = states.float()
    means = F.normalize(values.mean(1), dim=-1)
    steps = means[1:] - means[:-1]
    curved = torch.ones(len(values), device=values.device)
    if len(values) > 2:
        curved[1:-1] = 1 - F.cosine_similarity(steps[:-1], steps[1:], dim=-1)
    counts = divided(torch.softmax(curved / TEMPERATURE, 0), count, most=values.shape[1])
    unlike = 1 - F.cosine_similarity(values, values.mean(1, keepdim=True), dim=-1)
    lengths = torch.stack([in_unit_range(frame) for frame in values.norm(dim=-1)])
    return highest(unlike + lengths, counts)
