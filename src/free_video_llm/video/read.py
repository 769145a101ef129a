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

from free_video_llm.errors import ConfigError, one_of, shown
from free_video_llm.video import orientation
from free_video_llm.video.container import open_video
from free_video_llm.video.decode import LostFrameError, decode_counting, decode_exact, first_frame
from free_video_llm.video.image_folder import (
    find_pictures,
    picture_size,
    read_picture,
    scale_picture,
)
from free_video_llm.video.late_pixels import LatePixels
from free_video_llm.video.ranges import TimeRange, length
from free_video_llm.video.sampling import Rules as Rules
from free_video_llm.video.sampling import released_indices, spread
from free_video_llm.video.sampling import uniform_indices as uniform_indices
from free_video_llm.video.source import IMAGE_SUFFIXES, check_readable, is_still_container, refuse
from free_video_llm.video.subtitles import Line
from free_video_llm.video.timeline import FloatArray, IntArray, Timeline, scan

Mode = Literal["exact", "keyframes"]
Resize = Literal["bicubic", "pil"]
Progress = Callable[[int, int], None]
Pixels = npt.NDArray[np.uint8]
Arrived = Callable[[Pixels, int], None]
"""Told that the first so many frames of an array, uint8 [T,size,size,3], are there."""


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Some frames of one clip, in time order, with their times.

    pixels: uint8 [T, size, size, 3], RGB, at the vision tower's size; the aspect ratio is ignored
        (`image_aspect_ratio: resize` of the released code, arXiv 2410.10441). Of very many frames
        what decodes those again that are looked at (`LatePixels`).
    seconds: float64 [T], presentation times, counted from the clip's first frame.
    indices: int64 [T], positions in the clip, ascending. By the released rules, a clip with no more
        frames than were asked for repeats one (see `released_indices`).
    total: frames in the clip. duration: seconds.
    source: the file or folder, as given.
    width, height: pixels of the clip's frames as they are displayed, rotation applied.
    warnings: what was amiss with the file, one line each.
    resize: how the frames were scaled, "bicubic" in the decoder or "pil" as the released code does.
    called: what the source is for people, where that is not its path.
    subtitles: what is said in the clip, in time order, where it is known.
    whole: gives a frame of the clip at its own size, where there is no source to read it from.

    Raises ValueError if these do not fit together.
    """

    pixels: Pixels | LatePixels
    seconds: FloatArray
    indices: IntArray
    total: int
    duration: float
    source: str
    width: int
    height: int
    warnings: tuple[str, ...] = ()
    resize: Resize = "bicubic"
    called: str = ""
    whole: Callable[[int], Pixels] | None = None
    subtitles: tuple[Line, ...] = ()

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

    @property
    def name(self) -> str:
        """What the source is called."""
        return self.called or self.source

    @property
    def as_released(self) -> bool:
        """Whether these are the released code's pixels: its positions, scaled by PIL."""
        released = released_indices(self.total, len(self))
        return self.resize == "pil" and np.array_equal(self.indices, released)

    def __repr__(self) -> str:
        noted = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return (
            f"Frames(pixels={self.pixels.dtype}{list(self.pixels.shape)}, of {self.total} frames "
            f"{self.width}×{self.height} in {self.duration:.2f} s, source={self.name!r}{noted})"
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


def read_frames(
    path: str | os.PathLike[str],
    *,
    count: int = 50,
    size: int = 336,
    mode: Mode = "exact",
    rules: Rules = "corrected",
    resize: Resize | None = None,
    indices: Sequence[int] | None = None,
    ranges: Sequence[TimeRange] = (),
    progress: Progress | None = None,
    arrived: Arrived | None = None,
) -> Frames:
    """Read frames of a video, an animation, or a folder of pictures, at size×size pixels.

    count: frames wanted, at uniform positions; a shorter clip gives all.
    size: pixels of a side of the result.
    mode: "exact" decodes the very frames; "keyframes" the keyframes nearest to them, each once,
        which is several times quicker where keyframes are far apart. `indices` and `seconds` of
        the result are true in both.
    rules: "corrected", or "released" for the positions and the pixels of the paper's released code.
    resize: "bicubic" scales within the conversion to RGB (swscale) and never makes a full-size RGB
        frame; "pil" makes one at a time and gives the released code's pixels to the bit, slower.
        None takes the one that the rules need. Pictures are always scaled by PIL.
    indices: ascending positions to read instead of uniform ones; `count` is then ignored.
    ranges: stretches, in seconds, that the uniform positions are spread over (see `check_ranges`);
        the whole clip where there are none.
    progress: called as progress(frames done, frames wanted); it starts again at 1 if a damaged
        file has to be read again.
    arrived: called after each frame as arrived(pixels, n): the first n frames of `pixels` are
        there and will not change. `pixels` is the result's own array, but for a damaged file that
        has to be read again: then another array begins, and what was in the first is void.

    A file that is damaged or shorter than it claims gives what can be decoded, with uniform
    positions spread over that, and says so in `warnings`. A folder's pictures count as one second
    each, in natural order. May be called from several threads.

    Raises VideoError if there are no frames to be had, none in the ranges, or `indices` outside the
    clip;
    ConfigError if an option has a value that is not allowed.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"a video is a path to a file or folder, not {shown(path)}")
    for what, number in (("count", count), ("size", size)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigError(f"{what} is a whole number of at least 1, not {shown(number)}")
    one_of("mode", mode, get_args(Mode), ConfigError)
    one_of("rules", rules, get_args(Rules), ConfigError)
    resize = resize or ("pil" if rules == "released" else "bicubic")
    one_of("resize", resize, get_args(Resize), ConfigError)
    name = os.fsdecode(path)
    wanted = _wanted(name, count, rules, indices, ranges)
    if holds_pictures(name):
        return _read_pictures(name, wanted, size, progress, arrived)
    convert = _by_pil(size) if resize == "pil" else _by_swscale(size)
    return _read_video(name, wanted, mode, _Shelf(size, convert, resize, progress, arrived))


def holds_pictures(name: str) -> bool:
    """Whether a source is read picture by picture. A file is checked for being readable."""
    if os.path.isdir(name):
        return True
    check_readable(name)
    return Path(name).suffix.lower() in IMAGE_SUFFIXES or is_still_container(name)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video file or folder of pictures is, from its header and first frame.

    Raises VideoError if it has no frame that can be decoded.
    """
    name = os.fsdecode(path)
    if holds_pictures(name):
        pictures = find_pictures(name)
        width, height = picture_size(pictures.places[0][0])
        fps, total = len(pictures) / pictures.duration, len(pictures)
        return VideoInfo(name, width, height, fps, pictures.duration, total, "images", 0, None)
    with open_video(name) as (container, stream):
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = (container.duration or 0) / 1_000_000
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        entries = getattr(stream, "index_entries", ())  # absent from older PyAV
        keyframes = sum(entry.is_keyframe for entry in entries) or None
        total = stream.frames or max(1, round(seconds * fps))
        frame = first_frame(container, stream, name)
        turned = orientation.of_frame(frame)
        width, height = turned.size(frame.width, frame.height)
        codec = stream.codec_context.name
    return VideoInfo(name, width, height, fps, seconds, total, codec, turned.rotation, keyframes)


def count_at(
    path: str | os.PathLike[str], fps: float, *, most: int, ranges: Sequence[TimeRange] = ()
) -> int:
    """How many frames are so many a second of a source, or of some stretches of it, at least one
    and at most `most`.

    Raises VideoError as `probe` does; ConfigError if `fps` or `most` has no allowed value.
    """
    number = isinstance(fps, int | float) and not isinstance(fps, bool)
    if not number or not 0 < fps <= 1000:
        raise ConfigError(f"fps is a number above 0, at most 1000, not {shown(fps)}")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ConfigError(f"max_candidates is a whole number of at least 1, not {shown(most)}")
    info = probe(path)
    seconds = info.duration
    if seconds <= 0:  # a recording that does not say
        seconds = scan(os.fsdecode(path)).duration
    return max(1, min(most, round(length(seconds, ranges) * fps)))


Wanted = Callable[[FloatArray], IntArray]
"""Given the times of a clip's frames, the positions to read."""


def _wanted(
    source: str,
    count: int,
    rules: Rules,
    indices: Sequence[int] | None,
    ranges: Sequence[TimeRange],
) -> Wanted:
    if indices is None:
        return lambda seconds: spread(source, seconds, count, rules, ranges)
    try:
        given = np.asarray(indices, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        given = np.empty(0, np.int64)
    if given.ndim != 1 or not len(given) or given[0] < 0 or np.any(np.diff(given) < 0):
        allowed = "one or more ascending whole numbers from 0"
        raise ConfigError(f"indices are {allowed}, not {shown(indices)}")

    def check(seconds: FloatArray) -> IntArray:
        total = len(seconds)
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
        resize: Resize,
        progress: Progress | None,
        arrived: Arrived | None,
    ) -> None:
        self.size, self.convert, self.resize = size, convert, resize
        self.progress, self.arrived = progress, arrived
        self._turns: dict[float, orientation.Orientation] = {}

    def make_room(self, positions: IntArray) -> None:
        """For the frames at `positions`; what was there is given up."""
        self.positions, self.done = positions, 0
        self.pixels: Pixels = np.empty((len(positions), self.size, self.size, 3), np.uint8)

    def take(self, position: int, frame: VideoFrame) -> None:
        turned = self._orientation(frame)
        if not self.done:
            self.width, self.height = turned.size(frame.width, frame.height)
        # Square pictures may be turned after scaling as well as before, at a fraction of the work.
        pixels = turned.apply(self.convert(frame))
        start, stop = np.searchsorted(self.positions, [position, position + 1])
        if start != self.done:
            raise LostFrameError("frames came out of order")
        self.pixels[start:stop] = pixels
        self.done += int(stop - start)
        if self.progress is not None:
            self.progress(self.done, len(self.positions))
        if self.arrived is not None:
            self.arrived(self.pixels, self.done)

    def _orientation(self, frame: VideoFrame) -> orientation.Orientation:
        # PyAV's side data refers back to its frame: read of every frame, all would be held until
        # the garbage collector comes by. The turn alone can be had without it.
        turn = getattr(frame, "rotation", 0)
        if turn not in self._turns:
            self._turns[turn] = orientation.of_frame(frame)
        return self._turns[turn]

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
            resize=self.resize,
        )


