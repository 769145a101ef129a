"""Pictures that are in memory: PIL images, arrays, tensors, torchcodec's frames."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from free_video_llm.errors import ConfigError, VideoError, shown
from free_video_llm.video.image_folder import scale_picture
from free_video_llm.video.ranges import TimeRange, length
from free_video_llm.video.read import Frames, Pixels, Rules
from free_video_llm.video.sampling import spread
from free_video_llm.video.source import check_pixels
from free_video_llm.video.timeline import FloatArray

if TYPE_CHECKING:
    import torch

    #: What can be watched: see `VideoLLM.watch`.
    Source: TypeAlias = (
        str
        | Path
        | bytes
        | BinaryIO
        | "Clip"
        | Frames
        | Sequence[Image.Image]
        | npt.NDArray[np.uint8]
        | torch.Tensor
    )


class Clip:
    """Pictures in time order, with their times.

    Args:
        pictures: a list of PIL images, or uint8 [T,H,W,3] or [T,3,H,W] as an array or tensor, RGB;
            or torchcodec's `FrameBatch`, which has its times.
        fps: pictures a second; 1 where neither it nor `seconds` is given.
        seconds: the time of each, ascending.
        name: for people.

    Raises:
        ConfigError: they are none of these, or the times do not fit.
    """

    def __init__(
        self,
        pictures: Any,
        *,
        fps: float | None = None,
        seconds: Sequence[float] | FloatArray | None = None,
        name: str = "pictures",
    ) -> None:
        self.name = name
        if hasattr(pictures, "pts_seconds") and hasattr(pictures, "data"):
            seconds = pictures.pts_seconds if seconds is None and fps is None else seconds
            pictures = pictures.data
        self.pictures = _checked(pictures)
        if fps is not None and seconds is not None:
            raise ConfigError("pictures have fps or seconds, not both")
        self.seconds = _times(len(self.pictures), 1.0 if fps is None else fps, seconds)
        steps = np.diff(self.seconds)
        #: Seconds from the first picture to the end of the last.
        self.duration = float(self.seconds[-1] + (np.median(steps) if len(steps) else 1.0))

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        wide, high = self.size
        return f"Clip({len(self)} pictures of {wide}×{high} in {self.duration:.2f} s)"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first picture."""
        first = self.pictures[0]
        wide, high = first.size if isinstance(first, Image.Image) else first.shape[1::-1]
        return int(wide), int(high)

    def count_at(self, fps: float, *, most: int, ranges: Sequence[TimeRange] = ()) -> int:
        """How many pictures are so many a second, at least one and at most `most`."""
        return max(1, min(most, round(length(self.duration, ranges) * fps)))

    def frames(
        self,
        *,
        count: int,
        size: int,
        rules: Rules = "corrected",
        ranges: Sequence[TimeRange] = (),
    ) -> Frames:
        """Uniform ones, scaled by PIL as pictures always are.

        Raises:
            VideoError: none is shown in the ranges, or one is too large.
        """
        chosen = spread(self.name, self.seconds, count, rules, ranges)
        pixels: Pixels = np.empty((len(chosen), size, size, 3), np.uint8)
        for place, index in enumerate(chosen.tolist()):
            picture = self.pictures[index]
            image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
            check_pixels(self.name, *image.size)
            pixels[place] = scale_picture(image.convert("RGB"), size)
        wide, high = self.size
        return Frames(
            pixels=pixels,
            seconds=self.seconds[chosen],
            indices=chosen,
            total=len(self),
            duration=self.duration,
            source=self.name,
            width=wide,
            height=high,
            resize="pil",
            whole=functools.partial(_whole, self.pictures),
        )


def given_frames(
    source: object,
    *,
    count: int,
    size: int,
    fps: float | None,
    most: int,
    rules: Rules,
    ranges: Sequence[TimeRange],
) -> Frames | None:
    """The frames of a source that is in memory already; None where it is none.

    Raises as `Clip` and `Clip.frames` do.
    """
    if isinstance(source, Frames):
        return source
    if not isinstance(source, Clip):
        if not is_pictures(source):
            return None
        source = Clip(source)
    if fps is not None:
        count = source.count_at(fps, most=most, ranges=ranges)
    return source.frames(count=count, size=size, rules=rules, ranges=ranges)


def _whole(
    pictures: Sequence[Image.Image | npt.NDArray[np.uint8]], index: int
) -> npt.NDArray[np.uint8]:
    picture = pictures[index]
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("RGB"))
    return picture


def is_pictures(source: object) -> bool:
    """Whether a source is pictures in memory."""
    if isinstance(source, np.ndarray) or hasattr(source, "pts_seconds"):
        return True
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(one, Image.Image) for one in source)
    return hasattr(source, "shape") and hasattr(source, "numpy")


def _checked(pictures: Any) -> Sequence[Image.Image | npt.NDArray[np.uint8]]:
    if isinstance(pictures, list | tuple):
        if not pictures:
            raise VideoError("there are no pictures: give at least one")
        if all(isinstance(one, Image.Image) for one in pictures):
            return pictures
        raise ConfigError(f"a list of pictures is of PIL images, not {shown(pictures[0])}")
    if hasattr(pictures, "detach"):  # a tensor, wherever it lies
        pictures = pictures.detach().cpu().numpy()
    form = "uint8 [T,H,W,3] or [T,3,H,W]"
    if not isinstance(pictures, np.ndarray):
        raise ConfigError(f"pictures are a list of PIL images, or {form}, not {shown(pictures)}")
    shape = list(pictures.shape)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or 3 not in (shape[1], shape[3]):
        raise ConfigError(f"pictures are {form}, not {pictures.dtype} {shape}")
    if not all(shape):
        raise VideoError("there are no pictures: give at least one")
    if shape[3] != 3:
        pictures = pictures.transpose(0, 2, 3, 1)
    return list(np.ascontiguousarray(pictures))


def _times(count: int, fps: float, seconds: Sequence[float] | FloatArray | None) -> FloatArray:
    if seconds is None:
        number = isinstance(fps, int | float) and not isinstance(fps, bool)
        if not number or not 0 < fps <= 100_000:
            raise ConfigError(f"fps is a number above 0, not {shown(fps)}")
        return np.arange(count, dtype=np.float64) / fps
    try:
        times = np.asarray(seconds, np.float64)
    except (TypeError, ValueError):
        times = np.empty(0)
    if times.shape != (count,) or not np.isfinite(times).all() or np.any(np.diff(times) < 0):
        raise ConfigError(f"seconds are {count} ascending numbers, one for each picture")
    return np.asarray(times - times[0])
