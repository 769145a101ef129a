"""Finds a question's video in a folder: any ending, with or without `v_`, and never outside of it.

Opens no video; what can be read is for `video/` to say.
"""

from __future__ import annotations

import os
import unicodedata
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from free_video_llm.errors import ConfigError, VideoError
from free_video_llm.video.source import VIDEO_SUFFIXES


def without_suffix(name: str) -> str:
    """A video's name without its ending. Names have dots: only known endings are taken off."""
    stem, suffix = os.path.splitext(name)
    return stem if stem and suffix.lower() in VIDEO_SUFFIXES else name


class VideoFolder:
    """The videos below a folder, looked through once.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise ConfigError(f"no folder of videos {self.root}: give it with --videos")
        self._real = self.root.resolve()

    def find(self, name: str) -> Path:
        """The file (or folder of pictures) of a video.

        Raises:
            VideoError: there is none, or the name leads out of the folder.
        """
        self._check_name(name)
        bare = _composed(without_suffix(name))
        other = bare[2:] if bare.startswith("v_") else f"v_{bare}"
        for candidate in (bare, other):
            found = self._by_name.get(candidate)
            if found is not None:
                self._check_inside(found, name)
                return found
        raise VideoError(f"no video {_short(name)!r} in {self.root}")

    def _check_name(self, name: str) -> None:
        parts = PurePosixPath(name).parts + PureWindowsPath(name).parts
        absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
        if not name or absolute or ".." in parts or any(ord(c) < 32 for c in name):
            raise VideoError(
                f"video name {_short(name)!r} is refused: it must be a name inside the folder"
            )

    def _check_inside(self, path: Path, name: str) -> None:
        if not self._is_inside(path):
            raise VideoError(f"video {_short(name)!r} is a link out of {self.root}: refused")
        if path.is_dir():
            try:
                pictures = list(path.iterdir())
            except OSError as error:
                raise VideoError(f"video {_short(name)!r}: {error.strerror or error}") from None
            if not all(self._is_inside(picture) for picture in pictures):
                raise VideoError(
                    f"video {_short(name)!r} has a picture that is a link out of {self.root}: "
                    "refused"
                )

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._real)

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Every video by its name and by its path below the folder, both without the ending."""
        found: dict[str, tuple[tuple[int, int, str], Path]] = {}
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            below = Path(folder).relative_to(self.root)
            depth = len(below.parts)
            for file in files:
                stem, suffix = os.path.splitext(file)
                if suffix.lower() not in VIDEO_SUFFIXES:
                    continue
                rank = (depth, VIDEO_SUFFIXES.index(suffix.lower()), file)
                self._note(found, stem, below, rank, Path(folder) / file)
            for name in folders:  # a folder of pictures is a video too, if no file has its name
                self._note(
                    found, name, below, (depth, len(VIDEO_SUFFIXES), name), Path(folder) / name
                )
        return {name: path for name, (_, path) in found.items()}

    @staticmethod
    def _note(
        found: dict[str, tuple[tuple[int, int, str], Path]],
        stem: str,
        below: Path,
        rank: tuple[int, int, str],
        path: Path,
    ) -> None:
        for name in map(_composed, {stem, (below / stem).as_posix()}):
            if name not in found or rank < found[name][0]:
                found[name] = (rank, path)


def _composed(name: str) -> str:
    """One spelling of letters with marks, which some systems store decomposed (NFD)."""
    return unicodedata.normalize("NFC", name)


def _short(text: str, most: int = 80) -> str:
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= most else line[: most - 1] + "…"
