"""Offline metrics of one answer: exact match, containment, token F1, the letter of a choice.

Pure functions of texts. Whether an answer means the same is for a judge (`judge.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from free_video_llm.evaluation.normalise import normalise

#: What a model may put before a letter: a bracket, or the prompt's own words.
_LETTER = re.compile(
    r"\s*(?:(?:the\s+)?(?:best\s+|correct\s+)?(?:option|answer)\s*(?:is)?\s*:?\s*)?"
    r"\(?\s*([A-Z])\s*(?:[).:,\n]|$|\s+(?=[^a-z]))",
    re.IGNORECASE,
)


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


def read_letter(prediction: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, None where it cannot be told.

    A letter at the beginning counts ("B", "(B)", "B) a dog", "Answer: B."); otherwise the whole
    answer must be one option's text, or begin with it, after `normalise`.

    Examples:
        >>> read_letter("B) the dog", ["a cat", "a dog"])
        'B'
        >>> read_letter("a dog", ["a cat", "a dog"])
        'B'
        >>> read_letter("a dog, I think", ["a cat", "a bird"]) is None
        True
    """
    prediction = prediction[:2000]
    given = normalise(prediction)
    texts = [normalise(option) for option in options]
    same = [i for i, text in enumerate(texts) if text and text == given]
    if len(same) == 1:
        return _letter_of(same[0])
    match = _LETTER.match(prediction)
    if match:
        letter = match[1].upper()
        return letter if ord(letter) - ord("A") < len(options) else None
    begun = [i for i, text in enumerate(texts) if text and given[: len(text)] == text]
    return _letter_of(begun[0]) if len(begun) == 1 else None


def _letter_of(index: int) -> str:
    return chr(ord("A") + index)
