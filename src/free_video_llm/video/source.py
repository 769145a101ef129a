"""What kind of thing a source is, before it is opened: its name's ending, a regular file or not.

Endings of videos and pictures are said here and nowhere else. Opening is left to others.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from free_video_llm.errors import VideoError

#: Endings of videos; of several files that differ in them alone, the first of these is meant.
VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv",
    ".3gp", ".asf", ".ts", ".mts", ".m2ts", ".ogv",
)  # fmt: skip
IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".avif", ".apng"]
)
IMAGE_NAMES = " ".join(sorted(IMAGE_SUFFIXES))
#: Pixels of one frame or picture that are decoded at most: 8K video has 33 million.
MOST_PIXELS = 50_000_000

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
_KINDS = (
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISDIR, "is a folder"),
)
_LFS = b"version https://git-lfs.github.com/spec/"


def refuse(path: str, what: str, remedy: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the one-line VideoError for a file or folder."""
    raise VideoError(f"{path}: {what}; {remedy}") from cause


def check_readable(path: str) -> None:
    """Raise VideoError unless `path` is a regular file with something in it that may be read.

    Nothing that could block or never end is opened: pipes, sockets and devices are refused by
    their kind.
    """
    address = _ADDRESS.fullmatch(path)
    if address is not None and not os.path.exists(path):
        _refuse_address(address["scheme"].lower(), address["rest"])
    try:
        mode = os.stat(path).st_mode
        for is_kind, what in _KINDS:
            if is_kind(mode):
                refuse(path, f"{what}, not a regular file", "save it as a file and name that")
        with open(path, "rb") as file:
            start = file.read(len(_LFS))
    except FileNotFoundError as error:
        refuse(path, "there is no such file or folder", "check the path", error)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        refuse(path, f"cannot be read ({reason})", "check the path and its permissions", error)
    if not start:
        refuse(path, "the file is empty (0 bytes)", "copy or download it again")
    if start == _LFS:
        refuse(path, "is a Git LFS pointer, not the file itself", "fetch it with git lfs pull")


def _refuse_address(scheme: str, rest: str) -> NoReturn:
    if scheme == "file":
        path = "/" + rest.lstrip("/")
        refuse(f"file://{path}", "addresses are not read", f"name the file itself: {path}")
    whole = f"{scheme}://{rest}"
    refuse(whole, "addresses are not read", "download the video first and name the file")


def check_pixels(path: str, width: int, height: int) -> None:
    """Raise VideoError if a frame or picture of this size is more than is decoded."""
    if width * height > MOST_PIXELS:
        what = f"{width}×{height} pixels are more than the {MOST_PIXELS / 1e6:.0f} million allowed"
        refuse(path, what, "scale it down first")


def listing(folder: str) -> list[str]:
    """The names in a folder that are not hidden, in natural order (2 before 10).

    Raises VideoError if it cannot be listed.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError as error:
        refuse(folder, "there is no such file or folder", "check the path", error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        refuse(folder, f"cannot be read ({reason})", "check the path and its permissions", error)
    return sorted(names, key=natural_key)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people number them; names that differ in zeros only keep a fixed order.

    Examples:
        >>> sorted(["10.png", "9.png", "b", "1.png"], key=natural_key)
        ['1.png', '9.png', '10.png', 'b']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p], name


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, and not a hidden one (macOS leaves "._a.jpg")."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_still_container(path: str) -> bool:
    """Whether a file is a picture in ISO form (AVIF, HEIC), whatever its name: FFmpeg would read
    it as a video, without its turns and with one tile of its grid."""
    with open(path, "rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:12] in _STILL_BRANDS


_STILL_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx",
                           b"mif1", b"mif2", b"msf1"))  # fmt: skip
