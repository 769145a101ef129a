"""A question about a video as people write it down, alone or in a file of many.

A CSV or JSONL file has the columns `video` and `question`, and where wanted `options` (a JSON list,
or texts with | between them, or columns option_1, option_2, …), `start` and `end` (seconds, or
1:02:03), and `answer`, the right one. A text file has a question on each line. Other columns are
left alone.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError, shown
from free_video_llm.llm.prompts import check_options
from free_video_llm.samples import PREFIX
from free_video_llm.video.fetch import is_address
from free_video_llm.video.ranges import TimeRange, check_ranges
from free_video_llm.video.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, listing

#: A file of questions is text of some megabytes.
MOST_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """A question about a video.

    Attributes:
        video: path, address or sample, as given.
        options: of a multiple-choice question, or none.
        ranges: stretches that are looked at, in seconds; none is the whole video.
        expected: the right answer, where it is known.
    """

    video: str
    question: str
    options: tuple[str, ...] = ()
    ranges: tuple[TimeRange, ...] = ()
    expected: str | None = None


# --- from the command's words --------------------------------------------------------------------


def split_words(words: Sequence[str], questions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of a command's words are videos, and which questions.

    With `questions` given apart, all are videos. Otherwise those from the first on that are a file,
    a folder, an address, a sample, a pattern that finds something, or end as a video does.

    Raises:
        ConfigError: there is no question, or a video stands behind one.
    """
    if questions:
        return list(words), list(questions)
    count = 1
    while count < len(words) and looks_like_video(words[count]):
        count += 1
    videos, asked = list(words[:count]), list(words[count:])
    if not asked:
        if len(videos) > 1:
            last = f"{videos[-1]!r} is a file, not a question"
        else:
            last = "a question is missing"
        raise ConfigError(f"{last}: give videos, then questions, or -q QUESTION")
    for question in asked:
        if question == "-" or (question.startswith("@") and os.path.exists(question[1:])):
            raise ConfigError(
                f"a question is a text: {question!r} is not read as one; --questions reads a file, "
                "or - for standard input"
            )
        if os.path.exists(question):
            raise ConfigError(
                f"{question!r} is a file, not a question: videos come first, then questions (or "
                "each question with -q)"
            )
    return videos, asked


def looks_like_video(word: str) -> bool:
    """Whether a word of a command is a video rather than a question."""
    if word.startswith(PREFIX) or is_address(word) or os.path.exists(word):
        return True
    if " " not in word and Path(word).suffix.lower() in VIDEO_SUFFIXES:
        return True
    return bool(glob.has_magic(word) and glob.glob(word, recursive=True))


def expand(words: Sequence[str]) -> list[str]:
    """The videos that words name: of a folder of videos each one, of a pattern what it finds, each
    once. A folder of pictures is a video itself.

    Raises:
        VideoError: a folder cannot be listed.
        ConfigError: a pattern finds nothing.
    """
    found: dict[str, None] = {}
    for word in words:
        if not os.path.exists(word) and not is_address(word) and glob.has_magic(word):
            matches = sorted(glob.glob(word, recursive=True))
            if not matches:
                raise ConfigError(f"{word!r} finds no file")
        else:
            matches = [word]
        for match in matches:
            found.update(dict.fromkeys(_videos_in(match)))
    return list(found)


def _videos_in(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    names = listing(path)
    videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not videos or len(pictures) > len(videos):
        return [path]
    return [str(Path(path) / name) for name in videos]


# --- from a file ------------------------------------------------------------------------------


def read_inquiries(
    path: str | Path, *, videos: Sequence[str] = (), standard_input: str | None = None
) -> list[Inquiry]:
    """The questions of a .csv, .jsonl or text file; of `videos` each, where a row names none.

    Args:
        path: "-" for `standard_input`, whose form is told by its first character.
        videos: the command's.

    Raises:
        ConfigError: it cannot be read, or a row is wrong; names the row.
    """
    name = str(path)
    text = standard_input or "" if name == "-" else _text_of(Path(path))
    found: list[Inquiry] = []
    for number, row in _rows(name, text):
        try:
            found += _inquiries(row, videos)
        except ConfigError as error:
            where = "standard input" if name == "-" else name
            raise ConfigError(f"{where}: row {number}: {error}") from None
    if not found:
        raise ConfigError(f"{'standard input' if name == '-' else name} has no questions")
    return found


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than any file of questions")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from None


def _rows(name: str, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    suffix = Path(name).suffix.lower()
    if name == "-":
        begin = text.lstrip()[:1]
        head = text.lstrip().split("\n", 1)[0].lower()
        named = "," in head and "question" in head.split(",")
        suffix = ".jsonl" if begin == "{" else ".csv" if named else ".txt"
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            yield from enumerate(reader, start=2)
        except csv.Error as error:
            raise ConfigError(f"{name} is no CSV: {error}") from None
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if suffix != ".jsonl":
            yield number, {"question": line.strip()}
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name}: row {number} is no JSON: {error}") from None
        if not isinstance(row, Mapping):
            raise ConfigError(f"{name}: row {number} is no JSON object")
        yield number, row


def _inquiries(row: Mapping[str, Any], videos: Sequence[str]) -> list[Inquiry]:
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ConfigError(f"question is a text, not {shown(question)}")
    own = row.get("video")
    if own in (None, ""):
        if not videos:
            raise ConfigError("it names no video, and the command names none")
        names = list(videos)
    elif isinstance(own, str):
        names = [own]
    else:
        raise ConfigError(f"video is a text, not {shown(own)}")
    bounds = [None if row.get(key) in (None, "") else row[key] for key in ("start", "end")]
    ranges = check_ranges([(bounds[0], bounds[1])]) if any(b is not None for b in bounds) else ()
    expected = row.get("answer")
    return [
        Inquiry(
            video=name,
            question=question.strip(),
            options=check_options(_options(row)),
            ranges=ranges,
            expected=None if expected in (None, "") else str(expected),
        )
        for name in names
    ]


def _options(row: Mapping[str, Any]) -> list[Any]:
    options = row.get("options")
    if options in (None, ""):
        keys = [key for key in row if isinstance(key, str) and key.startswith("option_")]
        return [row[key] for key in keys if row[key] not in (None, "")]
    if isinstance(options, str):
        if options.lstrip().startswith("["):
            try:
                options = json.loads(options)
            except ValueError:
                raise ConfigError(f"options are a list of texts, not {shown(options)}") from None
        else:
            options = [option.strip() for option in options.split("|")]
    if not isinstance(options, list):
        raise ConfigError(f"options are a list of texts, not {shown(options)}")
    return options
