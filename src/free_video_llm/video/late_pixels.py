"""Pixels of many frames of which few are looked at: decoded again when they are.

An hour at a frame a second is more than a gigabyte of small pictures, of which a question keeps a
few.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

#: Frames that stay, the latest ones looked at: what a question keeps is drawn soon after.
RECENT = 64


class LatePixels:
    """Stands for an array uint8 [T,size,size,3], of which single frames and lists of frames can be
    taken.

    Args:
        count: T.
        size: pixels of a side.
        decode: some frames, ascending and each once, to their pixels [n,size,size,3].

    May be used from several threads. It can be pickled, without the frames that it holds.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, size: int, decode: Callable[[Sequence[int]], Pixels]) -> None:
        self.shape = (count, size, size, 3)
        self._decode = decode
        self._recent: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None, "_recent": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        with self._lock:
            return sum(frame.nbytes for frame in self._recent.values())

    def __getitem__(self, which: int | slice | Sequence[int]) -> Pixels:
        """One frame [size,size,3], or several [n,size,size,3]. Raises VideoError where the source
        cannot be read any more."""
        if isinstance(which, int | np.integer):
            one: Pixels = self._take([int(which)])[0]
            return one
        if isinstance(which, slice):
            which = range(*which.indices(len(self)))
        return self._take([int(frame) for frame in which])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """All of them, decoded."""
        return np.asarray(self._take(list(range(len(self)))), dtype)

    def _take(self, frames: list[int]) -> Pixels:
        for frame in frames:
            if not 0 <= frame < len(self):
                raise IndexError(f"frame {frame} of {len(self)}")
        with self._lock:  # pictures are drawn while the next question is asked
            missing = sorted(set(frames) - set(self._recent))
            found = dict(zip(missing, self._decode(missing), strict=True)) if missing else {}
            taken = [found[frame] if frame in found else self._recent[frame] for frame in frames]
            for frame, pixels in zip(frames, taken, strict=True):
                if frame in self._recent:
                    self._recent.move_to_end(frame)
                else:  # a copy: a part of a larger array would keep all of it
                    self._recent[frame] = pixels.copy()
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return np.stack(taken) if taken else np.empty((0, *self.shape[1:]), np.uint8)
