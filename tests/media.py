"""Small media files for tests, made on the spot: each frame shows its own number.

A frame is eight upright bars, light for the set bits of its number and dark for the others, so that
the number survives lossy coding and scaling and can be read back from the pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Picture = Callable[[int, int, int], Pixels]


def numbered(number: int, width: int = 64, height: int = 48) -> Pixels:
    """uint8 [height, width, 3]: the picture of a number from 0 to 255."""
    columns = np.arange(width) * 8 // width
    bars = np.where(number >> columns & 1, 224, 32).astype(np.uint8)
    return np.broadcast_to(bars[None, :, None], (height, width, 3)).copy()


def number_of(pixels: Pixels) -> int:
    """The number that a picture shows, at any size."""
    bars = np.array_split(pixels.astype(float).mean(axis=(0, 2)), 8)
    return sum((bar.mean() > 128) << bit for bit, bar in enumerate(bars))


def numbers_of(pixels: Pixels) -> list[int]:
    """The numbers that pictures [T, height, width, 3] show."""
    return [number_of(picture) for picture in pixels]


def make_video(
    path: Path,
    *,
    frames: int = 60,
    codec: str = "libx264",
    width: int = 64,
    height: int = 48,
    rate: int = 30,
    gop: int = 12,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    picture: Picture = numbered,
    sound: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode numbered frames. `times`: their presentation times in milliseconds (variable rate)."""
    time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
    with av.open(
        str(path), "w", format=container_format, container_options=container_options or {}
    ) as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size = gop
        stream.time_base = stream.codec_context.time_base = time_base
        voice = out.add_stream("aac", rate=16000) if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = (number if times is None else times[number]), time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice is not None:
            _mux_silence(out, voice)
    return path


def make_sound(path: Path, *, cover: bool = False) -> Path:
    """A file with sound only; with `cover`, a song with a picture of its record."""
    with av.open(str(path), "w") as out:
        voice = out.add_stream("aac", rate=16000)
        if cover:
            art = out.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 32, 32, "yuvj420p"
            art.disposition = Disposition.attached_pic.value
            picture = av.VideoFrame.from_ndarray(numbered(255, 32, 32), format="rgb24")
            picture = picture.reformat(format="yuvj420p")
            picture.pts = 0
            out.mux(art.encode(picture) + art.encode(None))
        _mux_silence(out, voice)
    return path


def _mux_silence(out, voice) -> None:
    for block in range(4):
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.rate, frame.pts = 16000, block * 1024
        out.mux(voice.encode(frame))
    out.mux(voice.encode(None))


def make_gif(path: Path, *, frames: int = 40) -> Path:
    """A GIF by Pillow, whose frames hold only what changed, shown for different times."""
    pictures = [Image.fromarray(numbered(number)) for number in range(frames)]
    durations = [40 + 10 * (number % 5) for number in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return path


def make_pictures(folder: Path, *, frames: int, suffix: str = ".png") -> Path:
    """A folder of numbered pictures, 000.png and on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        Image.fromarray(numbered(number)).save(folder / f"{number:03d}{suffix}")
    return folder


def rotate_mp4(path: Path, degrees_clockwise: int) -> Path:
    """Write a turn into the display matrix of an mp4's track header, as telephones do."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    one = 1 << 16
    matrix = (cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4
    start = header + 40  # version 0: flags, five times and ids, reserved, layer, group, volume
    assert struct.unpack_from(">9i", data, start) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, start, *matrix)
    path.write_bytes(data)
    return path


def remux(source: Path, target: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """Copy a video packet by packet, each one's bytes as `change(place, bytes)` gives them.

    A packet changed to nothing is left out.
    """
    with av.open(str(source)) as inp, av.open(str(target), "w") as out:
        old = inp.streams.video[0]
        new = out.add_stream_from_template(old)
        for place, packet in enumerate(p for p in inp.demux(old) if p.size):
            copy = av.Packet(change(place, bytes(packet)))
            if not copy.size:
                continue
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, new
            out.mux(copy)
    return target


def cut(source: Path, target: Path, share: float) -> Path:
    """The first `share` of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@cache
def decode_all(path: Path) -> tuple[Pixels, list[float]]:
    """Every frame, decoded plainly from the start: uint8 [N, height, width, 3], and its time.

    What a reader that seeks and skips has to agree with, written without it.
    """
    with av.open(str(path)) as container:
        frames = [(f.to_ndarray(format="rgb24"), f.time) for f in container.decode(video=0)]
    first = frames[0][1]
    times = [time - first if time is not None else float("nan") for _, time in frames]
    return np.stack([pixels for pixels, _ in frames]), times


def scaled(pictures: Pixels, size: int) -> Pixels:
    """Pictures scaled one by one as the released code does: Pillow's bicubic, aspect ignored."""
    return np.stack(
        [np.asarray(Image.fromarray(p).resize((size, size), Image.BICUBIC)) for p in pictures]
    )
