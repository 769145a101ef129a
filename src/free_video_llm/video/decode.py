"""Bring chosen frames of a video file out of PyAV, exactly and with as little decoding as will do.

It knows files, packets and positions in a clip; which positions, what size and what becomes of a
frame are its caller's business (`video.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from free_video_llm.errors import VideoError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Take = Callable[[int, VideoFrame], None]
"""What is done with a decoded frame; it is given the frame's position in the clip and the frame."""

REMEDY = (
    "allowed are mp4, mov, mkv, webm, avi, gif and the like: "
    "convert it, say to H.264 in mp4, or fetch it again"
)
_BROKEN = "is not a video, or is damaged or cut off beyond use"

# FFmpeg would also "play" plain text (as a terminal), pictures, and playlists of other files. Only
# video containers may be opened, so that a file from a stranger reads nothing but itself.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,flv,asf,mpeg,mpegts,ogg,rm,mxf,nut,ivf,dv,"
    "h264,hevc,m4v,mpegvideo,mjpeg,yuv4mpegpipe"
)
_COVER_ART = 0x400
"""The bit of a stream's disposition that says "attached picture" (FFmpeg's numbering)."""
_SEEK_COST = 8
"""Frames that could be decoded in the time of a seek, with its refilling of decoder threads."""


class LostFrameError(Exception):
    """A frame that the packets promise does not come out of the decoder."""


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

    def nearest_keyframes(self, positions: IntArray) -> IntArray:
        """The positions of the keyframes nearest in time to `positions`, each once, ascending."""
        keys = np.flatnonzero(np.isin(self.order, self.key_order))
        times, targets = self.pts[keys], self.pts[positions]
        after = np.clip(np.searchsorted(times, targets), 0, len(keys) - 1)
        before = np.clip(after - 1, 0, None)
        nearer_before = targets - times[before] <= np.abs(times[after] - targets)
        return np.unique(keys[np.where(nearer_before, before, after)])


@dataclass(frozen=True)
class Run:
    """One stretch of decoding: start at keyframe number `key`, go on to the last of `positions`."""

    key: int
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Counted:
    """What a pass over every frame found: float64 [total] `seconds`, `duration`, bad `packets`."""

    seconds: FloatArray
    duration: float
    bad_packets: int

    @property
    def total(self) -> int:
        return len(self.seconds)


