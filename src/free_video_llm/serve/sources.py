"""Where the videos of requests come from, and what may not be read.

A request may carry its video, name a bundled sample, an address at a host that the owner allows, or
a file below a folder that the owner allows; nothing else.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from free_video_llm import samples
from free_video_llm.errors import VideoError
from free_video_llm.serve.refusals import Refusal
from free_video_llm.serve.settings import Bounds, Reach
from free_video_llm.video.fetch import Fetched, fetch
from free_video_llm.video.http_get import FetchLimits, short

_PIECE = 1 << 20
#: Endings of pictures by PIL's names of their formats.
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp",
            "TIFF": ".tiff", "AVIF": ".avif", "GIF": ".gif"}  # fmt: skip


@dataclass(frozen=True)
class Located:
    """A video that can be read.

    Attributes:
        path: of its file or folder.
        key: the same for the same content.
        name: for people.
        held: keeps what was fetched for as long as it is needed.
    """

    path: str
    key: str
    name: str
    held: Any = None


class Sources:
    """Finds the videos of requests. May be used from several threads."""

    def __init__(self, reach: Reach, bounds: Bounds) -> None:
        self._reach, self._folders = reach, tuple(f.resolve() for f in reach.folders)
        self._limits = FetchLimits(
            most_bytes=bounds.video_bytes,
            seconds=bounds.fetch_seconds,
            idle=bounds.stall_seconds,
            allow_private=reach.private,
            may_visit=self._may_visit,
        )

    def locate(self, addresses: Sequence[str], *, pictures: bool) -> Located:
        """One video, or pictures as one; nothing where there are no addresses. Raises Refusal or
        VideoError."""
        if not addresses:
            return Located("", "words", "no video")
        if len(addresses) == 1:
            found = self._find(addresses[0])
            return _with_ending(found) if pictures and found.held else found
        folder = tempfile.TemporaryDirectory(prefix="fvl-")
        digest = hashlib.sha256()
        left = self._limits.most_bytes
        for number, address in enumerate(addresses):
            found = self._find(address)
            if not os.path.isfile(found.path):
                raise Refusal(400, f"{found.name}: a picture is a file, not a folder")
            found = _with_ending(found) if found.held else found
            suffix = Path(found.path).suffix
            if suffix == ".gif":
                raise Refusal(400, f"{found.name}: an animation is a video: send it alone")
            left -= os.path.getsize(found.path)
            if left < 0:
                raise Refusal(413, "the pictures are larger than a video may be: send fewer")
            place = Path(folder.name) / f"{number:04d}{suffix}"
            if found.held:
                os.replace(found.path, place)
            else:
                os.symlink(found.path, place)
            digest.update(found.key.encode())
        return Located(folder.name, digest.hexdigest(), f"{len(addresses)} pictures", folder)

    def _find(self, address: str) -> Located:
        scheme = address.split(":", 1)[0].lower() if ":" in address else ""
        if address.startswith(samples.PREFIX):
            path = samples.find(address)
            return Located(path, address, address)
        if scheme == "data":
            return self._sent(address)
        if scheme in ("http", "https"):
            return self._fetched(address)
        if scheme == "file":
            return self._local(_path_of(address))
        if scheme and "/" not in scheme and "\\" not in scheme and len(scheme) > 1:
            raise Refusal(
                400,
                f"{short(address)!r}: a video is sent as a data: address, or named by https://, "
                "file:// or sample:",
            )
        return self._local(address)

    def _sent(self, address: str) -> Located:
        head = address[5:].partition(",")[0]
        kind = head.split(";", 1)[0].strip().lower()
        if kind and not kind.startswith(("video/", "image/", "application/octet-stream")):
            raise Refusal(400, f"data: of the kind {short(kind)!r} is neither video nor picture")
        found = fetch(address, limits=self._limits)
        return Located(found.path, _digest(found.path), "the video that was sent", found)

    def _fetched(self, address: str) -> Located:
        try:
            parts = urllib.parse.urlsplit(address)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host:
            raise Refusal(400, f"{short(address)!r} is no web address")
        if parts.username is not None or parts.password is not None:
            raise Refusal(400, "an address has no user and no password here")
        if not self._may_visit(parts.netloc):
            raise Refusal(
                403,
                f"videos are not fetched from {short(host)!r}: the server's owner allows hosts by "
                "--fetch-from; send the video as a data: address",
                code="host_not_allowed",
            )
        found: Fetched = fetch(address, limits=self._limits)
        return Located(found.path, _digest(found.path), short(address), found)

    def _may_visit(self, netloc: str) -> bool:
        name = netloc.rpartition("@")[2].lower()
        host = name.rsplit(":", 1)[0] if name.rsplit(":", 1)[-1].isdigit() else name
        allowed = self._reach.hosts
        return "*" in allowed or name in allowed or host.rstrip(".") in allowed

    def _local(self, name: str) -> Located:
        """A file or a folder of pictures below one of the owner's folders; what is elsewhere and
        what is not there are refused in the same words."""
        refusal = Refusal(
            403,
            f"{short(name)!r} is not below a folder that the server's owner allows (--folder), or "
            "not there",
            code="file_not_allowed",
        )
        if not self._folders or "\0" in name:
            raise refusal
        for folder in self._folders:
            try:
                true = (folder / name).resolve(strict=True)
            except (OSError, ValueError, RuntimeError):
                continue
            if true.is_relative_to(folder) and (true.is_file() or true.is_dir()):
                _check_inside(true, folder)
                return Located(str(true), _stamp(true), short(name))
        raise refusal


def _with_ending(found: Located) -> Located:
    """A picture that was sent or fetched, its file named for its content: by endings pictures are
    told from videos."""
    try:
        with Image.open(found.path) as image:
            ending = _ENDINGS.get(str(image.format))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        ending = None
    if ending is None:
        raise Refusal(400, f"{found.name}: it is no picture that can be read: send JPEG or PNG")
    if Path(found.path).suffix != ending:
        named = found.path + ending
        os.rename(found.path, named)
        return replace(found, path=named)
    return found


def _check_inside(path: Path, folder: Path) -> None:
    """Refuse a folder of pictures in which a link leads out."""
    if path.is_dir():
        for inner in path.iterdir():
            if not inner.resolve().is_relative_to(folder):
                raise Refusal(403, f"{short(path.name)!r} holds links that lead elsewhere")


def _path_of(address: str) -> str:
    """The path of a file: address of this machine."""
    parts = urllib.parse.urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise Refusal(400, "a file:// address names no other machine: file:///path")
    return urllib.parse.unquote(parts.path)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise VideoError(f"the video cannot be kept here: {error.strerror}") from error
    return digest.hexdigest()


def _stamp(path: Path) -> str:
    """What changes when a file does, or a file of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    about = [(str(f), s.st_size, s.st_mtime_ns, s.st_ino) for f in files for s in (f.stat(),)]
    return hashlib.sha256(repr(about).encode()).hexdigest()
