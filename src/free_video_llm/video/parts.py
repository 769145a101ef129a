"""The frames that `read_frames` gives, a few at a time, so that they need not be held together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from free_video_llm.errors import VideoError
from free_video_llm.video.image_folder import find_pictures
from free_video_llm.video.late_pixels import LatePixels
from free_video_llm.video.ranges import TimeRange
from free_video_llm.video.read import (
    Frames,
    Mode,
    Pixels,
    Resize,
    Rules,
    holds_pictures,
    read_frames,
)
from free_video_llm.video.sampling import spread
from free_video_llm.video.timeline import IntArray, scan


class NotInPartsError(Exception):
    """Frames that have to be read together: the packets of their file do not say which they are."""


class Parts:
    """The frames of one source, part by part; afterwards all of them, to be decoded again.

    Args:
        path: as `read_frames` takes it, and so for the others.
        at_once: frames of a part.

    Raises:
        NotInPartsError: at once, or while it is read.
        VideoError: there are no frames to be had.
    """

    def __init__(
        self,
        path: str,
        *,
        count: int,
        size: int,
        mode: Mode = "exact",
        rules: Rules = "corrected",
        resize: Resize | None = None,
        ranges: Sequence[TimeRange] = (),
        at_once: int = 32,
    ) -> None:
        self.size, self.at_once = size, at_once
        self._read = functools.partial(
            read_frames, path, size=size, mode=mode, rules=rules, resize=resize
        )
        self._positions, self._notes = _positions(path, count, mode, rules, ranges)
        self._seconds: list[np.ndarray] = []
        self._first: Frames | None = None

    def __len__(self) -> int:
        """Frames in all."""
        return len(self._positions)

    def __iter__(self) -> Iterator[Pixels]:
        """The pixels of each part, uint8 [n,size,size,3]."""
        self._first, self._seconds = None, []
        notes = dict.fromkeys(self._notes)
        for start in range(0, len(self), self.at_once):
            wanted = self._positions[start : start + self.at_once]
            try:
                part = self._read(indices=wanted.tolist())
            except VideoError as error:  # what all of it gives, or what is amiss, reading all tells
                raise NotInPartsError(str(error)) from None
            first = self._first or replace(
                part, pixels=part.pixels[:1], seconds=part.seconds[:1], indices=part.indices[:1]
            )
            if not np.array_equal(part.indices, wanted) or part.total != first.total:
                raise NotInPartsError(f"{part.source} is not what its packets say")
            notes |= dict.fromkeys(part.warnings)
            self._first = replace(first, warnings=tuple(notes))
            self._seconds.append(part.seconds)
            yield np.asarray(part.pixels)

    def frames(self) -> Frames:
        """All frames, once every part was read; those that are looked at are decoded again.

        Raises ValueError if some part was not read.
        """
        seconds = np.concatenate(self._seconds) if self._seconds else np.empty(0)
        if self._first is None or len(seconds) != len(self):
            raise ValueError(f"{len(seconds)} of {len(self)} frames were read")
        again = functools.partial(_decode, self._read, self._positions)
        return replace(
            self._first,
            pixels=LatePixels(len(self), self.size, again),
            seconds=seconds,
            indices=self._positions,
        )


def _decode(read: functools.partial[Frames], positions: IntArray, frames: Sequence[int]) -> Pixels:
    """Some frames, ascending, of those at these positions; a position may occur twice."""
    places, which = np.unique(positions[list(frames)], return_inverse=True)
    pixels: Pixels = np.asarray(read(indices=places.tolist()).pixels)
    return pixels[which]


def _positions(
    path: str, count: int, mode: Mode, rules: Rules, ranges: Sequence[TimeRange]
) -> tuple[IntArray, tuple[str, ...]]:
    """Where the frames lie, and what `read_frames` would warn of for all of them together."""
    if holds_pictures(path):
        return spread(path, find_pictures(path).seconds, count, rules, ranges), ()
    timeline = scan(path)
    if not timeline.exact:
        raise NotInPartsError(f"the packets of {path} do not name its frames")
    asked = spread(path, timeline.all_seconds(), count, rules, ranges)
    if mode == "exact":
        return asked, ()
    chosen = timeline.nearest_keyframes(asked)
    if not len(chosen):
        raise NotInPartsError(f"no keyframe of {path} is shown")
    if len(chosen) < len(asked):
        note = f"keyframes only: {len(chosen)} for the {len(asked)} frames asked for"
        return chosen, (note,)
    return chosen, ()
