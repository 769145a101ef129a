"""What choosing costs a question: frames among 3,600 candidates, and the regions of those kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from free_video_llm.plans.crop import kept_cells
from free_video_llm.plans.methods import SELECTORS
from free_video_llm.plans.plan import Crop
from measure import Figure, interleaved

SECTION = "Choosing frames and regions"
CANDIDATES, WIDTH, KEPT, SIDE = 3600, 512, 8, 24
#: Seconds that choosing may take for a question.
BOUND = 0.005


def figures(repeats: int) -> list[Figure]:
    """Each selector on random scores of an hour at one a second, and the window of a crop."""
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(CANDIDATES, WIDTH, generator=generator), dim=-1)
    scores = vectors @ vectors[7]
    maps = torch.rand(KEPT, SIDE, SIDE, generator=generator)
    work = {
        method.name: lambda method=method: method.choose(scores, vectors, KEPT, exclude=())
        for method in SELECTORS
        if method.counted
    }
    work["region"] = lambda: kept_cells(maps, Crop(ratio=0.5))
    series = interleaved(work, repeats, what="choosing")
    return [
        Figure(
            SECTION,
            f"the regions of {KEPT} frames of {SIDE} × {SIDE}"
            if name == "region"
            else f"`{name}`: {KEPT} of {CANDIDATES:,} candidates",
            series[name],
            bound=BOUND,
            at_least=False,
        )
        for name in work
    ]
