"""FOCUS: most places to the stretches that promise most (Zhu et al., ICLR 2026, arXiv 2510.27280).

Its last step, on scores of all candidates: stretches are arms of a bandit, each worth its mean and
a margin for what is uncertain in it. Deterministic: where the paper draws by softmax, the best
frame of a place is taken.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.selectors.ranking import filled, free_frames

if TYPE_CHECKING:
    import torch

#: Candidates of a stretch, and stretches at least; a fifth of the places goes to the best frames.
LONG, FEWEST, BEST_SHARE = 16, 8, 0.2


@selector("focus", caption="in the stretches that promise most", guided=True)
def focus(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """A fifth of the places to the best frames, the rest evenly to the best stretches.

    Examples:
        >>> import torch
        >>> scores = torch.zeros(64)
        >>> scores[[10, 11, 40]] = torch.tensor([0.8, 0.9, 0.7])
        >>> focus(scores, torch.ones(64, 1), 3)
        [10, 11, 40]
    """
    free = free_frames(len(scores), exclude)
    count = min(count, len(free))
    if not count:
        return []
    some = scores[free].double().cpu()
    arms = _arms(len(free))
    worth = [_worth(some[arm.start : arm.stop], len(free)) for arm in arms]
    most = min(max(round(0.25 * len(arms)), 4), 32, len(arms), count)
    best_arms = sorted(range(len(arms)), key=lambda arm: (-worth[arm], arm))[:most]
    order = some.sort(descending=True, stable=True).indices.tolist()
    chosen = order[: math.ceil(BEST_SHARE * count)]
    taken = set(chosen)
    queues = [[f for f in order if f in arms[arm] and f not in taken] for arm in best_arms]
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return [free[place] for place in filled(chosen, some, count)]


def _arms(total: int) -> list[range]:
    """Stretches of as equal length as whole numbers allow."""
    count = min(total, max(FEWEST, math.ceil(total / LONG)))
    return [range(i * total // count, (i + 1) * total // count) for i in range(count)]


def _worth(scores: torch.Tensor, total: int) -> float:
    """An upper bound of what a stretch is worth, by Bernstein's inequality."""
    count, variance = len(scores), max(float(scores.var(correction=0)), 1e-6)
    log = math.log(total)
    return float(scores.mean()) + math.sqrt(2 * log * variance / count) + 3 * log / count
