"""Opens a video file with PyAV: its first true video stream, and that stream's packets.

Only video containers may be opened, so that a file from a stranger reads nothing but itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from free_video_llm.video.encryption import is_encrypted_file
from free_video_llm.video.source import check_pixels, check_readable, refuse

REMEDY = (
    "allowed are mp4, mov, mkv, webm, avi, gif and the like: "
    "convert it, say to H.264 in mp4, or fetch it again"
)
_BROKEN = "is not a video, or is damaged or cut off beyond use"

# FFmpeg would also "play" plain text (as a terminal), pictures, and playlists of other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,flv,asf,mpeg,mpegts,ogg,rm,mxf,nut,ivf,dv,"
    "h264,hevc,m4v,mpegvideo,mjpeg,yuv4mpegpipe"
)
_COVER_ART = 0x400
"""The bit of a stream's disposition that says "attached picture" (FFmpeg's numbering)."""


def refuse_undecodable(path: str, cause: BaseException | None = None) -> NoReturn:
    """Raise VideoError for a file that gives no frame."""
    refuse(path, "no frame can be decoded: it is damaged or cut off beyond use", REMEDY, cause)


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
        stream = _video_stream(container, path)
        if is_encrypted_file(path, container.format.name):
            refuse(path, "is encrypted (DRM)", "give a file without copy protection")
        check_pixels(path, stream.codec_context.width, stream.codec_context.height)
        yield container, stream


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


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The stream's packets in file order; at a break in the file, those before the break."""
    try:
        for packet in container.demux(stream):
            # An empty packet is a dropped frame or the end; a decoder would take it for the end.
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return
