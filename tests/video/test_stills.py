"""Frames as they are seen: the very ones, cut and scaled, from every kind of source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from free_video_llm.video.read import read_frames
from free_video_llm.video.stills import Still, fitting, read_stills
from media import cut, decode_all, make_gif, make_pictures, make_video, numbers_of, rotate_mp4

MANY = 10**9


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("stills") / "clip.mp4", frames=60, gop=12)


def test_they_are_the_decoder_s_own_frames(clip: Path):
    frames = read_frames(clip, count=7, size=28)
    wanted = [Still(5), Still(0), Still(3)]
    stills = read_stills(frames, wanted, most_pixels=MANY)
    whole, _ = decode_all(clip)
    for still, pixels in zip(wanted, stills, strict=True):
        np.testing.assert_array_equal(pixels, whole[frames.indices[still.index]])


def test_a_part_is_cut_from_the_whole_frame(clip: Path):
    frames = read_frames(clip, count=3, size=28)
    region = (0.25, 0.5, 0.75, 1.0)
    part, whole = read_stills(frames, [Still(1, region), Still(1)], most_pixels=MANY)
    np.testing.assert_array_equal(part, whole[24:48, 16:48])


def test_they_are_scaled_to_what_is_allowed(clip: Path):
    frames = read_frames(clip, count=3, size=28)
    (still,) = read_stills(frames, [Still(1)], most_pixels=800)
    assert still.shape == (24, 32, 3)
    (same,) = read_stills(frames, [Still(1)], most_pixels=64 * 48)
    assert same.shape == (48, 64, 3)


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 10_000_000))
@settings(max_examples=300, deadline=None)
def test_no_size_has_more_pixels_than_allowed(width: int, height: int, most: int):
    wide, high = fitting(width, height, most)
    assert 1 <= wide <= width
    assert 1 <= high <= height
    assert wide * high <= most


def test_a_turned_video_is_seen_upright(tmp_path: Path):
    path = rotate_mp4(make_video(tmp_path / "turned.mp4", frames=5), 90)
    frames = read_frames(path, count=2, size=28)
    (still,) = read_stills(frames, [Still(0)], most_pixels=MANY)
    assert still.shape == (64, 48, 3) == (frames.height, frames.width, 3)


def test_pictures_and_animations(tmp_path: Path):
    folder = make_pictures(tmp_path / "pictures", frames=6)
    animation = make_gif(tmp_path / "moving.gif", frames=12)
    for source in (folder, animation):
        frames = read_frames(source, count=4, size=28)
        stills = read_stills(frames, [Still(3), Still(1)], most_pixels=MANY)
        assert numbers_of(np.stack(stills)) == [frames.indices[3], frames.indices[1]]


def test_a_damaged_video_gives_the_frames_that_were_counted(clip: Path, tmp_path: Path):
    short = cut(clip, tmp_path / "short.mkv", 1.0)
    frames = read_frames(short, count=4, size=28)
    stills = read_stills(frames, [Still(i) for i in range(4)], most_pixels=MANY)
    assert numbers_of(np.stack(stills)) == frames.indices.tolist()


def test_a_source_that_is_gone_gives_the_small_frames(clip: Path, tmp_path: Path):
    path = tmp_path / "gone.mp4"
    path.write_bytes(clip.read_bytes())
    frames = read_frames(path, count=3, size=56)
    path.unlink()
    whole, part = read_stills(frames, [Still(1), Still(1, (0.0, 0.0, 0.5, 0.5))], most_pixels=MANY)
    assert whole.shape == (42, 56, 3)
    assert part.shape == (21, 28, 3)
    small = Image.fromarray(frames.pixels[1]).resize((56, 42), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(whole, np.asarray(small))


@pytest.mark.parametrize(
    "still",
    [Still(3), Still(-1), Still(0, (0.5, 0, 0.5, 1)), Still(0, (0, 0, 1.5, 1))],
)
def test_what_is_not_there_cannot_be_wanted(clip: Path, still: Still):
    frames = read_frames(clip, count=3, size=28)
    with pytest.raises(ValueError, match="is not within 3 frames"):
        read_stills(frames, [still], most_pixels=100)
    with pytest.raises(ValueError, match="1 or more"):
        read_stills(frames, [], most_pixels=0)