def _read_video(name: str, wanted: Wanted, mode: Mode, shelf: _Shelf) -> Frames:
    timeline = scan(name)
    asked = wanted(timeline.all_seconds())
    found = _read_exact(name, timeline, asked, mode, shelf) if timeline.exact else None
    if found is not None:
        return found
    shelf.make_room(asked)
    counted = decode_counting(name, timeline, asked.tolist(), shelf.take)
    chosen = wanted(counted.seconds)
    if not np.array_equal(chosen, asked):
        shelf.make_room(chosen)
        counted = decode_counting(name, timeline, chosen.tolist(), shelf.take)
    warnings = _shortfall(timeline, counted.total, counted.duration)
    warnings += _damage(counted.bad_packets, counted.corrupt)
    if mode == "keyframes":
        warnings.append("its keyframes are not known by time: the exact frames were read")
    return shelf.frames(name, counted.seconds[chosen], counted.total, counted.duration, warnings)


def _read_exact(
    name: str, timeline: Timeline, asked: IntArray, mode: Mode, shelf: _Shelf
) -> Frames | None:
    """The frames, sought by their times; None where the packets promised too much."""
    warnings = _shortfall(timeline, timeline.total, timeline.duration)
    chosen = timeline.nearest_keyframes(asked) if mode == "keyframes" else asked
    if mode == "keyframes" and not len(chosen):
        warnings.append("none of its keyframes is shown: the exact frames were read")
        mode, chosen = "exact", asked
    shelf.make_room(chosen)
    alone = mode == "keyframes"
    try:
        places = np.unique(chosen).tolist()
        corrupt = decode_exact(name, timeline, places, shelf.take, alone=alone)
    except LostFrameError:
        return None
    warnings += _damage(0, corrupt)
    if len(chosen) < len(asked):
        warnings.append(f"keyframes only: {len(chosen)} for the {len(asked)} frames asked for")
    seconds = timeline.seconds(chosen)
    return shelf.frames(name, seconds, timeline.total, timeline.duration, warnings)


