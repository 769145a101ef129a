"""From a video file or a folder of pictures to `Frames`: uniform positions, pixels at tower size.

It knows nothing of models: normalising pixels, encoding and choosing among the frames are left to
others, and finding a frame inside a video file is left to `decode.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from free_video_llm.video.decode import (
    FloatArray,
    IntArray,
    LostFrameError,
    Timeline,
    decode_counting,
    decode_exact,
    first_frame,
    open_video,
    refuse,
    scan,
)
from free_video_llm.video.image_folder import (
    IMAGE_SUFFIXES,
    is_picture,
    listing,
    open_picture,
    pictures_of,
    scale_picture,
)

Mode = Literal["exact", "keyframes"]
Resize = Literal["bicubic", "pil"]
Progress = Callable[[int, int], None]
Pixels = npt.NDArray[np.uint8]
Arrived = Callable[[Pixels, int], None]
"""Told that the first so many frames of an array, uint8 [T,size,size,3], are there."""

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".gif",
        ".3gp",
        ".flv",
        ".wmv",
        ".asf",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".ogv",
    )
)
IMAGES_PER_SECOND = 1.0
"""The pace at which a folder of pictures is taken to have been shot, for want of times."""


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Some frames of one clip, in time order, with their times.

    pixels: uint8 [T, size, size, 3], RGB, at the vision tower's size; the aspect ratio is ignored
        (`image_aspect_ratio: resize` of the released code, arXiv 2410.10441).
    seconds: float64 [T], presentation times, counted from the clip's first frame.
    indices: int64 [T], positions in the clip, ascending. A clip with no more frames than were
        asked for repeats one position, as the released code does (see `uniform_indices`).
    total: frames in the clip. duration: seconds.
    source: the file or folder, as given.
    width, height: pixels of the clip's frames as they are displayed, rotation applied.
    warnings: what was amiss with the file, one line each.

    Raises ValueError if these do not fit together.
    """

    pixels: Pixels
    seconds: FloatArray
    indices: IntArray
    total: int
    duration: float
    source: str
    width: int
    height: int
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, count = self.pixels.shape, len(self.pixels)
        if self.pixels.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2]:
            raise ValueError(
                f"pixels must be uint8 [T, size, size, 3]; got {self.pixels.dtype} {list(shape)}"
            )
        if shape[3] != 3 or not count:
            raise ValueError(f"pixels must hold at least one RGB frame; got {list(shape)}")
        for name, kind in (("seconds", np.float64), ("indices", np.int64)):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != (count,):
                raise ValueError(
                    f"{name} must be {np.dtype(kind)} [{count}], one for each frame; "
                    f"got {array.dtype} {list(array.shape)}"
                )
            if np.any(np.diff(array) < 0):
                raise ValueError(f"{name} must ascend; got {array.tolist()}")
        if self.indices[0] < 0 or self.indices[-1] >= self.total:
            raise ValueError(
                f"indices must lie between 0 and {self.total - 1} (total={self.total}); "
                f"got {self.indices[0]} to {self.indices[-1]}"
            )
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"width and height must be positive; got {self.width}×{self.height}")

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        noted = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return (
            f"Frames(pixels={self.pixels.dtype}{list(self.pixels.shape)}, of {self.total} frames "
            f"{self.width}×{self.height} in {self.duration:.2f} s, source={self.source!r}{noted})"
        )


@dataclass(frozen=True)
class VideoInfo:
    """What a file tells of itself at a glance.

    width, height: pixels as displayed, `rotation` applied. fps: frames per second, on average.
    duration: seconds. total: frames, as declared or else fps × duration: an estimate.
    codec: the codec's name, "images" for a folder of pictures.
    rotation: degrees counterclockwise by which a stored frame is turned for display.
    keyframes: how many there are, if the container has an index of them, else None.
    """

    source: str
    width: int
    height: int
    fps: float
    duration: float
    total: int
    codec: str
    rotation: int
    keyframes: int | None


