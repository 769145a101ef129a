"""The words of a video: a subtitle track within it, or a .srt or .vtt file beside it, by FFmpeg."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error

from free_video_llm.errors import VideoError
from free_video_llm.video.source import check_readable, refuse

#: Files that are looked for beside a video, by ending.
SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
#: Of one line; a longer one is no subtitle.
MOST_CHARACTERS = 500
#: Lines that are read of a video at most: some hours of talk.
MOST_LINES = 20_000

_MARKS = re.compile(r"\{[^}]*\}|<[^>]*>")


@dataclass(frozen=True)
class Line:
    """What is said, from second to second."""

    start: float
    end: float
    text: str


def find_subtitles(video: str) -> str:
    """The file of a video's subtitles: the one beside it with its name (also with a language, as in
    film.en.srt), else the video itself, if it has a track of text.

    Raises:
        VideoError: there are none.
    """
    path = Path(video)
    names = sorted(os.listdir(path.parent)) if path.parent.is_dir() and not path.is_dir() else []
    exact = [f"{path.stem}{suffix}" for suffix in SUFFIXES]
    lettered = re.compile(re.escape(path.stem) + r"\.[A-Za-z-]{2,10}\.(?:srt|vtt|ass|ssa)")
    beside = [*(name for name in exact if name in names), *filter(lettered.fullmatch, names)]
    if beside:
        return str(path.parent / beside[0])
    if not names or not _has_track(video):
        refuse(video, "it has no subtitles", "name a .srt or .vtt file, or leave subtitles out")
    return video


def _has_track(video: str) -> bool:
    try:
        with av.open(video) as container:
            return any(s.codec_context.name in _TEXT for s in container.streams.subtitles)
    except (av.error.FFmpegError, OSError):
        return False


#: Codecs of text; the others are pictures of it.
_TEXT = frozenset(("srt", "subrip", "webvtt", "mov_text", "ass", "ssa", "text"))


def read_subtitles(path: str) -> tuple[Line, ...]:
    """The lines of a subtitle file, or of a video's first track of text, in time order.

    Raises:
        VideoError: it cannot be read, or has no text.
    """
    check_readable(path)
    try:
        with av.open(path) as container:
            lines = sorted(_lines(container), key=lambda line: (line.start, line.end))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{path}: its subtitles cannot be read ({str(error).splitlines()[0]}); convert them to "
            ".srt"
        ) from error
    if not lines:
        refuse(path, "it has no subtitles of text", "name a .srt or .vtt file")
    return tuple(lines)


def _lines(container: Any) -> Iterator[Line]:
    streams = [s for s in container.streams.subtitles if s.codec_context.name in _TEXT]
    if not streams:
        return
    count = 0
    for packet in container.demux(streams[0]):
        if packet.pts is None or count >= MOST_LINES:
            continue
        start = float(packet.pts * packet.time_base)
        lasts = float((packet.duration or 0) * packet.time_base)
        text = " ".join(filter(None, map(_plain, _rects(packet))))[:MOST_CHARACTERS]
        if text:
            count += 1
            yield Line(max(0.0, start), max(0.0, start + lasts), text)


def _rects(packet: Any) -> Iterator[Any]:
    for found in packet.decode():
        if hasattr(found, "dialogue"):
            yield found
        else:  # older PyAV gives sets of them
            yield from found


def _plain(rect: Any) -> str:
    """The text of a line, without its marks."""
    raw = getattr(rect, "dialogue", b"") or getattr(rect, "text", b"") or b""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return " ".join(_MARKS.sub("", text.replace(r"\N", " ").replace(r"\h", " ")).split())


def lines_near(
    lines: Sequence[Line], seconds: Sequence[float], *, most_characters: int
) -> list[Line]:
    """What is said when some frames are shown: the nearest lines, as far as there is room, in time
    order.

    A line that is said while a frame is shown is 0 s away.

    Examples:
        >>> lines = [Line(0, 2, "one"), Line(5, 6, "two"), Line(90, 91, "three")]
        >>> [line.text for line in lines_near(lines, [5.5], most_characters=6)]
        ['one', 'two']
    """

    def away(line: Line) -> float:
        return min((max(line.start - s, s - line.end, 0.0) for s in seconds), default=0.0)

    chosen, room = [], most_characters
    for line in sorted(lines, key=lambda line: (away(line), line.start)):
        room -= len(line.text)
        if room < 0:
            break
        chosen.append(line)
    return sorted(chosen, key=lambda line: line.start)
