"""A gate: uniform frames where no frame stands out, diverse ones nearest to the question where some
do.

Questions about a whole clip are hurt by a choice of frames, which scores stretched to a full range
cannot tell (BOLT's weakness; DIG, arXiv 2512.04000, asks a language model). Here the scores say it
themselves: of frames that are all alike to the question none lies far above the middle one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import selector
from free_video_llm.plans.select import most_similar_diverse, spread_evenly
from free_video_llm.plans.selectors.ranking import among, free_frames

if TYPE_CHECKING:
    import torch

#: How many usual deviations the best frame lies above the middle one where a question is about a
#: moment: of normally spread scores of fifty frames it lies 2.2 above.
STANDS_OUT = 3.0
#: From a median deviation to the usual one of a normal spread.
_TO_DEVIATION = 1.4826


@selector("gate", caption="uniform, or nearest where some stand out", guided=True)
def gate(
    scores: torch.Tensor, vectors: torch.Tensor, count: int, *, exclude: Collection[int] = ()
) -> list[int]:
    """`spread_evenly` or `most_similar_diverse`, by the scores.

    Examples:
        >>> import torch
        >>> scores = torch.linspace(0.1, 0.12, 10)
        >>> gate(scores, torch.eye(10), 2)
        [0, 9]
        >>> scores[4] = 0.5
        >>> gate(scores, torch.eye(10), 2)
        [4, 9]
    """
    free = free_frames(len(scores), exclude)
    if free and stand_out(among(scores, free)):
        return most_similar_diverse(scores, vectors, count, exclude=exclude)
    return spread_evenly(len(scores), count, exclude=exclude)


def stand_out(scores: torch.Tensor) -> bool:
    """Whether the best frame lies far above the middle one, measured by the usual deviation."""
    some = scores.double()
    middle = some.median()
    deviation = (some - middle).abs().median() * _TO_DEVIATION
    return bool(some.max() - middle > STANDS_OUT * deviation + 1e-6)