def _damage(bad_packets: int, corrupt: int) -> list[str]:
    """A warning of what the decoder itself says is not as it was coded."""
    found = []
    if bad_packets:
        found.append(f"{bad_packets} packet{'s' * (bad_packets > 1)} could not be decoded")
    if corrupt:
        found.append(f"the decoder marks {corrupt} of the frames it decoded as corrupt")
    return [f"damaged: {', '.join(found)}"] if found else []


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


def _read_pictures(
    path: str, wanted: Wanted, size: int, progress: Progress | None, arrived: Arrived | None
) -> Frames:
    pictures = find_pictures(path)
    indices = wanted(pictures.seconds)
    pixels: Pixels = np.empty((len(indices), size, size, 3), np.uint8)
    for slot, index in enumerate(indices):
        file, number = pictures.places[index]
        pixels[slot], (wide, high) = read_picture(file, number, size)
        if slot == 0:
            width, height = wide, high
        if progress is not None:
            progress(slot + 1, len(indices))
        if arrived is not None:
            arrived(pixels, slot + 1)
    return Frames(
        pixels=pixels,
        seconds=pictures.seconds[indices],
        indices=indices,
        total=len(pictures),
        duration=pictures.duration,
        source=path,
        width=width,
        height=height,
        warnings=pictures.warnings,
        resize="pil",
    )
