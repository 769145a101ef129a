"""Single frames of a clip, or parts of them, as they are seen: in their own proportions and as
sharp as the clip is.

What a picture model looks at. `read.py` gives the many small frames among which it is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from free_video_llm.errors import VideoError
from free_video_llm.video import orientation
from free_video_llm.video.decode import LostFrameError, decode_counting, decode_exact
from free_video_llm.video.image_folder import find_pictures, read_whole_picture
from free_video_llm.video.read import Frames, Pixels, holds_pictures
from free_video_llm.video.timeline import scan

Region = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of a frame (0 to 1)."""


@dataclass(frozen=True)
class Still:
    """One of the sampled frames, or the part of it within `region`."""

    index: int
    region: Region = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Moment:
    """The frame that is seen nearest to a second of a source, or the part of it in `region`."""

    second: float
    region: Region = (0.0, 0.0, 1.0, 1.0)


def read_stills(frames: Frames, wanted: Sequence[Still], *, most_pixels: int) -> list[Pixels]:
    """Some of the frames again, uint8 [height,width,3] each, as displayed.

    The source is decoded anew where they lie; no more than one whole frame is held at a time. Where
    the source cannot be read any more (it was deleted, or the frames never came from a file), they
    are cut from the small ones, stretched to the clip's proportions.

    Args:
        frames: of the clip.
        wanted: in any order, a frame as often as it is wanted.
        most_pixels: of one result; smaller ones stay as they are.

    Raises:
        ValueError: an index outside, an empty region, or `most_pixels` below 1.
    """
    for still in wanted:
        left, top, right, bottom = still.region
        inside = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        if not 0 <= still.index < len(frames) or not inside:
            raise ValueError(f"{still} is not within {len(frames)} frames")
    if most_pixels < 1:
        raise ValueError(f"most_pixels is 1 or more, not {most_pixels}")
    places = [int(frames.indices[still.index]) for still in wanted]
    shelf = _Shelf(places, wanted, most_pixels)
    try:
        if frames.whole is not None:
            for position in shelf.positions:
                shelf.take(position, frames.whole(position))
            return shelf.results()
        if not os.path.exists(frames.source):
            raise VideoError(f"{frames.source} is gone")
        _read(frames.source, shelf)
        return shelf.results()
    except (VideoError, LostFrameError, LookupError):
        again = _Shelf(places, wanted, most_pixels)
        for still in wanted:
            again.take(int(frames.indices[still.index]), _stretched(frames, still.index))
        return again.results()


def read_moments(source: str, wanted: Sequence[Moment], *, most_pixels: int) -> list[Pixels]:
    """Frames of a file or a folder of pictures by their seconds, uint8 [height,width,3] each, as
    displayed, in the order in which they are wanted.

    Args:
        most_pixels: of one result; smaller ones stay as they are.

    Raises:
        VideoError: the source cannot be read, or lost a frame that its packets promise.
    """
    still = holds_pictures(source)
    times = find_pictures(source).seconds if still else scan(source).all_seconds()
    places = [int(np.abs(times - moment.second).argmin()) for moment in wanted]
    shelf = _Shelf(places, wanted, most_pixels)
    try:
        _read(source, shelf)
        return shelf.results()
    except (LostFrameError, LookupError):
        raise VideoError(
            f"{source}: a frame that it promises does not come: it is damaged"
        ) from None


class _Shelf:
    """Where whole frames are cut and scaled as they come; none is kept.

    `places` are the positions in the source of what is wanted.
    """

    def __init__(
        self, places: Sequence[int], wanted: Sequence[Still | Moment], most_pixels: int
    ) -> None:
        self._most_pixels = most_pixels
        self._wanted = list(wanted)
        self._places = list(places)
        self._found: dict[int, Pixels] = {}

    @property
    def positions(self) -> list[int]:
        """Of the clip's frames, ascending, each once."""
        return sorted(set(self._places))

    def take(self, position: int, pixels: Pixels) -> None:
        """A whole frame, as displayed."""
        for number, (still, place) in enumerate(zip(self._wanted, self._places, strict=True)):
            if place == position:
                self._found[number] = _fitted(_cut(pixels, still.region), self._most_pixels)

    def clear(self) -> None:
        self._found.clear()

    def results(self) -> list[Pixels]:
        """In the order in which they were wanted. KeyError where one did not come."""
        return [self._found[number] for number in range(len(self._wanted))]


def _read(source: str, shelf: _Shelf) -> None:
    if holds_pictures(source):
        pictures = find_pictures(source)
        for position in shelf.positions:
            shelf.take(position, read_whole_picture(*pictures.places[position]))
        return

    def take(position: int, frame: VideoFrame) -> None:
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        shelf.take(position, orientation.of_frame(frame).apply(pixels))

    timeline = scan(source)
    try:
        if not timeline.exact:
            raise LostFrameError("its packets do not name its frames")
        decode_exact(source, timeline, shelf.positions, take)
    except LostFrameError:
        shelf.clear()
        decode_counting(source, timeline, shelf.positions, take)


def _cut(pixels: Pixels, region: Region) -> Pixels:
    """The part of a frame within a region, at least one pixel of it."""
    high, wide = pixels.shape[:2]
    left, right = int(region[0] * wide), max(int(region[0] * wide) + 1, round(region[2] * wide))
    top, bottom = int(region[1] * high), max(int(region[1] * high) + 1, round(region[3] * high))
    return pixels[top:bottom, left:right]


def _fitted(pixels: Pixels, most: int) -> Pixels:
    high, wide = pixels.shape[:2]
    size = fitting(wide, high, most)
    if size == (wide, high):
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.uint8)


def fitting(width: int, height: int, most_pixels: int) -> tuple[int, int]:
    """Width and height in the same proportions with no more pixels than that.

    Examples:
        >>> fitting(1920, 1080, 518_400), fitting(320, 240, 518_400), fitting(1, 4000, 2000)
        ((960, 540), (320, 240), (1, 2000))
    """
    if width * height <= most_pixels:
        return width, height
    share = (most_pixels / (width * height)) ** 0.5
    wide, high = max(1, int(width * share)), max(1, int(height * share))
    return min(wide, most_pixels // high) or 1, min(high, most_pixels // wide) or 1


def _stretched(frames: Frames, index: int) -> Pixels:
    """A small square frame in the clip's proportions."""
    size = frames.pixels.shape[1]
    share = size / max(frames.width, frames.height)
    box = max(1, round(frames.width * share)), max(1, round(frames.height * share))
    image = Image.fromarray(frames.pixels[index])
    return np.asarray(image.resize(box, Image.Resampling.BICUBIC), np.uint8)
