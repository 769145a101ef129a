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
from free_video_llm.plans.selectors.ranking import among, filled, free_frames

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
    some = among(scores, free).double().cpu()
    arms = _arms(len(free))
    most = min(max(round(0.25 * len(arms)), 4), 32, len(arms), count)
    best_arms = _worth(some, arms).sort(descending=True, stable=True).indices[:most].tolist()
    best = math.ceil(BEST_SHARE * count)
    chosen = some.sort(descending=True, stable=True).indices[:best].tolist()
    taken = set(chosen)
    queues = [[f for f in _best_first(some, arms[arm]) if f not in taken] for arm in best_arms]
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return [free[place] for place in filled(chosen, some, count)]


def _arms(total: int) -> list[range]:
    """Stretches of as equal length as whole numbers allow."""
    count = min(total, max(FEWEST, math.ceil(total / LONG)))
    return [range(i * total // count, (i + 1) * total // count) for i in range(count)]


def _worth(scores: torch.Tensor, arms: list[range]) -> torch.Tensor:
    """Upper bounds of what stretches are worth, by Bernstein's inequality."""
    import torch

    lengths = torch.tensor([len(arm) for arm in arms])
    of_arm = torch.arange(len(arms)).repeat_interleave(lengths)
    means = torch.zeros(len(arms), dtype=scores.dtype).index_add(0, of_arm, scores) / lengths
    squares = (scores - means[of_arm]) ** 2
    variances = torch.zeros_like(means).index_add(0, of_arm, squares) / lengths
    log = math.log(len(scores))
    return means + (2 * log * variances.clamp_min(1e-6) / lengths).sqrt() + 3 * log / lengths


def _best_first(scores: torch.Tensor, arm: range) -> list[int]:
    """The places of a stretch, best first; of equal ones the earlier."""
    order = scores[arm.start : arm.stop].sort(descending=True, stable=True).indices
    return (order + arm.start).tolist()  # type: ignore[no-any-return]
