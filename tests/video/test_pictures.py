"""Animations, pages, 16-bit pictures, and AVIF and HEIC that are not videos."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from free_video_llm.errors import VideoError
from free_video_llm.video.read import read_frames

COLOURS = ("red", "lime", "blue", "white", "black", "yellow")


def pictures(count: int = 6) -> list[Image.Image]:
    return [Image.new("RGB", (64, 64), colour) for colour in COLOURS[:count]]


def has(ending: str) -> bool:
    return f".{ending}" in Image.registered_extensions()


@pytest.mark.parametrize("ending", ["webp", "png", "apng", "avif", "gif"])
def test_an_animation_is_a_clip_with_its_own_times(tmp_path, ending):
    if not has(ending):
        pytest.skip(f"this Pillow writes no {ending}")
    first, *rest = pictures()
    path = tmp_path / f"a.{ending}"
    more = {"lossless": True} if ending == "webp" else {}
    durations = [100, 200, 300, 100, 200, 100]
    first.save(path, save_all=True, append_images=rest, duration=durations, **more)
    frames = read_frames(path, count=50, size=16)
    assert frames.total == 6
    assert frames.indices.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(frames.seconds, [0, 0.1, 0.3, 0.6, 0.7, 0.9], atol=1e-3)
    assert frames.duration == pytest.approx(1.0, abs=0.11)
    wanted = np.array([np.asarray(p.resize((1, 1)))[0, 0] for p in pictures()]).astype(int)
    assert np.abs(frames.pixels[:, 8, 8].astype(int) - wanted).max() < 40


def test_pages_of_a_tiff_are_a_second_each(tmp_path):
    first, *rest = pictures(3)
    first.save(tmp_path / "a.tiff", save_all=True, append_images=rest)
    frames = read_frames(tmp_path / "a.tiff", count=8, size=8)
    assert frames.seconds.tolist() == [0, 1, 2]
    assert frames.pixels[:, 4, 4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_an_animation_in_a_folder_is_one_picture_and_said_to_be(tmp_path):
    first, *rest = pictures()
    first.save(tmp_path / "1.png", save_all=True, append_images=rest)
    rest[0].save(tmp_path / "2.png")
    frames = read_frames(tmp_path, size=8)
    assert frames.total == 2
    assert frames.warnings == (
        "1 picture is an animation: only the first moment of each is looked at",
    )


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize(("value", "shown"), [(0, 0), (255, 0), (20_000, 78), (65_535, 255)])
def test_of_sixteen_bits_the_upper_eight_are_seen(tmp_path, ending, value, shown):
    grey = np.full((32, 32), value, np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{ending}")
    pixels = read_frames(tmp_path, size=16).pixels
    assert np.unique(pixels).tolist() == [shown]


def iso_picture(brand: bytes) -> bytes:
    """The beginning of an ISO picture that holds nothing."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0\0\0\x08free"


@pytest.mark.parametrize("name", ["a.heic", "a.mp4", "a.avif"])
@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_a_picture_in_iso_form_is_never_read_as_a_video(tmp_path, name, brand):
    """A grid of tiles, as telephones write it, would be seen as its first tile."""
    (tmp_path / name).write_bytes(iso_picture(brand))
    with pytest.raises(VideoError) as error:
        read_frames(tmp_path / name)
    text = str(error.value)
    assert "\n" not in text
    assert "cannot be read here" in text or "is not a whole picture" in text


def gif_with_comment(data: bytes, comment: bytes) -> bytes:
    """A comment block between a GIF's last picture and its end."""
    assert data[-1:] == b";"
    return data[:-1] + b"\x21\xfe" + bytes([len(comment)]) + comment + b"\0;"


def test_a_comment_behind_the_last_picture_of_a_gif_is_no_frame(tmp_path):
    first, second = pictures(2)
    path = tmp_path / "a.gif"
    first.save(path, save_all=True, append_images=[second], duration=500)
    path.write_bytes(gif_with_comment(path.read_bytes(), b"hi"))
    frames = read_frames(path, count=8, size=16)
    assert (frames.total, frames.duration) == (2, 1.0)
    assert frames.seconds.tolist() == [0, 0.5]
