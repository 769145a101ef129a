"""Frames are shown as every player shows them: all eight turns and mirrors, of every kind of file.

The red corner of a stored frame, top left, must come out where the display matrix puts it.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from free_video_llm.video.orientation import BY_EXIF, from_matrix
from free_video_llm.video.read import probe, read_frames
from media import make_video

WIDE, HIGH = 128, 96
#: EXIF's number, a display matrix (a, b, c, d) that does the same, the corner where red is shown.
SAME = [
    (1, (1, 0, 0, 1), "top left"),
    (2, (-1, 0, 0, 1), "top right"),
    (3, (-1, 0, 0, -1), "bottom right"),
    (4, (1, 0, 0, -1), "bottom left"),
    (5, (0, 1, 1, 0), "top left"),
    (6, (0, 1, -1, 0), "top right"),
    (7, (0, -1, -1, 0), "bottom right"),
    (8, (0, -1, 1, 0), "bottom left"),
]


def red_corner(_: int, wide: int, high: int) -> np.ndarray:
    pixels = np.zeros((high, wide, 3), np.uint8)
    pixels[: high // 2, : wide // 2, 0] = 255
    pixels[high // 2 :, : wide // 2, 2] = 255  # tells a mirror from a turn
    return pixels


def corners(pixels: np.ndarray, channel: int) -> str:
    """Where a colour is in a square picture."""
    half = len(pixels) // 2
    for name, part in {
        "top left": pixels[:half, :half], "top right": pixels[:half, half:],
        "bottom left": pixels[half:, :half], "bottom right": pixels[half:, half:],
    }.items():  # fmt: skip
        if part[..., channel].mean() > 120:
            return name
    return "nowhere"


def with_matrix(path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4's track header (ISO/IEC 14496-12, 8.3.2)."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + matrix + data[at + 36 :])


@pytest.mark.parametrize("resize", ["bicubic", "pil"])
@pytest.mark.parametrize(("exif", "matrix", "red"), SAME)
def test_video(tmp_path, exif, matrix, red, resize):
    path = make_video(tmp_path / "a.mp4", frames=3, width=WIDE, height=HIGH, picture=red_corner)
    with_matrix(path, *matrix)
    frames = read_frames(path, count=1, size=32, resize=resize)
    expected = BY_EXIF[exif].apply(red_corner(0, WIDE, HIGH))
    square = np.asarray(Image.fromarray(expected).resize((32, 32)))
    assert corners(frames.pixels[0], 0) == red
    assert corners(frames.pixels[0], 2) == corners(square, 2)
    assert (frames.height, frames.width) == expected.shape[:2]
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize(("exif", "_", "red"), SAME)
def test_pictures(tmp_path, exif, _, red, ending):
    if ending == "avif" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow reads no AVIF")
    tag = Image.Exif()
    tag[0x0112] = exif
    path = tmp_path / f"a.{ending}"
    Image.fromarray(red_corner(0, WIDE, HIGH)).save(path, exif=tag)
    frames = read_frames(path, size=32)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    assert corners(frames.pixels[0], 0) == red
    assert (frames.width, frames.height) == upright.size
    difference = np.abs(frames.pixels[0].astype(int) - np.asarray(upright.resize((32, 32))))
    assert difference.mean() < 3


@pytest.mark.parametrize(("exif", "matrix", "_"), SAME)
def test_a_matrix_and_an_exif_number_are_one_thing(exif, matrix, _):
    assert from_matrix(*matrix) == BY_EXIF[exif]


def test_an_angle_between_is_the_nearest_quarter():
    tilted = from_matrix(np.cos(0.1), np.sin(0.1), -np.sin(0.1), np.cos(0.1))
    assert tilted == BY_EXIF[1]
