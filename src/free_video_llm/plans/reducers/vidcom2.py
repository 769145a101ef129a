"""VidCom2: what is unlike its frame and unlike the video (Liu et al., EMNLP 2025, arXiv
2505.14454)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.plans.methods import reducer
from free_video_llm.plans.reducers.budget import divided, highest

if TYPE_CHECKING:
    import torch

#: Widths of the Gaussian kernels that are summed, and how sharply frames differ in their budgets.
WIDTHS, TEMPERATURE = (0.125, 0.25, 0.5, 1.0, 2.0), 0.01


@reducer("vidcom2")
def vidcom2(
    states: torch.Tensor, count: int, relevance: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Of states [T,N,C] the `count` that are most unlike the means of their frame and of all.

    Looks at the half of the channels that vary least, each token brought to unit length. A frame
    that is unlike the video gets more than its equal part.
    """
    import torch
    import torch.nn.functional as F

    _, tokens, width = states.shape
    values = states.float()
    steady = values.flatten(0, 1).var(0).argsort()[: max(1, width // 2)]
    unit = F.normalize(values[..., steady], dim=-1)
    to_video = _likeness(unit, unit.mean((0, 1), keepdim=True))
    to_frame = _likeness(unit, unit.mean(1, keepdim=True))
    special = torch.softmax(-to_video.mean(1) / TEMPERATURE, 0)
    weights = 1 + special - special.mean()
    return highest(-(to_video + to_frame), divided(weights, count, most=tokens))


def _likeness(unit: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """[T,N], summed Gaussian kernels of the distance between tokens and a mean."""
    squared = ((unit - mean) ** 2).sum(-1)
    parts = [(-squared / (2 * width)).exp() for width in WIDTHS]
    return sum(parts[1:], parts[0])
