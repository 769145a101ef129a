"""What several selectors need: scores of the frames that are free, and a full count."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def free_frames(total: int, exclude: Collection[int]) -> list[int]:
    """The frames that may be chosen, in time order."""
    return [frame for frame in range(total) if frame not in exclude]


def among(values: torch.Tensor, frames: list[int]) -> torch.Tensor:
    """The values [T,…] of some frames in time order. All are not picked one by one: for an hour's
    candidates that takes longer than to choose among them."""
    return values if len(frames) == len(values) else values[frames]


def in_unit_range(scores: torch.Tensor) -> torch.Tensor:
    """Scores from their least, 0, to their greatest, 1; all 0 where they are equal."""
    spread = scores.max() - scores.min()
    return scores * 0 if spread <= 0 else (scores - scores.min()) / spread


def filled(chosen: Iterable[int], scores: torch.Tensor, count: int) -> list[int]:
    """`count` places of `scores`, those chosen and then the best of the rest, in ascending order;
    of equal ones the earlier. Fewer where there are no more."""
    kept = list(dict.fromkeys(chosen))[:count]
    if len(kept) == count:
        return sorted(kept)
    taken = set(kept)
    order = scores.sort(descending=True, stable=True).indices.tolist()
    rest = [place for place in order if place not in taken]
    return sorted(kept + rest[: count - len(kept)])