def uniform_indices(total: int, count: int) -> IntArray:
    """The released code's uniform frame positions: int64 [T], T = min(total, count).

    With seg = (total - 1) / T, frame i is (round(seg·i) + round(seg·(i+1))) // 2, `round` being
    half to even (arXiv 2410.10441, released code). With total ≤ count this repeats a position and
    leaves out the last frame; that is the released arithmetic, kept. Raises ValueError if `total`
    or `count` is not positive.
    """
    if total <= 0 or count <= 0:
        raise ValueError(f"total and count must be at least 1; got total={total}, count={count}")
    frames = min(total, count)
    edges = np.rint((total - 1) / frames * np.arange(frames + 1)).astype(np.int64)
    return np.asarray((edges[:-1] + edges[1:]) // 2)


def read_frames(
    path: str | os.PathLike[str],
    *,
    count: int = 50,
    size: int = 336,
    mode: Mode = "exact",
    resize: Resize = "bicubic",
    indices: Sequence[int] | None = None,
    progress: Progress | None = None,
    arrived: Arrived | None = None,
) -> Frames:
    """Read frames of a video, or of a folder of pictures in name order, at size×size pixels.

    count: frames wanted, at the released code's uniform positions; a shorter clip gives all.
    size: pixels of a side of the result.
    mode: "exact" decodes the very frames; "keyframes" the keyframes nearest to them, each once,
        which is several times quicker where keyframes are far apart. `indices` and `seconds` of
        the result are true in both.
    resize: "bicubic" scales within the conversion to RGB (swscale) and never makes a full-size RGB
        frame; "pil" makes one at a time and gives the released code's pixels to the bit, slower.
        Pictures in folders are always scaled by PIL.
    indices: ascending positions to read instead of uniform ones; `count` is then ignored.
    progress: called as progress(frames done, frames wanted); it starts again at 1 if a damaged
        file has to be read again.
    arrived: called after each frame as arrived(pixels, n): the first n frames of `pixels` are
        there and will not change. `pixels` is the result's own array, but for a damaged file that
        has to be read again: then another array begins, and what was in the first is void.

    A file that is damaged or shorter than it claims gives what can be decoded, with uniform
    positions spread over that, and says so in `warnings`. A folder's pictures count as one second
    each. May be called from several threads. Raises VideoError if there are no frames to be had or
    `indices` lie outside the clip; ValueError if an option has a value that is not allowed.
    """
    _check_options(count, size, mode, resize)
    wanted = _wanted(os.fspath(path), count, indices)
    if os.path.isdir(path) or Path(path).suffix.lower() in IMAGE_SUFFIXES:
        return _read_pictures(os.fspath(path), wanted, size, progress, arrived)
    convert = _by_pil(size) if resize == "pil" else _by_swscale(size)
    shelf = _Shelf(size, convert, progress, arrived)
    return _read_video(os.fspath(path), wanted, mode, shelf)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video file or folder of pictures is, from its header and first frame.

    Raises VideoError if it has no frame that can be decoded.
    """
    name = os.fspath(path)
    if os.path.isdir(path) or Path(path).suffix.lower() in IMAGE_SUFFIXES:
        files = pictures_of(name)
        width, height = open_picture(files[0]).size
        seconds = len(files) / IMAGES_PER_SECOND
        return VideoInfo(
            name, width, height, IMAGES_PER_SECOND, seconds, len(files), "images", 0, None
        )
    with open_video(name) as (container, stream):
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = (container.duration or 0) / 1_000_000
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        entries = getattr(stream, "index_entries", ())  # absent from older PyAV
        keyframes = sum(entry.is_keyframe for entry in entries) or None
        total = stream.frames or max(1, round(seconds * fps))
        frame = first_frame(container, stream, name)
        width, height = _display_size(frame)
        codec = stream.codec_context.name
    return VideoInfo(
        name, width, height, fps, seconds, total, codec, 90 * _quarter_turns(frame), keyframes
    )


def is_video_path(path: str | os.PathLike[str]) -> bool:
    """Whether a path looks like a clip: a file named like a video, or a folder with pictures."""
    if os.path.isdir(path):
        try:
            return any(is_picture(name) for name in os.listdir(path))
        except OSError:
            return False
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def find_videos(folder: str | os.PathLike[str]) -> list[Path]:
    """The video files directly in a folder, in name order; hidden ones are left out.

    Raises VideoError if the folder is missing, may not be read, or holds no video.
    """
    names = [n for n in listing(os.fspath(folder)) if Path(n).suffix.lower() in VIDEO_SUFFIXES]
    if not names:
        refuse(os.fspath(folder), "the folder holds no videos", f"allowed are {_VIDEO_NAMES}")
    return [Path(folder, name) for name in names]


_VIDEO_NAMES = " ".join(sorted(VIDEO_SUFFIXES))

Wanted = Callable[[int], IntArray]
"""Given the frames in a clip, the positions to read."""


def _check_options(count: int, size: int, mode: str, resize: str) -> None:
    for name, number in (("count", count), ("size", size)):
        if number <= 0:
            raise ValueError(f"{name} must be at least 1; got {number}")
    for name, value, allowed in (
        ("mode", mode, get_args(Mode)),
        ("resize", resize, get_args(Resize)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def _wanted(source: str, count: int, indices: Sequence[int] | None) -> Wanted:
    if indices is None:
        return lambda total: uniform_indices(total, count)
    given = np.asarray(indices, dtype=np.int64)
    if given.ndim != 1 or not len(given) or given[0] < 0 or np.any(np.diff(given) < 0):
        raise ValueError(f"indices must be one or more ascending positions from 0; got {indices}")

    def check(total: int) -> IntArray:
        if given[-1] >= total:
            what = f"frame {given[-1]} was asked for, the clip has {total}"
            refuse(source, what, f"choose indices from 0 to {total - 1}")
        return given

    return check


class _Shelf:
    """Where decoded frames are put as they come, already at their final size, none kept whole."""

    def __init__(
        self,
        size: int,
        convert: Callable[[VideoFrame], Pixels],
        progress: Progress | None,
        arrived: Arrived | None,
    ) -> None:
        self.size, self.convert, self.progress, self.arrived = size, convert, progress, arrived

    def lay_out(self, positions: IntArray) -> None:
        """Make room for the frames at `positions`; what was there is given up."""
        self.positions, self.done = positions, 0
        self.pixels: Pixels = np.empty((len(positions), self.size, self.size, 3), np.uint8)

    def take(self, position: int, frame: VideoFrame) -> None:
        if not self.done:
            self.width, self.height = _display_size(frame)
        # Square pictures may be turned after scaling as well as before, at a fraction of the work.
        pixels = np.rot90(self.convert(frame), _quarter_turns(frame))
        start, stop = np.searchsorted(self.positions, [position, position + 1])
        if start != self.done:
            raise LostFrameError("frames came out of order")
        self.pixels[start:stop] = pixels
        self.done += int(stop - start)
        if self.progress is not None:
            self.progress(self.done, len(self.positions))
        if self.arrived is not None:
            self.arrived(self.pixels, self.done)

    def frames(
        self, source: str, seconds: FloatArray, total: int, duration: float, warnings: Sequence[str]
    ) -> Frames:
        return Frames(
            pixels=self.pixels,
            seconds=seconds,
            indices=self.positions,
            total=total,
            duration=duration,
            source=source,
            width=self.width,
            height=self.height,
            warnings=tuple(warnings),
        )


def _read_video(name: str, wanted: Wanted, mode: Mode, shelf: _Shelf) -> Frames:
    timeline = scan(name)
    asked = wanted(timeline.total)
    if timeline.exact:
        by_keyframe = mode == "keyframes"
        chosen = timeline.nearest_keyframes(asked) if by_keyframe else asked
        shelf.lay_out(chosen)
        try:
            decode_exact(name, timeline, np.unique(chosen).tolist(), shelf.take, alone=by_keyframe)
        except LostFrameError:
            pass  # the packets promised too much: count what really comes out
        else:
            warnings = _shortfall(timeline, timeline.total, timeline.duration)
            if by_keyframe and len(chosen) < len(asked):
                warnings.append(
                    f"keyframes only: {len(chosen)} for the {len(asked)} frames asked for"
                )
            seconds = timeline.seconds(chosen)
            return shelf.frames(name, seconds, timeline.total, timeline.duration, warnings)

    shelf.lay_out(asked)
    counted = decode_counting(name, timeline, asked.tolist(), shelf.take)
    chosen = wanted(counted.total)
    if not np.array_equal(chosen, asked):
        shelf.lay_out(chosen)
        counted = decode_counting(name, timeline, chosen.tolist(), shelf.take)
    warnings = _shortfall(timeline, counted.total, counted.duration)
    if counted.bad_packets:
        warnings.append(f"damaged: {counted.bad_packets} packets could not be decoded")
    if mode == "keyframes":
        warnings.append("its keyframes are not known by time: the exact frames were read")
    return shelf.frames(name, counted.seconds[chosen], counted.total, counted.duration, warnings)


def _shortfall(timeline: Timeline, total: int, duration: float) -> list[str]:
    """A warning if the file gave less than its container declares."""
    if timeline.declared > total:
        return [f"truncated: declared {timeline.declared} frames, {total} could be decoded"]
    declared, slack = timeline.declared_seconds, max(0.5, 0.05 * timeline.declared_seconds)
    # A container without a count of frames declares a duration; some add the time before the start.
    if not timeline.declared and declared - timeline.end_seconds > slack:
        return [f"truncated: declared {declared:.1f} s, {duration:.1f} s could be decoded"]
    return []


def _by_swscale(size: int) -> Callable[[VideoFrame], Pixels]:
    reformatter = VideoReformatter()  # keeps its scaling tables from frame to frame

    def convert(frame: VideoFrame) -> Pixels:
        scaled = reformatter.reformat(
            frame, width=size, height=size, format="rgb24", interpolation=Interpolation.BICUBIC
        )
        return np.asarray(scaled.to_ndarray(), np.uint8)

    return convert


def _by_pil(size: int) -> Callable[[VideoFrame], Pixels]:
    def convert(frame: VideoFrame) -> Pixels:
        return scale_picture(frame.to_image(), size)  # type: ignore[no-untyped-call]

    return convert


def _quarter_turns(frame: VideoFrame) -> int:
    """Quarter turns counterclockwise that bring a stored frame upright (PyAV does not turn it)."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _display_size(frame: VideoFrame) -> tuple[int, int]:
    upright = _quarter_turns(frame) % 2 == 0
    return (frame.width, frame.height) if upright else (frame.height, frame.width)


def _read_pictures(
    path: str, wanted: Wanted, size: int, progress: Progress | None, arrived: Arrived | None
) -> Frames:
    files = pictures_of(path)
    indices = wanted(len(files))
    pixels: Pixels = np.empty((len(indices), size, size, 3), np.uint8)
    for slot, index in enumerate(indices):
        image = open_picture(files[index])
        if slot == 0:
            width, height = image.size
        pixels[slot] = scale_picture(image, size)
        if progress is not None:
            progress(slot + 1, len(indices))
        if arrived is not None:
            arrived(pixels, slot + 1)
    return Frames(
        pixels=pixels,
        seconds=indices / IMAGES_PER_SECOND,
        indices=indices,
        total=len(files),
        duration=len(files) / IMAGES_PER_SECOND,
        source=path,
        width=width,
        height=height,
    )
