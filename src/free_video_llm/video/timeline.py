"""Where the frames of a video lie in time, from its packets alone: nothing is decoded."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from free_video_llm.video.container import open_video, packets, refuse_undecodable

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """What the packets of a video stream tell about its frames, without decoding them.

    pts: int64 [N], times of the frames in presentation order, in units of `time_base`; if the file
        keeps no times, the order of the packets stands in for them.
    order: int64 [N], place of each frame's packet in the file (decoding order).
    key_order, key_pts, key_seek: int64 [K], keyframes: place of the packet, time, and the time to
        seek to so as not to land behind it.
    exact: whether `pts` names every frame, so that a frame can be sought by its time.
    timed: whether the file keeps times at all.
    whole: whether the decoder has to be given every packet from the first on, in one thread.
    end: the time at which the last frame ends.
    rate: frames per second, as the container or the codec has it.
    declared: frames that the container promises, 0 if it does not say.
    declared_seconds: the duration that it promises for this stream, 0.0 if it does not say.
    """

    pts: IntArray
    order: IntArray
    key_order: IntArray
    key_pts: IntArray
    key_seek: IntArray
    exact: bool
    timed: bool
    whole: bool
    end: int
    rate: float
    time_base: Fraction
    declared: int
    declared_seconds: float

    @property
    def total(self) -> int:
        return len(self.pts)

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return float((self.end - int(self.pts[0])) * self.time_base)

    @property
    def end_seconds(self) -> float:
        """The end of the last frame on the file's own clock, which need not start at 0."""
        return max(self.duration, float(self.end * self.time_base))

    def seconds(self, positions: IntArray) -> FloatArray:
        """Presentation times of frames, counted from the first frame: float64, like `positions`."""
        return np.asarray((self.pts[positions] - self.pts[0]) * float(self.time_base))

    def all_seconds(self) -> FloatArray:
        """The times of all frames."""
        return self.seconds(np.arange(self.total))

    def nearest_keyframes(self, positions: IntArray) -> IntArray:
        """The positions of the keyframes nearest in time to `positions`, each once, ascending.

        None where no keyframe is shown: of a clip that was cut without coding it anew, the only one
        may lie before the cut.
        """
        keys = np.flatnonzero(np.isin(self.order, self.key_order))
        if not len(keys):
            return positions[:0]
        times, targets = self.pts[keys], self.pts[positions]
        after = np.clip(np.searchsorted(times, targets), 0, len(keys) - 1)
        before = np.clip(after - 1, 0, None)
        nearer_before = targets - times[before] <= np.abs(times[after] - targets)
        return np.unique(keys[np.where(nearer_before, before, after)])


@dataclass
class _Listing:
    """What the packets of a stream say, in the order of the file.

    shown: of each packet that is a frame to be seen, its pts, its place in the file, its duration.
    keys: of each keyframe its place in the file, its pts and its dts.
    hidden: packets that are no frame to be seen.
    whole: whether the decoder has to have seen every packet from the first on.
    """

    shown: list[tuple[int | None, int, int]] = field(default_factory=list)
    keys: list[tuple[int, int | None, int | None]] = field(default_factory=list)
    hidden: int = 0
    whole: bool = False


def _list_packets(container: InputContainer, stream: VideoStream) -> _Listing:
    listing = _Listing()
    for place, packet in enumerate(packets(container, stream)):
        if not place:
            listing.whole = _is_of_old_x264(packet, stream)
        if packet.is_keyframe:
            listing.keys.append((place, packet.pts, packet.dts))
        if packet.is_discard or _is_hidden(packet, stream):
            listing.hidden += 1
        elif not packet.is_corrupt:  # the piece of a packet at which a truncated file ends
            listing.shown.append((packet.pts, place, packet.duration or 0))
    return listing


def scan(path: str) -> Timeline:
    """Read a video's packets, decoding none, and lay out its frames in time.

    Containers' own frame counts are wrong or absent too often (truncated files, WebM) to be used,
    and their indices hold decoding times only; a pass over the packets costs a few microseconds
    each and gives exact positions for constant and variable rate, edit lists and any GOP. The last
    few files' are kept, as long as they are not touched.
    """
    about = os.stat(path)
    return _scan(path, (about.st_mtime_ns, about.st_size, about.st_ino))


