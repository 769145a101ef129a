"""Clips of any length, made by the bench: a stretch of the drawn world, encoded once and repeated.

Repeating packets instead of encoding them anew makes an hour of 720p in seconds; a decoder has as
much to do with it as with an hour that was encoded whole.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from free_video_llm.tiny.videos import sample_clip, write_clip

FPS = 30
#: Standard deviation of the brightness that is added to every pixel of every frame.
GRAIN = 4.0


def make_clip(path: Path, *, seconds: int, gop: int, height: int, stretch: int = 10) -> Path:
    """An H.264 file of `seconds` at 16:9 and 30 frames a second, a keyframe every `gop` frames.

    `stretch` seconds are encoded, and their packets repeated; both they and `seconds` must be whole
    numbers of groups of pictures.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".stretch.mp4")
    _encode(source, seconds=min(stretch, seconds), gop=gop, height=height)
    unfinished = path.with_suffix(".unfinished.mp4")
    _repeat(source, unfinished, times=max(1, seconds // stretch))
    source.unlink()
    unfinished.replace(path)
    return path


def _encode(path: Path, *, seconds: int, gop: int, height: int) -> None:
    """Moving shapes, enlarged from a drawing of 270 lines, with grain so that frames cost as many
    bits as filmed ones (about 2 Mbit/s at 720 lines)."""
    rng = np.random.default_rng(7)
    drawn = write_clip(
        sample_clip(rng, frames=seconds * FPS, fps=FPS), path.with_suffix(".drawn.mp4"), rng,
        height=270,
    )  # fmt: skip
    width = round(height * 8 / 9) * 2
    grain = rng.normal(0, GRAIN, (8, height, width)).astype(np.float32)
    options = {"preset": "veryfast", "crf": "23", "x264-params": f"keyint={gop}:min-keyint={gop}"
               ":scenecut=0:open-gop=0"}  # fmt: skip
    with av.open(str(drawn)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            planes = frame.reformat(width=width, height=height, format="yuv420p").to_ndarray()
            noisy = planes[:height] + np.roll(grain[number % 8], 37 * number, axis=1)
            planes[:height] = np.clip(noisy, 0, 255)
            large = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            large.pts, large.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(large))
        out.mux(stream.encode(None))
    drawn.unlink()


def _repeat(source: Path, path: Path, *, times: int) -> None:
    with av.open(str(path), "w") as out:
        target = None
        for number in range(times):
            with av.open(str(source)) as part:
                stream = part.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                shift = number * stream.duration
                for packet in part.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = target
                    out.mux(packet)
