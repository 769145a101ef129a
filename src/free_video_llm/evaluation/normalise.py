"""Brings an answer to a form in which the same answer in other words' clothes is equal.

The steps, in order (docs/evaluation.md): Unicode NFKC and lower case; contractions' apostrophes
and all punctuation become spaces (a point or comma inside a number stays out of the way); articles
go; number words become digits; every word becomes its lemma (simplemma) and then its stem
(Snowball, English), so that "sits", "sat" and "sitting" are one word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

_ARTICLES = frozenset(("a", "an", "the"))
_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_VALUES = _ONES | _TENS
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
#: Plurals that the lemmatiser leaves as they are.
_IRREGULAR = {"men": "man"}

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_NOT_WORD = re.compile(r"[^\w\x00]+|_")
#: What of an answer is looked at; longer ones are none.
MOST_CHARACTERS = 10_000


def normalise(text: str) -> tuple[str, ...]:
    """The words of an answer in their normal form.

    Examples:
        >>> normalise("The Dogs are sitting!") == normalise("a dog is sitting")
        True
        >>> normalise("twenty-one men")
        ('21', 'man')
    """
    text = unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]).lower()
    text = text.replace("\x00", " ").replace("’", "'").replace("'", "")
    text = _POINT.sub("\x00", _THOUSANDS.sub("", text))
    words = [word.replace("\x00", ".") for word in _NOT_WORD.sub(" ", text).split()]
    kept = [word for word in words if word not in _ARTICLES]
    return tuple(_root(word) for word in _numbers(kept))


def _numbers(words: list[str]) -> list[str]:
    """Number words as digits: "two hundred and five" becomes "205"."""
    result: list[str] = []
    i = 0
    while i < len(words):
        value, used = _number_at(words, i)
        if used:
            result.append(str(value))
            i += used
        else:
            result.append(words[i])
            i += 1
    return result


def _number_at(words: list[str], start: int) -> tuple[int, int]:
    """The value of the number words from `start`, and how many they are (0: none)."""
    total = current = 0
    i = start
    last = 0  # what may still follow: ones after tens, nothing after ones
    while i < len(words):
        word = words[i]
        if word in _VALUES:
            value = _VALUES[word]
            if i > start and not (last == 0 or (last == 10 and 1 <= value <= 9)):
                break
            current += value
            last = 10 if value >= 20 else 1
        elif word in _SCALES and i > start and current > 0 and last != 2:
            scale = _SCALES[word]
            if scale == 100:
                current *= scale
            else:
                total, current = total + current * scale, 0
            last = 0
        elif word == "and" and i > start and words[i - 1] in _SCALES:
            following = words[i + 1] if i + 1 < len(words) else ""
            if following not in _VALUES:
                break
        else:
            break
        i += 1
    return total + current, i - start


@lru_cache(maxsize=100_000)
def _root(word: str) -> str:
    if not word.isalpha() or not word.isascii():
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    import simplemma

    lemma = simplemma.lemmatize(word, lang="en").lower()
    return str(_stemmer().stemWord(lemma))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
