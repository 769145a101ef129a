"""How near what is said when a frame is shown is to a question: by the words that both have.

A score beside the pictures', for videos with subtitles. English words are compared by their stems,
words of other languages as they are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from free_video_llm.video.subtitles import Line
from free_video_llm.video.timeline import FloatArray

#: Seconds around a line in which a frame counts as shown while it is said, and in which the line
#: fades.
WHILE_SECONDS, FADING_SECONDS = 1.0, 1.0
#: Words that tell nothing of what a question is about.
_COMMON = frozenset(
    """a an and any are as at be been by can come could did do does for from had has have he her
    here him his how i in into is it its me my of on one or our say says said she so some tell that
    the their them then there they this to up us video was we were what when where which while who
    whom whose why will with would you your""".split()  # noqa: SIM905
)
_WORD = re.compile(r"\w+", re.UNICODE)


def word_scores(lines: Sequence[Line], question: str, seconds: FloatArray) -> FloatArray:
    """Scores [T] from 0 to 1 of frames at some seconds: 1 where all of the question's words that
    are said anywhere are said then, rare words counting more; all 0 where none is.

    A line's score is the share of the words' weights, log(1 + lines ÷ lines with the word); a frame
    has the best of the lines near it.

    Examples:
        >>> lines = [Line(0, 2, "We begin."), Line(50, 52, "Thanks to the farmers.")]
        >>> word_scores(lines, "Who thanks a farmer?", np.array([1.0, 51.0, 90.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    said = [_stems(line.text) for line in lines]
    asked = _stems(question)
    counts = Counter(word for words in said for word in words & asked)
    scores = np.zeros(len(seconds))
    if not counts:
        return scores
    weights = {word: math.log1p(len(lines) / count) for word, count in counts.items()}
    whole = sum(weights.values())
    for line, words in zip(lines, said, strict=True):
        share = sum(weights[word] for word in words if word in weights) / whole
        if share:
            away = np.maximum(np.maximum(line.start - seconds, seconds - line.end), 0.0)
            near = 1.0 - (away - WHILE_SECONDS) / FADING_SECONDS
            scores = np.maximum(scores, share * np.clip(near, 0.0, 1.0))
    return np.asarray(scores, np.float64)


def _stems(text: str) -> set[str]:
    words = {word for word in _WORD.findall(text.lower()) if word not in _COMMON}
    return {_stem(word) for word in words if len(word) > 1 or not word.isascii()}


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word)) if word.isascii() and word.isalpha() else word


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
