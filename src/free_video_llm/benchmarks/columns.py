"""From the columns of a row to a question: what a set of one's own is written in, and what the sets
of others have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from free_video_llm.benchmarks.base import Question, as_text
from free_video_llm.benchmarks.videos import without_suffix
from free_video_llm.errors import ConfigError, nearest, shown
from free_video_llm.video.ranges import TimeRange, check_ranges

#: A label before an option, as in "A. a cat", "(B) a dog", "C) a cow", "D: a hen".
_LABEL = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])\s+")
#: Options within a question, each on a line of its own.
_LINE = re.compile(r"(?:\A|\n)\s*(?=(?:\([A-Z]\)|[A-Z][.):])\s)")


def column(row: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these columns that the row has.

    Raises:
        ConfigError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return row[name]
    there = [key for key in row if isinstance(key, str) and not key.startswith("__")]
    guess = nearest(names[0], there)
    hint = f" (is it {guess!r}?)" if guess else ""
    raise ConfigError(f"there is no column {' or '.join(names)}{hint}; it has: {', '.join(there)}")


def options_of(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """The options of a row without their labels: of a column that is a list, or a text with | or a
    JSON list in it; or of columns option_1, option_2, … or a0, a1, …; none is ()."""
    given: Any = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if isinstance(given, str):
        text = given.strip()
        try:
            given = json.loads(text) if text.startswith("[") else text.split("|")
        except ValueError:
            raise ConfigError(f"options are a list of texts, not {shown(text)}") from None
    if given is None:
        keys = [k for k in row if isinstance(k, str) and re.fullmatch(r"(?:option_?|a)\d+", k)]
        given = [row[key] for key in keys if row[key] not in (None, "", "N/A")]
    if not isinstance(given, Sequence):
        raise ConfigError(f"options are a list of texts, not {shown(given)}")
    return without_labels([as_text(option).strip() for option in given])


def without_labels(options: Sequence[str]) -> tuple[str, ...]:
    """Options without "A.", "B." before them, where all have theirs in order.

    Examples:
        >>> without_labels(["A. one", "B. two"]), without_labels(["A. Smith", "nobody"])
        (('one', 'two'), ('A. Smith', 'nobody'))
    """
    found = [_LABEL.match(option) for option in options]
    letters = [match and (match[1] or match[2]) for match in found]
    if letters != [chr(ord("A") + place) for place in range(len(options))]:
        return tuple(options)
    return tuple(
        option[match.end() :].strip()
        for option, match in zip(options, found, strict=True)
        if match is not None
    )


def split_question(text: str) -> tuple[str, tuple[str, ...]]:
    """A question with its options on lines of their own, apart.

    Examples:
        >>> split_question("Which?\\n(A) one\\n(B) two")
        ('Which?', ('one', 'two'))
    """
    question, *lines = _LINE.split(text.strip())
    options = without_labels([line.strip() for line in lines])
    if len(options) < 2 or list(options) == [line.strip() for line in lines]:
        return text.strip(), ()
    return question.strip(), options


def answer_of(given: Any, options: Sequence[str]) -> str:
    """The right answer's text: of options as their text, with or without its label, as their
    letter, or as their number from 0.

    Examples:
        >>> options = ("one", "two")
        >>> [answer_of(given, options) for given in ("two", "B", "(B)", "B. two", 1, "1")]
        ['two', 'two', 'two', 'two', 'two', 'two']
    """
    text = as_text(given).strip()
    if not options or text in options:
        return text
    letter = re.fullmatch(r"\(?([A-Z])\)?[.):]?(?:\s+(.*))?", text, re.DOTALL)
    if letter is not None:
        place = ord(letter[1]) - ord("A")
        if place < len(options) and letter[2] in (None, "", options[place]):
            return options[place]
    if text.isdecimal() and int(text) < len(options):
        return options[int(text)]
    return text


def ranges_of(row: Mapping[str, Any]) -> tuple[TimeRange, ...]:
    """The stretch that a row's `start` and `end` name, in seconds or as 1:02:03; none is ()."""
    bounds = [None if row.get(key) in (None, "") else row[key] for key in ("start", "end")]
    return check_ranges([(bounds[0], bounds[1])]) if any(b is not None for b in bounds) else ()


def plain_question(number: int, row: Mapping[str, Any]) -> Question:
    """A row of a set of one's own: `video`, `question`, `answer`, and where wanted `options`,
    `start`, `end`, `type`, `id`, `subtitles`.

    Raises:
        ConfigError: a column is missing or wrong.
    """
    options = options_of(row, "options", "candidates", "choices")
    return Question(
        row=number,
        video=without_suffix(as_text(column(row, "video", "video_name", "video_id")).strip()),
        question=as_text(column(row, "question")).strip(),
        answer=answer_of(column(row, "answer"), options),
        options=options,
        kind=as_text(row.get("type") or row.get("question_type")),
        question_id=as_text(row.get("id") or row.get("question_id")),
        ranges=ranges_of(row),
        subtitles=as_text(row.get("subtitles")),
    )
