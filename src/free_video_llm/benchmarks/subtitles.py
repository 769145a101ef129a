"""The subtitles of a question's video: files of the usual forms, or LongVideoBench's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks.base import Question
from free_video_llm.errors import ConfigError, VideoError
from free_video_llm.video.ranges import parse_seconds
from free_video_llm.video.subtitles import SUFFIXES, Line, find_subtitles, read_subtitles

#: Of a line that does not say when it ends.
_UNKNOWN_SECONDS = 3.0


def find_lines(where: str | None, question: Question, video: Path) -> tuple[Line, ...] | None:
    """What is said in a question's video; None where nothing is known to be.

    Args:
        where: a folder of files with the video's name, or that the question names; or "auto",
            beside or within the video; None for none.

    Raises:
        VideoError: a file is there and cannot be read.
        ConfigError: there is no such folder.
    """
    if where is None:
        return None
    if where == "auto":
        try:
            return read_subtitles(find_subtitles(str(video)))
        except VideoError:
            return None
    folder = Path(where)
    if not folder.is_dir():
        raise ConfigError(f"no folder of subtitles {folder}: name it in the configuration")
    named = Path(question.subtitles).name  # never outside of the folder
    endings = (*SUFFIXES, ".json")
    names = [named, *(stem + end for stem in (named, Path(question.video).name) for end in endings)]
    for path in (folder / name for name in names if name):
        if path.is_file():
            lines = _json_lines(path) if path.suffix == ".json" else read_subtitles(str(path))
            return tuple(
                Line(max(0.0, line.start - question.subtitles_from), end, line.text)
                for line in lines
                if (end := line.end - question.subtitles_from) > 0
            )
    return None


def _json_lines(path: Path) -> tuple[Line, ...]:
    """A list of {"start", "end", "line"} with times as texts, or {"timestamp": [start, end],
    "text"}, whose last end may be missing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        return tuple(map(_json_line, data))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise VideoError(f"{path}: its subtitles cannot be read: {error!r}"[:200]) from None


def _json_line(entry: Mapping[str, Any]) -> Line:
    if "timestamp" in entry:
        start, end = entry["timestamp"]
        end = float(start) + _UNKNOWN_SECONDS if end is None else float(end)
        return Line(float(start), end, str(entry["text"]))
    return Line(parse_seconds(entry["start"]), parse_seconds(entry["end"]), str(entry["line"]))
