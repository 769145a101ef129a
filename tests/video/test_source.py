"""What is refused before it is opened, in one line, and what of a file is more than is decoded."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from free_video_llm.encoder.cache import content_hash
from free_video_llm.errors import VideoError
from free_video_llm.video import source
from free_video_llm.video.read import probe, read_frames
from media import make_video


def one_line(error: pytest.ExceptionInfo[VideoError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def make_fifo(folder: Path) -> str:
    os.mkfifo(folder / "f.mp4")
    return str(folder / "f.mp4")


def make_socket(folder: Path) -> str:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "s.mp4"))
    bound.close()
    return str(folder / "s.mp4")


def make_fifo_among_pictures(folder: Path) -> str:
    os.mkfifo(folder / "a.png")
    return str(folder)


@pytest.mark.parametrize("read", [read_frames, probe, content_hash])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_fifo, "is a pipe, not a regular file"),
        (make_socket, "is a socket, not a regular file"),
        (lambda _: "/dev/zero", "is a device, not a regular file"),
        (make_fifo_among_pictures, "is a pipe, not a regular file"),
    ],
)
def test_what_would_never_end_is_refused_by_its_kind(tmp_path, read, make, words):
    """Nobody writes into the pipe: opening it would wait for ever."""
    with pytest.raises(VideoError) as error:
        read(make(tmp_path))
    assert words in one_line(error)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://example.com/a.mp4", "https://example.com/a.mp4: addresses are not read"),
        (Path("https://example.com/a.mp4"), "https://example.com/a.mp4: addresses are not read"),
        ("rtsp://cam/1", "rtsp://cam/1: addresses are not read"),
        ("file:///tmp/a.mp4", "name the file itself: /tmp/a.mp4"),
    ],
)
def test_an_address_is_said_to_be_one(given, words):
    with pytest.raises(VideoError) as error:
        read_frames(given)
    assert words in one_line(error)


def test_a_file_whose_name_looks_like_an_address_is_read(tmp_path, monkeypatch):
    (tmp_path / "http:").mkdir()
    make_video(tmp_path / "http:" / "a.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    assert read_frames("http:/a.mp4", size=16).total == 3


def test_a_git_lfs_pointer_is_named(tmp_path):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(VideoError, match="is a Git LFS pointer"):
        read_frames(tmp_path / "a.mp4")


@pytest.mark.parametrize("ending", ["png", "webp", "gif"])
def test_more_pixels_than_the_limit_are_not_decoded(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(source, "MOST_PIXELS", 100 * 100)
    for wide, refused in ((100, False), (101, True)):
        path = tmp_path / f"{wide}.{ending}"
        Image.new("RGB", (wide, 100)).save(path)
        if not refused:
            assert read_frames(path, size=8).width == 100
            continue
        with pytest.raises(VideoError, match="101×100 pixels are more than") as error:
            read_frames(path, size=8)
        one_line(error)


def test_a_video_of_more_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", frames=2, width=128, height=96)
    monkeypatch.setattr(source, "MOST_PIXELS", 128 * 96 - 1)
    with pytest.raises(VideoError, match="128×96 pixels are more than"):
        read_frames(path, size=8)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    colours = np.zeros((800, 1200, 3), np.uint8)
    colours[:, :600] = (200, 30, 30)
    Image.fromarray(colours).save(tmp_path / "a.jpg")
    whole = read_frames(tmp_path / "a.jpg", size=32)
    monkeypatch.setattr("free_video_llm.video.source.MOST_PIXELS", 400 * 300)
    monkeypatch.setattr("free_video_llm.video.image_folder.MOST_PIXELS", 400 * 300)
    part = read_frames(tmp_path / "a.jpg", size=32)
    assert (part.width, part.height) == (whole.width, whole.height) == (1200, 800)
    assert np.abs(part.pixels.astype(int) - whole.pixels).mean() < 3


def test_the_limit_lets_8k_video_pass():
    source.check_pixels("8k.mp4", 7680, 4320)
    with pytest.raises(VideoError, match="50 million"):
        source.check_pixels("bomb.gif", 16_000, 16_000)
