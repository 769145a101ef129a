"""Watched videos that are kept for further questions, as far as the memory set aside allows."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from free_video_llm.pipeline import Video


@dataclass
class _Kept:
    video: Video
    held: tuple[Any, ...]
    bytes: int = 0


class Watched:
    """Videos by their content and how they were looked at; the longest unused go first.

    Args:
        memory_bytes: of all together; what was fetched for them counts with its files.

    Attributes:
        found, missed: how often a video was there, and how often not.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._most = memory_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.found = self.missed = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Of all that are kept, as of when they were last used."""
        with self._lock:
            return sum(kept.bytes for kept in self._kept.values())

    def get(
        self, key: Hashable, watch: Callable[[], Video], held: tuple[Any, ...]
    ) -> tuple[Video, bool]:
        """The video of a key, watched if need be; and whether it was there.

        Args:
            held: what keeps its files, for as long as the video is kept.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                self.found += 1
                return kept.video, True
            self.missed += 1
        video = watch()
        with self._lock:
            self._kept[key] = _Kept(video, held)
        return video, False

    def settle(self, key: Hashable) -> None:
        """Measure a video again after it was asked about, and let go what there is no room for."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return
            kept.bytes = _bytes_of(kept)
            held = sum(other.bytes for other in self._kept.values())
            while self._kept and held > self._most:
                _, gone = self._kept.popitem(last=False)
                held -= gone.bytes

    def forget(self, about: Callable[[Hashable], bool]) -> None:
        """Let go those whose key it is true of."""
        with self._lock:
            for key in [key for key in self._kept if about(key)]:
                del self._kept[key]


def _bytes_of(kept: _Kept) -> int:
    video = kept.video
    memo = sum(tensor.nbytes for tensor in list(video.memo.values()))
    paths = [getattr(one, "path", getattr(one, "name", None)) for one in kept.held]
    files = sum(_size_of(path) for path in paths if isinstance(path, str))
    return video.features.nbytes() + video.frames.pixels.nbytes + memo + files


def _size_of(path: str) -> int:
    """Of a file, or of a folder's."""
    if os.path.isdir(path):
        return sum(entry.stat().st_size for entry in os.scandir(path))
    return os.path.getsize(path) if os.path.isfile(path) else 0
