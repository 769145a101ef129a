"""Brings a video from elsewhere into a file of its own: bytes, an open file, a `data:` or `http(s)://`
address, anything that fsspec opens (`s3://`, `gs://`, `hf://`, …), a page that yt-dlp reads.

The file is bounded in size and time, and goes when nobody holds it any more. An address may name a
machine of one's own network; one that it leads on to may not, unless that is allowed.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from free_video_llm import samples
from free_video_llm.errors import ConfigError, VideoError, shown
from free_video_llm.video.http_get import FetchLimits, open_web, reason, short

#: Called with the bytes that are there, and how many there will be (0: not known).
Progress = Callable[[int, int], None]

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?://|(?=.*,))", re.DOTALL)
_PIECE = 1 << 18
_PAGES = re.compile(r"(?:[\w-]+\.)*(?:youtube\.com|youtu\.be|vimeo\.com)", re.IGNORECASE)


class Fetched:
    """A file that was fetched, and goes with this object.

    Attributes:
        path: of the file.
        name: what it is called for people.
    """

    def __init__(self, name: str, suffix: str = "") -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="fvl-")
        plain = re.sub(r"[^\w.-]+", "_", name.rsplit("/", 1)[-1])[-60:] or "video"
        stem = plain if Path(plain).suffix else plain + suffix
        self.path = str(Path(self._folder.name) / stem)


def is_address(source: str) -> bool:
    """Whether a source is an address to fetch, not a path.

    Examples:
        >>> [is_address(s) for s in ("https://a/b.mp4", "data:video/mp4;base64,AA", "C:/a.mp4")]
        [True, True, False]
    """
    found = _ADDRESS.match(source)
    return (
        found is not None
        and found["scheme"].lower() not in ("file", "sample")
        and not os.path.exists(source)
    )


def locate(source: object, *, progress: Progress | None = None) -> tuple[str, Fetched | None]:
    """The path of a source that is a file, a folder or a sample, or is fetched; and what was.

    Raises:
        VideoError: it cannot be had.
        ConfigError: it is nothing that a video could come from.
    """
    if isinstance(source, str | Path):
        path = samples.find(source)
        if not is_address(path):
            return path, None
        fetched = fetch(path, progress=progress)
    elif isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        fetched = fetch(source, progress=progress)  # type: ignore[arg-type]
    else:
        raise ConfigError(
            "a video is a path, an address, bytes, an open file, pictures, a Clip or Frames, not "
            f"{shown(source)}"
        )
    return fetched.path, fetched


def fetch(
    source: str | bytes | BinaryIO,
    *,
    limits: FetchLimits | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """A video from bytes, an open file or an address, as a file.

    Raises:
        VideoError: it cannot be had, or is more than the limits allow.
    """
    limits = limits or FetchLimits()
    if isinstance(source, bytes | bytearray | memoryview):
        return _copied(io.BytesIO(source), "bytes", limits, progress, len(source))
    if not isinstance(source, str):
        name = getattr(source, "name", None)
        return _copied(source, name if isinstance(name, str) else "file", limits, progress, 0)
    scheme = source.split(":", 1)[0].lower()
    if scheme == "data":
        return _copied(io.BytesIO(_data(source)), "data", limits, progress, 0)
    if scheme in ("http", "https"):
        host = urllib.parse.urlsplit(source).hostname or ""
        if _PAGES.fullmatch(host):
            return _from_page(source, limits)
        with open_web(source, limits) as (response, total):
            return _copied(response, source, limits, progress, total)
    return _by_fsspec(source, scheme, limits, progress)


# --- copying, bounded ---------------------------------------------------------------------------


def _copied(
    file: BinaryIO, name: str, limits: FetchLimits, progress: Progress | None, total: int
) -> Fetched:
    fetched = Fetched(name)
    label = short(name)
    done, begin = 0, time.monotonic()
    read = getattr(file, "read1", file.read)  # what is there, not until a whole piece is
    try:
        with open(fetched.path, "wb") as out:
            while piece := read(_PIECE):
                if not isinstance(piece, bytes):
                    raise VideoError(f"{label}: it is opened as text; open it with mode 'rb'")
                done += len(piece)
                if done > limits.most_bytes:
                    raise VideoError(
                        f"{label}: it is larger than {limits.most_bytes / 1e9:g} GB; download a "
                        "smaller version and name the file"
                    )
                if time.monotonic() - begin > limits.seconds:
                    raise VideoError(
                        f"{label}: it was not there after {limits.seconds:g} s; download it first"
                    )
                out.write(piece)
                if progress is not None:
                    progress(done, total)
    except (OSError, ValueError, HTTPException) as error:
        raise VideoError(f"{label}: it cannot be read ({reason(error)}); try again") from error
    if not done:
        raise VideoError(f"{label}: it is empty (0 bytes); copy or download it again")
    if done < total:
        raise VideoError(
            f"{label}: it ended after {done:,} of {total:,} bytes; try again, or download it first"
        )
    return fetched


def _data(source: str) -> bytes:
    head, comma, rest = source.partition(",")
    if not comma:
        raise VideoError(
            "data: there is no comma after the media type; write data:video/mp4;base64,…"
        )
    try:
        if head.endswith(";base64"):
            return base64.b64decode(urllib.parse.unquote_to_bytes(rest), validate=True)
    except binascii.Error:
        raise VideoError("data: what follows is no base64; write data:video/mp4;base64,…") from None
    return urllib.parse.unquote_to_bytes(rest)


# --- others' readers --------------------------------------------------------------------------


def _by_fsspec(source: str, scheme: str, limits: FetchLimits, progress: Progress | None) -> Fetched:
    import fsspec

    label = short(source)
    if scheme not in fsspec.available_protocols() or scheme in ("memory", "local", "dir"):
        raise VideoError(
            f"{label}: addresses of this kind are not read; allowed are http, https, data, and "
            "what fsspec opens (s3, gs, hf, …); download the video first and name the file"
        )
    try:
        with fsspec.open(source, "rb") as file:
            return _copied(file, source, limits, progress, 0)
    except ImportError as error:
        raise VideoError(f"{label}: {error}") from None
    except VideoError:
        raise
    except Exception as error:  # each store has errors of its own
        raise VideoError(f"{label}: cannot be opened ({reason(error)})") from error


def _from_page(source: str, limits: FetchLimits) -> Fetched:
    if importlib.util.find_spec("yt_dlp") is None:
        raise VideoError(
            f"{short(source)}: a page of a video site is read by yt-dlp, which is not installed: "
            "pip install yt-dlp; or download the video and name the file"
        )
    fetched = Fetched("video", ".mp4")
    command = [
        sys.executable, "-m", "yt_dlp", "--quiet", "--no-playlist", "--no-progress",
        "--max-filesize", str(limits.most_bytes),
        "--format", "bv*[height<=720][ext=mp4]/b[ext=mp4]/b",
        "--output", fetched.path, "--", source,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        raise VideoError(
            f"{short(source)}: it was not there after {limits.seconds:g} s; download it first"
        ) from None
    if done.returncode or not os.path.exists(fetched.path):
        last = (done.stderr.strip().splitlines() or ["it wrote no file"])[-1]
        raise VideoError(f"{short(source)}: yt-dlp: {last[:200]}")
    return fetched
