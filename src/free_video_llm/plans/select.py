"""The selectors: pure functions from similarities and counts to frame indices.

Each is one entry of the registry. METHOD §1.5 and §1.8; what the released code does otherwise has a
function of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector

if TYPE_CHECKING:
    import torch

#: Two frames whose vectors are closer than this cosine show the same thing.
NEAR_DUPLICATE = 0.95
#: Frames down the ranking that are compared at once: few of an hour's come to be looked at.
AT_ONCE = 256


def most_similar(scores: torch.Tensor, count: int, *, exclude: Collection[int] = ()) -> list[int]:
    """The `count` frames of highest score, in time order (prompt-guided temporal sampling).

    `scores` is float [T]. Fewer where `exclude` leaves fewer.

    Examples:
        >>> import torch
        >>> most_similar(torch.tensor([0.1, 0.9, 0.3, 0.8]), 2)
        [1, 3]
    """
    ranked = _ranked(scores, exclude)
    return sorted(ranked[:count])


def most_similar_released(scores: torch.Tensor, count: int) -> list[int]:
    """The end of the ascending sort, as the released code takes it: of equal frames the later.

    A clip with fewer frames than were asked for repeats some, so equals occur.

    Examples:
        >>> import torch
        >>> most_similar_released(torch.tensor([0.9, 0.9, 0.3, 0.9]), 2)
        [1, 3]
    """
    return sorted(scores.sort().indices.tolist()[-count:])


def most_similar_diverse(
    scores: torch.Tensor,
    vectors: torch.Tensor,
    count: int,
    *,
    exclude: Collection[int] = (),
    limit: float = NEAR_DUPLICATE,
) -> list[int]:
    """The best frames of which no two look alike, in time order.

    Goes down the ranking and passes over frames whose cosine with a chosen one is above `limit`;
    where that leaves places, the best of those passed over fill them. `scores` [T], `vectors`
    [T,P] of unit length.
    """
    ranked = _ranked(scores, exclude)
    chosen: list[int] = []
    for start in range(0, len(ranked), AT_ONCE):
        part = ranked[start : start + AT_ONCE]
        rows = vectors[part]
        # Only to those that are chosen: an hour's frames have thirteen million closenesses.
        alike = (rows @ vectors[chosen].T > limit).any(dim=1).tolist()
        for place, frame in enumerate(part):
            if len(chosen) == count:
                return sorted(chosen)
            if not alike[place]:
                chosen.append(frame)
                near = (rows @ rows[place] > limit).tolist()
                alike = [one or other for one, other in zip(alike, near, strict=True)]
    rest = [frame for frame in ranked if frame not in chosen]
    return sorted(chosen + rest[: count - len(chosen)])


def _ranked(scores: torch.Tensor, exclude: Collection[int]) -> list[int]:
    order: list[int] = scores.sort(descending=True, stable=True).indices.tolist()
    return [frame for frame in order if frame not in exclude]


def spread_evenly(total: int, count: int, *, exclude: Collection[int] = ()) -> list[int]:
    """`count` of `total` frames, evenly spread, the first and the last among them.

    Frames in `exclude` are passed over. A single one is taken from the middle.

    Examples:
        >>> spread_evenly(50, 5)
        [0, 12, 24, 37, 49]
        >>> spread_evenly(50, 1)
        [24]
    """
    free = [frame for frame in range(total) if frame not in exclude]
    count = min(count, len(free))
    if count == 1:
        return [free[(len(free) - 1) // 2]]
    step = (len(free) - 1) / max(count - 1, 1)
    return [free[round(i * step)] for i in range(count)]


def spread_released(total: int, count: int) -> list[int]:
    """`int(linspace(0, T, m+1))[:m]`: the released code's uniform frames (METHOD §1.8).

    Begins with frame 0, never reaches the end, repeats frames of a clip shorter than `count`.
    """
    import torch

    return torch.linspace(0, total, count + 1).int().tolist()[:count]  # type: ignore[no-any-return]


# --- the entries ---------------------------------------------------------------------------------


@selector("all", caption="all of them", counted=False)
def _all(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    return [frame for frame in range(len(scores)) if frame not in exclude]


def _uniform_released(scores: torch.Tensor, vectors: torch.Tensor, count: int) -> list[int]:
    return spread_released(len(scores), count)


@selector("uniform", caption="evenly spread", released=_uniform_released)
def _uniform(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    return spread_evenly(len(scores), count, exclude=exclude)


def _prompt_released(scores: torch.Tensor, vectors: torch.Tensor, count: int) -> list[int]:
    return most_similar_released(scores, count)


@selector("prompt", caption="nearest to the question", guided=True, released=_prompt_released)
def _prompt(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    return most_similar(scores, count, exclude=exclude)


selector("prompt-diverse", caption="nearest to the question, no two alike", guided=True)(
    most_similar_diverse
)
