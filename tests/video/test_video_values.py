"""Folders of pictures, memory, the values themselves, and looking around in folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from free_video_llm.video.read import (
    Frames,
    probe,
    read_frames,
    uniform_indices,
)
from media import make_pictures, make_video, numbers_of, scaled

# --- folders of pictures -----------------------------------------------------------------------


def test_a_folder_of_pictures_is_a_clip_in_natural_order(tmp_path):
    folder = make_pictures(tmp_path / "pictures", frames=30)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._000.png").write_text("not a picture either")
    for number in range(12):  # "7.png" before "10.png", and both after "007.png" was renamed away
        os.rename(folder / f"{number:03}.png", folder / f"{number}.png")
    os.rename(folder / "029.png", folder / "0.5.png")
    frames = read_frames(folder, count=8, size=32)
    order = [29, *range(29)]  # "0.5.png" before "0.png": a point before a letter
    assert frames.total == 30
    assert frames.indices.tolist() == uniform_indices(30, 8).tolist()
    assert numbers_of(frames.pixels) == [order[i] for i in frames.indices]
    np.testing.assert_array_equal(frames.seconds, frames.indices)
    assert (frames.width, frames.height, frames.duration) == (64, 48, 30.0)
    assert frames.source == str(folder)


def test_pictures_are_scaled_as_by_the_released_code_and_shown_upright(tmp_path):
    folder = make_pictures(tmp_path / "pictures", frames=2)
    plain = Image.open(folder / "001.png").convert("RGB")
    frames = read_frames(folder, indices=[1], size=32)
    np.testing.assert_array_equal(frames.pixels, scaled(np.asarray(plain)[None], 32))
    exif = plain.getexif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    plain.save(folder / "001.png", exif=exif)
    turned = read_frames(folder, indices=[1], size=32)
    assert (turned.width, turned.height) == (48, 64)
    assert turned.pixels[0, :2].mean() > 150 > turned.pixels[0, -2:].mean()


def test_one_picture_is_a_clip_of_one_frame(tmp_path):
    make_pictures(tmp_path, frames=6)
    frames = read_frames(tmp_path / "005.png", size=32)
    assert numbers_of(frames.pixels) == [5]
    assert (frames.total, len(frames)) == (1, 1)


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
@pytest.mark.parametrize("resize", ["bicubic", "pil"])
def test_full_size_frames_are_not_kept(tmp_path, resize):
    """32 frames of 1080p, 200 MB as RGB, may not need much more memory than two do."""

    def flat(number, width, height):
        return np.full((height, width, 3), 5 * number % 256, np.uint8)

    path = make_video(
        tmp_path / "large.mp4",
        frames=32,
        width=1920,
        height=1080,
        options={"preset": "ultrafast"},
        picture=flat,
    )
    # Not getrusage: its peak is inherited from the process that starts this one.
    script = (
        "import os, re, sys\n"
        # A decoder's threads each hold a frame or two: as many as on a machine of two cores.
        "two = lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])\n"
        "hasattr(os, 'sched_setaffinity') and two()\n"
        "from free_video_llm.video.read import read_frames\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', status())[1])\n"
        "read = lambda **how: read_frames(sys.argv[1], size=32, resize=sys.argv[2], **how)\n"
        "read(indices=[0, 31]); before = peak()\n"
        "frames = read(count=32); print(len(frames), peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), resize],
        capture_output=True,
        text=True,
        check=True,
    )
    count, grown = map(int, done.stdout.split())
    assert count == 32
    assert grown < 40_000  # kB; kept as they come from the decoder, they would be 100 MB


# --- values ------------------------------------------------------------------------------------


def make_frames(**changes):
    values = {
        "pixels": np.zeros((2, 8, 8, 3), np.uint8),
        "seconds": np.array([0.0, 0.5]),
        "indices": np.array([0, 12]),
        "total": 24,
        "duration": 1.0,
        "source": "clip.mp4",
        "width": 64,
        "height": 48,
    }
    return Frames(**{**values, **changes})


def test_frames_show_their_shape_and_not_their_data():
    frames = make_frames(warnings=("truncated",))
    assert len(frames) == 2
    assert repr(frames) == (
        "Frames(pixels=uint8[2, 8, 8, 3], of 24 frames 64×48 in 1.00 s, "
        "source='clip.mp4', 1 warning(s))"
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"pixels": np.zeros((2, 8, 8, 3))}, "pixels must be uint8"),
        ({"pixels": np.zeros((2, 8, 9, 3), np.uint8)}, "pixels must be uint8"),
        ({"pixels": np.zeros((2, 8, 8, 4), np.uint8)}, "RGB"),
        ({"pixels": np.zeros((0, 8, 8, 3), np.uint8)}, "at least one"),
        ({"seconds": np.array([0.0])}, r"seconds must be float64 \[2\]"),
        ({"seconds": np.array([0.5, 0.0])}, "seconds must ascend"),
        ({"indices": np.array([0.0, 1.0])}, r"indices must be int64 \[2\]"),
        ({"indices": np.array([3, 2])}, "indices must ascend"),
        ({"indices": np.array([0, 24])}, "between 0 and 23"),
        ({"indices": np.array([-1, 2])}, "between 0 and 23"),
        ({"width": 0}, "width and height"),
    ],
)
def test_frames_check_themselves(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_frames(**changes)


# --- looking around ----------------------------------------------------------------------------


def test_probe_tells_what_a_file_is(clips, tmp_path):
    info = probe(clips / "constant.mp4")
    assert (info.width, info.height, info.codec, info.rotation) == (64, 48, "h264", 0)
    indexed = hasattr(av.stream.Stream, "index_entries")  # absent from older PyAV
    assert (info.total, info.fps) == (120, 30.0)
    assert info.keyframes == (4 if indexed else None)
    assert info.duration == pytest.approx(120 / 30, abs=0.01)
    assert info.source == str(clips / "constant.mp4")
    webm = probe(clips / "vp9.webm")  # declares no number of frames
    assert abs(webm.total - 120) <= 1
    pictures = probe(make_pictures(tmp_path / "pictures", frames=4))
    assert (pictures.codec, pictures.total, pictures.width) == ("images", 4, 64)


def test_reading_videos_needs_no_model_library():
    script = (
        "import sys, free_video_llm.video.read; print(*{'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
