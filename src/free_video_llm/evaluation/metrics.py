"""Offline metrics of one answer: exact match, containment, token F1, the letter of a choice.

Pure functions of texts. Whether an answer means the same is for a judge (`judge.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from free_video_llm.evaluation.letters import read_letter
from free_video_llm.evaluation.normalise import normalise

__all__ = ["Scores", "read_letter", "score_text"]


@dataclass(frozen=True)
class Scores:
    """How an open-ended answer compares with the correct one, after `normalise`."""

    exact: bool
    contains: bool
    f1: float


def score_text(prediction: str, answer: str) -> Scores:
    """Compare a predicted answer with the correct one.

    `contains`: the correct answer's words stand next to each other in the predicted one. An
    answer of which nothing is left after normalising ("the") is compared as it is written.

    Examples:
        >>> score_text("Men are sitting on a couch.", "couch")  # five words left, one is right
        Scores(exact=False, contains=True, f1=0.3333333333333333)
    """
    wanted = normalise(answer) or (answer.strip().lower(),)
    given = normalise(prediction) or (prediction.strip().lower(),)
    return Scores(given == wanted, _is_within(wanted, given), _f1(given, wanted))


def _is_within(part: Sequence[str], whole: Sequence[str]) -> bool:
    size = len(part)
    return any(whole[i : i + size] == part for i in range(len(whole) - size + 1))


def _f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted)) if common else 0.0