@functools.lru_cache(maxsize=4)
def _scan(path: str, state: tuple[int, ...]) -> Timeline:
    with open_video(path) as (container, stream):
        listing = _list_packets(container, stream)
        if not listing.shown:
            refuse_undecodable(path)
        timed = _keeps_times(container, stream)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
        declared = _declared_frames(stream, listing.hidden)
        declared_seconds = _declared_seconds(container, stream)
        time_base = stream.time_base or Fraction(1, 1000)

    shown, keys = listing.shown, listing.keys
    timed = timed and all(pts is not None for pts, _, _ in shown)
    if not timed:
        shown = [(place, place, 0) for _, place, _ in shown]
    ordered = np.array(sorted((pts or 0, place, lasts) for pts, place, lasts in shown), np.int64)
    pts, order, lasts = ordered.T
    frame_time = max(1, round(1 / rate / time_base))
    key_pts = np.array([pts or 0 for _, pts, _ in keys], np.int64)
    timeline = Timeline(
        pts=pts,
        order=order,
        key_order=np.array([place for place, _, _ in keys], np.int64),
        key_pts=key_pts,
        # mp4 and avi look keyframes up by decoding time, others by presentation time; the earlier
        # of both never lands behind the keyframe, and landing before it costs reading only.
        key_seek=np.array(
            [min(t for t in (pts, dts, pts or 0) if t is not None) for _, pts, dts in keys],
            np.int64,
        ),
        exact=timed and not listing.whole and _names_every_frame(pts, keys, key_pts),
        timed=timed,
        whole=listing.whole,
        end=int(pts[-1]) + (int(lasts[-1]) or frame_time),
        rate=rate,
        time_base=time_base if timed else Fraction(1 / rate).limit_denominator(1_000_000),
        declared=declared,
        declared_seconds=declared_seconds,
    )
    for array in (pts, order, timeline.key_order, key_pts, timeline.key_seek):
        array.setflags(write=False)  # others are given the same
    return timeline


def _names_every_frame(
    pts: IntArray, keys: Sequence[tuple[int, int | None, int | None]], key_pts: IntArray
) -> bool:
    """Whether every frame can be sought by its time, from a keyframe shown no later."""
    return (
        bool(keys)
        and keys[0][0] == 0
        and all(key[1] is not None for key in keys)
        and bool(np.all(np.diff(pts) > 0))
        and bool(np.all(np.diff(key_pts) > 0))
        and bool(pts[0] >= key_pts[0])  # else the clip begins with frames that nothing precedes
    )


#: The first of x264's builds that codes 4:4:4 as the standard says.
_X264_OF_THE_STANDARD = 151


def _is_of_old_x264(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether this first packet names a build of x264 whose 4:4:4 a decoder reads rightly only
    when it knows the build. It stands here alone: a seek, or another thread, would lose it."""
    context = stream.codec_context
    if context.name != "h264" or not str(context.pix_fmt).startswith("yuv444"):
        return False
    found = re.search(rb"x264 - core (\d{1,6})", bytes(memoryview(packet)))
    return found is not None and int(found[1]) < _X264_OF_THE_STANDARD


def _is_hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether this packet shows no frame: a VP8 reference (bit 4 of its first byte is unset), or
    the blocks of a GIF that stand behind its last picture."""
    name = stream.codec_context.name
    if name in ("vp8", "libvpx"):
        return not memoryview(packet)[0] & 0x10
    return name == "gif" and not _has_gif_picture(bytes(memoryview(packet)))


def _has_gif_picture(data: bytes) -> bool:
    """Whether GIF blocks (GIF89a specification) hold an image descriptor, 0x2C."""
    at = 0
    if data[:3] == b"GIF" and len(data) > 12:
        at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at + 2 < len(data) and data[at] == 0x21:  # an extension: its label, then sub-blocks
        at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return at < len(data) and data[at] == 0x2C


def _keeps_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether packets' presentation times come from the file rather than from a guess.

    AVI, ASF and RealMedia keep decoding times, raw streams none; where frames are stored out of
    order, the guess is wrong.
    """
    name = container.format.name
    if name in ("avi", "asf", "rm"):
        context = stream.codec_context
        return not context.has_b_frames and context.name not in ("h264", "hevc")
    return name not in ("h264", "hevc", "m4v", "mpegvideo", "mjpeg")


def _declared_frames(stream: VideoStream, hidden: int) -> int:
    """How many frames the header says are shown; 0 if it does not say."""
    entries = len(getattr(stream, "index_entries", ()))  # absent from older PyAV
    if entries > 1:  # an edit list leaves frames out of the index, but not out of the count
        return max(0, min(stream.frames, entries) - hidden)
    return 0 if hidden else stream.frames


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The container's duration is this stream's only if no longer soundtrack can be behind it.
    if container.duration is not None and len(container.streams) == 1:
        return max(0.0, container.duration / 1_000_000)
    return 0.0
