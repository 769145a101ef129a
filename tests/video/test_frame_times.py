"""When frames are and how they stand: rotation, clocks, short clips, chosen frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from video_clips import TIMELESS, UNEVEN

from free_video_llm.errors import VideoError
from free_video_llm.video.read import probe, read_frames, uniform_indices
from media import decode_all, make_video, numbers_of, rotate_mp4, scaled

# --- rotation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["bicubic", "pil"])
@pytest.mark.parametrize(("degrees", "bright"), [(90, "top"), (180, "right"), (270, "bottom")])
def test_frames_are_turned_as_the_file_says(tmp_path, degrees, bright, resize):
    path = make_video(tmp_path / "turned.mp4", frames=2)
    stored = read_frames(path, indices=[1], size=32, resize=resize).pixels[0]
    rotate_mp4(path, degrees)
    frames = read_frames(path, indices=[1], size=32, resize=resize)
    # Frame 1 has its leftmost eighth bright.
    edges = {
        "top": frames.pixels[0, :2],
        "bottom": frames.pixels[0, -2:],
        "right": frames.pixels[0, :, -2:],
        "left": frames.pixels[0, :, :2],
    }
    assert {edge for edge, pixels in edges.items() if pixels.mean() > 150} == {bright}
    np.testing.assert_array_equal(frames.pixels[0], np.rot90(stored, -degrees // 90))
    size = (64, 48) if degrees == 180 else (48, 64)
    assert (frames.width, frames.height) == size
    info = probe(path)
    assert (info.width, info.height) == size
    assert info.rotation == -degrees % 360


# --- clocks ------------------------------------------------------------------------------------


def test_seconds_start_at_the_first_frame_whatever_the_clock(clips):
    frames = read_frames(clips / "variable.mkv", indices=[0, 1, 40, 119], size=16)
    expected = [(UNEVEN[n] - UNEVEN[0]) / 1000 for n in (0, 1, 40, 119)]
    np.testing.assert_allclose(frames.seconds, expected, atol=1e-3)
    assert expected[-1] < frames.duration < expected[-1] + 0.1


@pytest.mark.parametrize("name", TIMELESS)
def test_files_without_times_are_timed_by_their_rate(clips, name):
    frames = read_frames(clips / name, indices=[0, 1, 45, 89], size=16)
    np.testing.assert_allclose(frames.seconds, np.array([0, 1, 45, 89]) / 30, atol=1e-6)
    assert frames.duration == pytest.approx(3.0)


def test_frames_cut_away_by_an_edit_list_are_not_counted(tmp_path, no_counting):
    path = make_video(tmp_path / "edited.mp4", times=[33 * (n - 10) for n in range(60)])
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    frames = read_frames(path, size=32, resize="pil")
    pictures, _ = decode_all(path)
    assert frames.total == len(pictures) < 60
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 32))
    assert frames.warnings == ()


def test_duration_of_a_gif_counts_the_last_frames_own_time(clips):
    frames = read_frames(clips / "partial.gif", size=16)
    assert frames.duration == pytest.approx(sum(40 + 10 * (n % 5) for n in range(40)) / 1000)


# --- short clips, chosen frames ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["short.mp4", "short.webm", "short.gif", "short.avi", "short.mkv"])
@pytest.mark.parametrize("total", [1, 3, 11])
def test_a_clip_shorter_than_the_count_gives_as_many_frames_as_it_has(tmp_path, name, total):
    codec = {".webm": "libvpx", ".gif": "gif"}.get(Path(name).suffix, "libx264")
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    path = make_video(tmp_path / name, frames=total, codec=codec, pix_fmt=pix_fmt)
    frames = read_frames(path, count=50, size=32)
    assert len(frames) == frames.total == total
    assert frames.indices.tolist() == uniform_indices(total, 50).tolist()
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    assert frames.duration > 0


def test_chosen_indices_are_read_instead_of_uniform_ones(clips):
    frames = read_frames(clips / "constant.mp4", indices=[3, 3, 77, 110], size=32)
    assert frames.indices.tolist() == [3, 3, 77, 110]
    assert numbers_of(frames.pixels) == [3, 3, 77, 110]
    with pytest.raises(VideoError, match=r"frame 120 .* 120; choose indices from 0 to 119"):
        read_frames(clips / "constant.mp4", indices=[3, 120])


def test_progress_counts_up_to_the_frames_wanted(clips):
    calls = []
    for name in ("constant.mp4", "reordered.avi"):
        read_frames(clips / name, count=7, size=16, progress=lambda *call: calls.append(call))
    assert calls == 2 * [(done, 7) for done in range(1, 8)]
