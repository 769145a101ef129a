"""Stretches of a video that alone are looked at, in seconds from its first frame."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from free_video_llm.errors import ConfigError, shown
from free_video_llm.video.timeline import FloatArray, IntArray

#: From when to when, the end exclusive; an end of infinity is the video's.
TimeRange = tuple[float, float]

_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,5}):(\d{1,2}(?:\.\d+)?)")
_FORM = "seconds, or a time such as 1:02:03.5"


def parse_seconds(text: str | float) -> float:
    """Seconds, from a number or a text such as "90", "1:30" or "1:02:03.5".

    Raises:
        ConfigError: it is neither, or below 0.

    Examples:
        >>> parse_seconds("1:02:03.5"), parse_seconds("1:30"), parse_seconds(7)
        (3723.5, 90.0, 7.0)
    """
    value = math.nan
    if isinstance(text, str):
        clock = _CLOCK.fullmatch(text.strip())
        if clock is not None:
            hours, minutes, seconds = clock.groups()
            value = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
        elif re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text.strip()):
            value = float(text)
    elif isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"a time is {_FORM}, not {shown(text)}")
    return value


def check_ranges(
    ranges: Sequence[tuple[float | str | None, float | str | None]] | None,
) -> tuple[TimeRange, ...]:
    """Ranges in seconds; none is the whole video. None stands for an end of the video, and what
    came from here may come again.

    Raises:
        ConfigError: one is not two times, or ends before it begins.

    Examples:
        >>> check_ranges([("1:00", 90), (None, 5)])
        ((60.0, 90.0), (0.0, 5.0))
        >>> check_ranges(check_ranges([(7, None)]))
        ((7.0, inf),)
    """
    found = []
    for pair in ranges or ():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ConfigError(f"a range is a start and an end, not {shown(pair)}")
        start = 0.0 if pair[0] is None else parse_seconds(pair[0])
        end = math.inf if pair[1] in (None, math.inf) else parse_seconds(pair[1])
        if end <= start:
            raise ConfigError(f"a range ends after it begins, not at {end:g} s from {start:g} s")
        found.append((start, end))
    return tuple(found)


def parse_range(text: str) -> tuple[str | None, str | None]:
    """A range as people write it: "1:00-1:30", "90-", "-5".

    Raises:
        ConfigError: there is no hyphen between two times.
    """
    start, hyphen, end = text.replace("–", "-").partition("-")
    if not hyphen or not (start.strip() or end.strip()):
        raise ConfigError(f"a range is two times with a hyphen, as in 1:00-1:30, not {shown(text)}")
    return start.strip() or None, end.strip() or None


def within(seconds: FloatArray, ranges: Sequence[TimeRange]) -> IntArray:
    """The positions of the frames that are shown in any of some ranges, ascending; all of none."""
    if not ranges:
        return np.arange(len(seconds))
    inside = np.zeros(len(seconds), bool)
    for start, end in ranges:
        inside |= (seconds >= start) & (seconds < end)
    return np.flatnonzero(inside)


def length(duration: float, ranges: Sequence[TimeRange]) -> float:
    """Seconds of a video of this duration that lie in any of some ranges; all of none.

    Examples:
        >>> length(10.0, [(2.0, 4.0), (3.0, 6.0), (9.0, 20.0)])
        5.0
    """
    if not ranges:
        return duration
    total, reached = 0.0, 0.0
    for start, end in sorted(ranges):
        start, end = max(start, reached), min(end, duration)
        total += max(0.0, end - start)
        reached = max(reached, end)
    return total


def words(ranges: Sequence[TimeRange]) -> str:
    """The ranges for people.

    Examples:
        >>> words([(1.0, 2.5), (60.0, float("inf"))])
        '1 to 2.5 s, 60 s to the end'
    """
    return ", ".join(
        f"{start:g} s to the end" if math.isinf(end) else f"{start:g} to {end:g} s"
        for start, end in ranges
    )
