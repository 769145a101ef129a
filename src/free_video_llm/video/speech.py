"""What is said in a video, written down by faster-whisper (extra `speech`); kept by content."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError, MissingExtraError, VideoError, first_line
from free_video_llm.settings import setting
from free_video_llm.video.subtitles import MOST_CHARACTERS, MOST_LINES, Line

#: How a user asks for it; a model's name or folder may follow after a colon.
PREFIX = "speech"
DEFAULT_MODEL = "small"


def is_speech(subtitles: str) -> bool:
    """Whether subtitles are to be written down.

    Examples:
        >>> [is_speech(text) for text in ("speech", "speech:large-v3", "speech.srt")]
        [True, True, False]
    """
    return subtitles == PREFIX or subtitles.startswith(f"{PREFIX}:")


def written_down(video: str, subtitles: str) -> tuple[Line, ...]:
    """The lines of a video's speech; none where nothing is said.

    Args:
        subtitles: "speech", or "speech:MODEL".

    Raises:
        MissingExtraError: faster-whisper is not installed.
        ConfigError: there is no such model.
        VideoError: the video has no sound that can be read.
    """
    name = subtitles.partition(":")[2] or DEFAULT_MODEL
    if not os.path.isfile(video):
        raise VideoError(
            f"{video}: only a video file has speech; name its subtitles, or leave them"
        )
    kept = _kept(video, name)
    if kept.is_file():
        try:
            return tuple(Line(*entry) for entry in json.loads(kept.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            kept.unlink(missing_ok=True)
    lines = _listen(video, name)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
        part.write_text(json.dumps([[x.start, x.end, x.text] for x in lines]), encoding="utf-8")
        part.replace(kept)
    except OSError:  # without room for it, it is written down again next time
        pass
    return lines


def _listen(video: str, name: str) -> tuple[Line, ...]:
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise MissingExtraError(
            "speech is written down by faster-whisper: pip install 'free-video-llm[speech]', or "
            "name a file of subtitles"
        ) from None
    try:
        model: Any = WhisperModel(name, device="auto", compute_type="default")
    except Exception as error:  # of several libraries
        raise ConfigError(
            f"the speech model {name!r} cannot be loaded: {first_line(error)}"
        ) from None
    try:
        segments, _ = model.transcribe(video, vad_filter=True)
        return tuple(
            Line(max(0.0, float(s.start)), max(0.0, float(s.end)), text)
            for s, _ in zip(segments, range(MOST_LINES))
            if (text := " ".join(str(s.text).split())[:MOST_CHARACTERS])
        )
    except Exception as error:  # of FFmpeg, or of a file without sound
        raise VideoError(f"{video}: its speech cannot be read ({first_line(error)})") from None


def _kept(video: str, name: str) -> Path:
    """Where what was written down of a file of this content lies."""
    digest = hashlib.blake2b(f"{name}\0".encode(), digest_size=20)
    with open(video, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    base = setting("cache").value or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "free_video_llm_speech" / f"{digest.hexdigest()}.json"