def refuse(path: str, what: str, remedy: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the one-line VideoError for a file or folder."""
    raise VideoError(f"{path}: {what}; {remedy}") from cause


def _refuse_undecodable(path: str, cause: BaseException | None = None) -> NoReturn:
    refuse(path, "no frame can be decoded: it is damaged or cut off beyond use", REMEDY, cause)


def check_readable(path: str) -> None:
    """Raise VideoError unless `path` is a file with something in it that may be read."""
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        refuse(path, "there is no such file or folder", "check the path", error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        refuse(path, f"cannot be read ({reason})", "check its permissions", error)
    if empty:
        refuse(path, "the file is empty (0 bytes)", "copy or download it again")


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file's first true video stream (cover art is not one); VideoError if there is none."""
    check_readable(path)
    try:
        container = av.open(
            os.path.abspath(path),  # so that "take:1.mp4" is not read as a protocol named "take"
            metadata_errors="replace",  # a title in an old encoding must not cost the clip
            container_options={"format_whitelist": _FORMATS},
        )
    except (av.error.FFmpegError, ValueError) as error:
        refuse(path, _BROKEN, REMEDY, error)
    with container:
        yield container, _video_stream(container, path)


def _video_stream(container: InputContainer, path: str) -> VideoStream:
    videos = [s for s in container.streams.video if not s.disposition.value & _COVER_ART]
    if not container.streams:
        refuse(path, _BROKEN, REMEDY)
    if not videos:
        refuse(path, "has no video stream (only sound or data)", REMEDY)
    if getattr(videos[0], "codec_context", None) is None:
        refuse(path, "its video codec is unknown here", REMEDY)
    videos[0].thread_type = "AUTO"
    return videos[0]


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The stream's packets in file order; at a break in the file, those before the break."""
    try:
        for packet in container.demux(stream):
            # An empty packet is a dropped frame or the end; a decoder would take it for the end.
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def scan(path: str) -> Timeline:
    """Read a video's packets, decoding none, and lay out its frames in time.

    Containers' own frame counts are wrong or absent too often (truncated files, WebM) to be used,
    and their indices hold decoding times only; a pass over the packets costs a few microseconds
    each and gives exact positions for constant and variable rate, edit lists and any GOP.
    """
    shown: list[tuple[int | None, int, int]] = []  # pts, place in the file, duration
    keys: list[tuple[int, int | None, int | None]] = []  # place in the file, pts, dts
    hidden = 0
    place = -1
    with open_video(path) as (container, stream):
        for place, packet in enumerate(_packets(container, stream)):
            if packet.is_keyframe:
                keys.append((place, packet.pts, packet.dts))
            if packet.is_discard or _is_hidden(packet, stream):
                hidden += 1
            elif not packet.is_corrupt:  # the piece of a packet at which a truncated file ends
                shown.append((packet.pts, place, packet.duration or 0))
        if not shown:
            _refuse_undecodable(path)
        timed = _keeps_times(container, stream)
        rate = float(stream.guessed_rate or stream.average_rate or 25)
        declared = _declared_frames(stream, hidden)
        declared_seconds = _declared_seconds(container, stream)
        time_base = stream.time_base or Fraction(1, 1000)

    timed = timed and all(pts is not None for pts, _, _ in shown)
    if not timed:
        shown = [(place, place, 0) for _, place, _ in shown]
    ordered = np.array(sorted((pts or 0, place, lasts) for pts, place, lasts in shown), np.int64)
    pts, order, lasts = ordered.T
    frame_time = max(1, round(1 / rate / time_base))
    key_pts = np.array([pts or 0 for _, pts, _ in keys], np.int64)
    exact = (
        timed
        and bool(keys)
        and keys[0][0] == 0
        and all(key[1] is not None for key in keys)
        and bool(np.all(np.diff(pts) > 0))
        and bool(np.all(np.diff(key_pts) > 0))
        and bool(pts[0] >= key_pts[0])  # else the clip begins with frames that nothing precedes
    )
    return Timeline(
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
        exact=exact,
        timed=timed,
        end=int(pts[-1]) + (int(lasts[-1]) or frame_time),
        rate=rate,
        time_base=time_base if timed else Fraction(1 / rate).limit_denominator(1_000_000),
        declared=declared,
        declared_seconds=declared_seconds,
    )


def _is_hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether this is a VP8 reference that is never shown (bit 4 of its first byte is unset)."""
    return stream.codec_context.name in ("vp8", "libvpx") and not memoryview(packet)[0] & 0x10


def _keeps_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether packets' presentation times come from the file rather than from a guess.

    AVI and raw streams keep none; where frames are stored out of order, the guess is wrong.
    """
    name = container.format.name
    if name == "avi":
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


def plan_runs(timeline: Timeline, positions: Sequence[int], *, alone: bool = False) -> list[Run]:
    """Divide ascending positions into runs: go on decoding, or seek, whichever is less work.

    A run starts at the last keyframe shown no later than its first frame, rather than stored before
    it: a frame stored after a keyframe but shown before it may lean on the group before. With
    `alone`, every frame has its own run, as befits keyframes.
    """
    runs: list[Run] = []
    reached = -1  # the place in the file up to which packets are decoded
    for position in positions:
        place, time = timeline.order[position], timeline.pts[position]
        key = int(np.searchsorted(timeline.key_pts, time, side="right")) - 1
        by_seeking = place - timeline.key_order[key] + _SEEK_COST
        if runs and not alone and place - reached <= by_seeking:
            runs[-1] = Run(runs[-1].key, (*runs[-1].positions, position))
            reached = max(reached, int(place))
        else:
            runs.append(Run(key, (position,)))
            reached = int(place)
    return runs


def decode_exact(
    path: str, timeline: Timeline, positions: Sequence[int], take: Take, *, alone: bool = False
) -> None:
    """Decode the frames at ascending, distinct positions, seeking where that is less work.

    Frames are the same, bit for bit, as those of a pass from the start. Raises LostFrameError if
    the decoder disagrees with the packets; `take` may have been called for some frames by then.
    """
    with open_video(path) as (container, stream):
        for number, run in enumerate(plan_runs(timeline, positions, alone=alone)):
            try:
                if number or run.key:
                    container.seek(int(timeline.key_seek[run.key]), stream=stream)
                _decode_run(container, stream, timeline, run, take)
            except av.error.FFmpegError as error:
                raise LostFrameError(str(error)) from error


def _decode_run(
    container: InputContainer, stream: VideoStream, timeline: Timeline, run: Run, take: Take
) -> None:
    context: Any = stream.codec_context
    # The H.264 bitstream marks frames that no other needs: those need not be decoded to be passed.
    may_skip = context.name == "h264"
    start = int(timeline.key_pts[run.key])
    wanted = {int(timeline.pts[position]): position for position in run.positions}
    unfed = set(wanted)

    def hand_over(frames: Sequence[VideoFrame]) -> None:
        for frame in frames:
            # Some files call every packet a keyframe; starting at another would give grey smears.
            if frame.pts == start and not frame.key_frame:
                raise LostFrameError("this is no place to start decoding")
            if frame.pts in wanted:
                take(wanted.pop(frame.pts), frame)

    for packet in _packets_from(container, stream, start):
        if may_skip:
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        hand_over(stream.decode(packet))
        if packet.pts is not None:
            unfed.discard(packet.pts)
        if not unfed:
            break
    if wanted:  # still inside the decoder: reordered, or with one of its threads
        hand_over(stream.decode(None))
    if wanted:
        raise LostFrameError(f"no frame at {min(wanted)}")


def _packets_from(
    container: InputContainer, stream: VideoStream, key_pts: int
) -> Iterator[Packet[VideoStream]]:
    """The packets from the keyframe at `key_pts` on, wherever before it a seek has landed."""
    packets = _packets(container, stream)
    for packet in packets:
        if packet.pts == key_pts:
            yield packet
            break
    yield from packets


def decode_counting(path: str, timeline: Timeline, positions: Sequence[int], take: Take) -> Counted:
    """Decode every frame from the start, count them, and take those at `positions`.

    For files whose packets do not name their frames, or name frames that do not decode. Packets
    that cannot be decoded are passed over: what can be had is kept.
    """
    chosen = set(positions)
    times: list[int | None] = []
    bad = 0

    def count(frames: Sequence[VideoFrame]) -> None:
        for frame in frames:
            if len(times) in chosen:
                take(len(times), frame)
            times.append(frame.pts)

    with open_video(path) as (container, stream):
        for packet in _packets(container, stream):
            try:
                count(stream.decode(packet))
            except av.error.FFmpegError:
                bad += 1
        try:
            count(stream.decode(None))
        except av.error.FFmpegError:
            bad += 1
    if not times:
        _refuse_undecodable(path)
    seconds = _counted_seconds(times, timeline)
    frame_time = float(seconds[-1]) / (len(seconds) - 1) if len(seconds) > 1 else 1 / timeline.rate
    return Counted(seconds, float(seconds[-1]) + frame_time, bad)


def first_frame(container: InputContainer, stream: VideoStream, path: str) -> VideoFrame:
    """The first frame that a freshly opened stream gives; VideoError if it gives none."""
    try:
        for packet in container.demux(stream):
            for frame in stream.decode(packet):
                return frame
    except av.error.FFmpegError as error:
        _refuse_undecodable(path, error)
    _refuse_undecodable(path)


def _counted_seconds(times: list[int | None], timeline: Timeline) -> FloatArray:
    """Times of counted frames from the first; where the file keeps none, from the frame rate."""
    known = [time for time in times if time is not None]
    pts = np.array(known, np.float64)
    if timeline.timed and len(known) == len(times) and bool(np.all(np.diff(pts) > 0)):
        return np.asarray((pts - pts[0]) * float(timeline.time_base))
    return np.arange(len(times), dtype=np.float64) / timeline.rate
