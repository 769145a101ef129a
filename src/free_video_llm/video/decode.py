"""Bring chosen frames of a video file out of PyAV, exactly and with as little decoding as will do.

It knows files, packets and positions in a clip; which positions, what size and what becomes of a
frame are its caller's business (`read.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from free_video_llm.video.container import open_video, packets, refuse_undecodable
from free_video_llm.video.timeline import FloatArray, Timeline

Take = Callable[[int, VideoFrame], None]
"""What is done with a decoded frame; it is given the frame's position in the clip and the frame."""

_SEEK_COST = 8
"""Frames that could be decoded in the time of a seek, with its refilling of decoder threads."""


class LostFrameError(Exception):
    """A frame that the packets promise does not come out of the decoder."""


@dataclass(frozen=True)
class Run:
    """One stretch of decoding: start at keyframe number `key`, go on to the last of `positions`."""

    key: int
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Counted:
    """What a pass over every frame found: float64 [total] `seconds`, `duration`, how many packets
    could not be decoded, and how many frames the decoder marks as corrupt."""

    seconds: FloatArray
    duration: float
    bad_packets: int
    corrupt: int

    @property
    def total(self) -> int:
        return len(self.seconds)


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
) -> int:
    """Decode the frames at ascending, distinct positions, seeking where that is less work.

    Frames are the same, bit for bit, as those of a pass from the start. Returns how many of the
    frames that were decoded on the way the decoder marks as corrupt. Raises LostFrameError if
    the decoder disagrees with the packets; `take` may have been called for some frames by then.
    """
    corrupt = 0
    with open_video(path) as (container, stream):
        if alone:
            # A frame that is decoded alone gains nothing by frame threads, and they lose its mark.
            stream.thread_type = "SLICE"
        for number, run in enumerate(plan_runs(timeline, positions, alone=alone)):
            try:
                if number or run.key:
                    container.seek(int(timeline.key_seek[run.key]), stream=stream)
                corrupt += _decode_run(container, stream, timeline, run, take)
            except av.error.FFmpegError as error:
                raise LostFrameError(str(error)) from error
    return corrupt


def _decode_run(
    container: InputContainer, stream: VideoStream, timeline: Timeline, run: Run, take: Take
) -> int:
    """Returns how many of the run's frames the decoder marks as corrupt."""
    context: Any = stream.codec_context
    # The H.264 bitstream marks frames that no other needs: those need not be decoded to be passed.
    may_skip = context.name == "h264"
    start = int(timeline.key_pts[run.key])
    wanted = {int(timeline.pts[position]): position for position in run.positions}
    unfed = set(wanted)
    corrupt = 0

    def hand_over(frames: Sequence[VideoFrame]) -> None:
        nonlocal corrupt
        for frame in frames:
            corrupt += bool(frame.is_corrupt)
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
    return corrupt


def _packets_from(
    container: InputContainer, stream: VideoStream, key_pts: int
) -> Iterator[Packet[VideoStream]]:
    """The packets from the keyframe at `key_pts` on, wherever before it a seek has landed."""
    rest = packets(container, stream)
    for packet in rest:
        if packet.pts == key_pts:
            yield packet
            break
    yield from rest


def decode_counting(path: str, timeline: Timeline, positions: Sequence[int], take: Take) -> Counted:
    """Decode every frame from the start, count them, and take those at `positions`.

    For files whose packets do not name their frames, or name frames that do not decode. Packets
    that cannot be decoded are passed over: what can be had is kept.
    """
    chosen = set(positions)
    times: list[int | None] = []
    bad = corrupt = 0

    def count(frames: Sequence[VideoFrame]) -> None:
        nonlocal corrupt
        for frame in frames:
            corrupt += bool(frame.is_corrupt)
            if len(times) in chosen:
                take(len(times), frame)
            times.append(frame.pts)

    with open_video(path) as (container, stream):
        if timeline.whole:
            stream.thread_type = (
                "NONE"  # frame threads would not pass on what the first packet says
            )
        for packet in packets(container, stream):
            try:
                count(stream.decode(packet))
            except av.error.FFmpegError:
                bad += 1
        try:
            count(stream.decode(None))
        except av.error.FFmpegError:
            bad += 1
    if not times:
        refuse_undecodable(path)
    seconds = _counted_seconds(times, timeline)
    frame_time = float(seconds[-1]) / (len(seconds) - 1) if len(seconds) > 1 else 1 / timeline.rate
    return Counted(seconds, float(seconds[-1]) + frame_time, bad, corrupt)


def first_frame(container: InputContainer, stream: VideoStream, path: str) -> VideoFrame:
    """The first frame that a freshly opened stream gives; VideoError if it gives none."""
    try:
        for packet in container.demux(stream):
            for frame in stream.decode(packet):
                return frame
        refuse_undecodable(path)
    except av.error.FFmpegError as error:
        refuse_undecodable(path, error)


def _counted_seconds(times: list[int | None], timeline: Timeline) -> FloatArray:
    """Times of counted frames from the first; where the file keeps none, from the frame rate."""
    known = [time for time in times if time is not None]
    pts = np.array(known, np.float64)
    if timeline.timed and len(known) == len(times) and bool(np.all(np.diff(pts) > 0)):
        return np.asarray((pts - pts[0]) * float(timeline.time_base))
    return np.arange(len(times), dtype=np.float64) / timeline.rate
