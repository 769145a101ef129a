"""Reads what answers are known to rest on: annotations in the forms of CG-Bench, LV-Haystack and
NExT-GQA, and a plain table of one's own.

A record names its video and its question, by id or by text, and then one of:
- `moments`, `clue_intervals` (CG-Bench, arXiv 2412.12075), `intervals` or `segments`: pairs of
  seconds,
- `start` and `end`, in seconds,
- `frame_indexes_video`, `frame_indexes` or `frame_indices` (LV-Haystack, arXiv 2504.02259): numbers
  of frames, with `fps`;
and optionally `boxes`: lists of second, left, top, right, bottom, the last four as shares. NExT-GQA
(arXiv 2309.01327) has a JSON of its own: video → `location` → question id → pairs of seconds.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks.base import Question
from free_video_llm.benchmarks.videos import without_suffix
from free_video_llm.errors import ConfigError, shown
from free_video_llm.evaluation.evidence_score import Interval, Truth

_VIDEO = ("video", "video_id", "video_uid", "video_name", "vid")
_ID = ("question_id", "qid", "id")
_MOMENTS = ("moments", "clue_intervals", "intervals", "segments")
_FRAMES = ("frame_indexes_video", "frame_indexes", "frame_indices")
#: An annotation file is text of some megabytes.
MOST_BYTES = 500_000_000


class Truths:
    """The truth of some questions, found by video and question id, or by video and text."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Truth] = {}

    def __len__(self) -> int:
        return len({id(truth) for truth in self._found.values()})

    def add(self, video: str, names: list[str], truth: Truth) -> None:
        """Under each of a question's names; a second record of one name adds its moments."""
        for name in names:
            key = (without_suffix(video.strip()), name.strip())
            before = self._found.get(key)
            self._found[key] = (
                truth
                if before is None
                else Truth(before.moments + truth.moments, before.boxes + truth.boxes)
            )

    def of(self, question: Question) -> Truth | None:
        """A question's truth, None where there is none. Its id may stand alone, or after the
        video's name."""
        names = [question.question_id, question.question.strip()]
        names.append(question.question_id.removeprefix(f"{question.video}_"))
        for name in names:
            if name and (question.video, name) in self._found:
                return self._found[question.video, name]
        return None


def read_truth(path: str | Path) -> Truths:
    """Read an annotation file: .json, .jsonl or .csv.

    Raises:
        ConfigError: it cannot be read, or a record has no moment; names the record.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than any annotation file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    truths = Truths()
    for number, record in enumerate(_records(path, text), start=1):
        try:
            video, names = _text_of(record, _VIDEO), _names(record)
            if not video or not names:
                raise ValueError("it names no video, or no question by question_id or question")
            truths.add(video, names, _truth(record))
        except (ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"{path}: record {number}: {error}") from None
    if not len(truths):
        raise ConfigError(f"{path} has no records")
    return truths


def _records(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        yield from csv.DictReader(io.StringIO(text))
        return
    try:
        if suffix == ".jsonl":
            data: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}") from None
    if isinstance(data, Mapping):
        if not all(isinstance(value, Mapping) and "location" in value for value in data.values()):
            raise ConfigError(f"{path} is neither a list of records nor of NExT-GQA's form")
        for video, about in data.items():
            location = about["location"]
            if not isinstance(location, Mapping):
                raise ConfigError(f"{path}: location of {shown(video)} is no JSON object")
            for question_id, moments in location.items():
                yield {"video": video, "question_id": question_id, "moments": moments}
        return
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        raise ConfigError(f"{path} is neither a list of records nor of NExT-GQA's form")
    yield from data


def _text_of(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((record[name] for name in names if record.get(name) not in (None, "")), "")
    return str(found)


def _names(record: Mapping[str, Any]) -> list[str]:
    names = [_text_of(record, _ID), str(record.get("question") or "")]
    return [name for name in names if name]


def _truth(record: Mapping[str, Any]) -> Truth:
    boxes = []
    for row in _listed(record.get("boxes") or []):
        second, *box = (_number(value) for value in row)
        if len(box) != 4:
            raise ValueError("a box is second, left, top, right, bottom")
        boxes.append((second, (box[0], box[1], box[2], box[3])))
    moments = tuple(_moments(record))
    if not moments:
        raise ValueError(
            f"it has no moment: one of {', '.join(_MOMENTS)}, start and end, or "
            f"{_FRAMES[0]} with fps"
        )
    return Truth(moments, tuple(boxes))


def _moments(record: Mapping[str, Any]) -> Iterator[Interval]:
    for name in _MOMENTS:
        if record.get(name) not in (None, ""):
            for pair in _listed(record[name]):
                start, end = (_number(value) for value in pair)
                yield _interval(start, end)
            return
    if record.get("start") not in (None, ""):
        yield _interval(_number(record["start"]), _number(record.get("end")))
        return
    for name in _FRAMES:
        if record.get(name) not in (None, ""):
            fps = _number(record.get("fps"))
            if fps <= 0:
                raise ValueError(f"{name} needs fps, frames per second")
            for frame in _listed(record[name]):
                yield (_number(frame) / fps, _number(frame) / fps)
            return


def _interval(start: float, end: float) -> Interval:
    if end < start:
        raise ValueError(f"a moment ends before it begins: {start:g} to {end:g}")
    return start, end


def _listed(value: Any) -> list[Any]:
    """A list, or the text of one, as a cell of a CSV file holds it."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is no list")
    return list(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shown(value)} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{shown(value)} is no number")
    return number
