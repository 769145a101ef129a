"""Which frames `read_frames` gives, to the bit: positions, pixels, seeking, keyframes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import av
import numpy as np
import pytest
from video_clips import GOLDEN, IMPRECISE, SEEKABLE, SHARED, TIMELESS, assert_same_as_plain_decoding

from free_video_llm.video import decode
from free_video_llm.video import timeline as timeline_module
from free_video_llm.video.read import read_frames, released_indices, uniform_indices
from media import decode_all, make_video, numbers_of, remux, scaled

# --- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_positions_are_those_of_the_released_code(name):
    record = SHARED / "golden" / f"{name}.json"
    if not record.exists():
        pytest.skip(f"no golden record {record}: set FVL_SHARED")
    golden = json.loads(record.read_text())
    clip = SHARED / "data" / "clips" / golden["video"]
    frames = read_frames(clip, count=golden["num_frames"], size=8, rules="released")
    assert frames.total == golden["total_frames"]
    assert frames.indices.tolist() == golden["frame_indices"]


def test_positions_follow_the_formula_with_halves_rounded_to_even():
    for total in (*range(1, 130), 376, 828, 18000):
        for count in (1, 2, 3, 8, 50, 64):
            frames = min(total, count)
            seg = (total - 1) / frames
            formula = [(round(seg * i) + round(seg * (i + 1))) // 2 for i in range(frames)]
            assert released_indices(total, count).tolist() == formula
    assert released_indices(2, 2).tolist() == [0, 0]  # round(0.5) is 0, not 1
    assert released_indices(10, 3).dtype == np.int64


def test_corrected_positions_see_every_frame_of_a_short_clip_once_and_the_last_one_always():
    for total in range(1, 130):
        for count in (1, 2, 3, 8, 50, 64):
            positions = uniform_indices(total, count).tolist()
            assert len(set(positions)) == len(positions) == min(total, count)
            if count > 1 and total <= 2 * count:
                assert (positions[0], positions[-1]) == (0, total - 1)
            if total <= count:
                assert positions == list(range(total))
            if total > 2 * count:
                assert positions == released_indices(total, count).tolist()
            released = uniform_indices(total, count, rules="released").tolist()
            assert released == released_indices(total, count).tolist()
    assert uniform_indices(7, 5).tolist() == [0, 2, 3, 4, 6]  # round(1.5) is 2, round(4.5) is 4


@pytest.mark.parametrize(("total", "count"), [(0, 5), (5, 0), (-1, 5)])
def test_positions_need_a_clip_and_a_count(total, count):
    with pytest.raises(ValueError, match="at least 1"):
        uniform_indices(total, count)


# --- pixels ------------------------------------------------------------------------------------


def test_pixels_equal_the_released_code_with_pil_and_come_near_with_bicubic():
    record = SHARED / "golden" / "paper_2648.npz"
    if not record.exists():
        pytest.skip(f"no golden record {record}: set FVL_SHARED")
    golden = np.load(record)["frames_336"]
    clip = SHARED / "data" / "clips" / "ysTmUTQ5wZE_17_45.mp4"
    as_released = read_frames(clip, rules="released")
    np.testing.assert_array_equal(as_released.pixels, golden)
    assert as_released.as_released
    assert as_released.resize == "pil"
    assert not read_frames(clip).as_released
    difference = np.abs(read_frames(clip, resize="bicubic").pixels.astype(int) - golden)
    assert 0 < difference.mean() < 0.8
    assert difference.max() <= 20


@pytest.mark.parametrize("resize", ["bicubic", "pil"])
def test_aspect_is_ignored_and_size_is_what_was_asked_for(clips, resize):
    frames = read_frames(clips / "constant.mp4", count=3, size=40, resize=resize)
    assert frames.pixels.shape == (3, 40, 40, 3)
    assert frames.pixels.dtype == np.uint8
    assert (frames.width, frames.height) == (64, 48)
    assert numbers_of(frames.pixels) == frames.indices.tolist()


def test_color_channels_are_red_green_blue(tmp_path):
    def red(number, width, height):
        return np.full((height, width, 3), (220, 30, 30), np.uint8)

    frames = read_frames(make_video(tmp_path / "red.mp4", frames=3, picture=red), size=16)
    assert np.abs(frames.pixels.astype(int) - (220, 30, 30)).max() < 12


# --- exactness ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SEEKABLE, "partial.gif"])
def test_frames_of_every_container_are_exact(clips, name, no_counting):
    for count in (4, 60):
        frames = read_frames(clips / name, count=count, size=32, resize="pil")
        assert frames.indices.tolist() == uniform_indices(frames.total, count).tolist()
        assert_same_as_plain_decoding(frames, clips / name)
        assert frames.warnings == ()


@pytest.mark.parametrize("name", [*IMPRECISE, *TIMELESS])
def test_frames_of_files_that_have_to_be_counted_are_exact(clips, name):
    for indices in (uniform_indices(90, 4), uniform_indices(90, 60), [59], [89]):
        frames = read_frames(clips / name, indices=indices, size=32, resize="pil")
        assert frames.total == 90
        assert_same_as_plain_decoding(frames, clips / name)
        assert frames.warnings == ()


@pytest.mark.parametrize("name", SEEKABLE)
def test_any_single_frame_can_be_sought_exactly(clips, name, no_counting):
    for index in (0, 1, 28, 29, 30, 31, 59, 60, 87, 118, 119):
        frames = read_frames(clips / name, indices=[index], size=32, resize="pil")
        assert_same_as_plain_decoding(frames, clips / name)


def test_work_is_the_lesser_of_seeking_and_going_on(clips):
    def runs(name, count):
        timeline = timeline_module.scan(str(clips / name))
        return decode.plan_runs(timeline, uniform_indices(timeline.total, count).tolist())

    # Keyframes are 30 apart: 4 targets lie in groups of their own, 40 are 3 frames apart.
    assert [run.key for run in runs("constant.mp4", 4)] == [0, 1, 2, 3]
    assert [run.key for run in runs("constant.mp4", 40)] == [0]
    # One group: nothing is gained by going back to its start.
    assert len(runs("partial.gif", 4)) == 1
    # Every frame a keyframe: seek to each if they are far apart.
    assert len(runs("jpeg.mov", 4)) == 4


def test_seeking_decodes_only_what_leads_to_the_target(clips, monkeypatch, no_counting):
    fed = []
    packets_from = decode._packets_from

    def count_packets(container, stream, key_pts):
        for packet in packets_from(container, stream, key_pts):
            fed.append(packet.pts)
            yield packet

    monkeypatch.setattr(decode, "_packets_from", count_packets)
    frames = read_frames(clips / "constant.mp4", indices=[95], size=16)
    assert numbers_of(frames.pixels) == [95]
    assert 1 <= len(fed) <= 10  # keyframe 90, and on to 95 with what it refers to


def test_a_seek_that_lands_too_late_costs_time_but_not_exactness(clips, monkeypatch):
    def late(path):
        timeline = scan(path)
        return replace(timeline, key_seek=np.full_like(timeline.key_seek, timeline.key_pts[-1]))

    scan = timeline_module.scan
    monkeypatch.setattr("free_video_llm.video.read.scan", late)
    frames = read_frames(clips / "constant.mp4", count=4, size=32, resize="pil")
    assert_same_as_plain_decoding(frames, clips / "constant.mp4")


def test_a_file_that_calls_every_packet_a_keyframe_is_not_believed(tmp_path):
    path = make_video(tmp_path / "liar.mp4", codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # without it, all are keyframes
    assert len(timeline_module.scan(str(path)).key_pts) == 60
    frames = read_frames(path, count=4, size=32, resize="pil")
    assert_same_as_plain_decoding(frames, path)


def test_a_clip_that_begins_with_frames_leaning_on_what_is_gone(clips, tmp_path):
    """The second group of an open one starts with frames that refer to the first."""
    with av.open(str(clips / "open.mkv")) as container:
        places = [p.is_keyframe for p in container.demux(video=0) if p.size]
    second = places.index(True, 1)
    path = remux(clips / "open.mkv", tmp_path / "rest.mkv", lambda n, b: b if n >= second else b"")
    frames = read_frames(path, count=7, size=32, resize="pil")
    pictures, _ = decode_all(path)
    assert frames.total == len(pictures) < len(places) - second
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 32))


def test_threads_do_not_disturb_each_other(clips):
    names = ["constant.mp4", "variable.mkv", "vp9.webm", "reordered.avi"] * 2
    alone = {name: read_frames(clips / name, count=9, size=32) for name in names}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: read_frames(clips / n, count=9, size=32), names))
    for name, frames in zip(names, together):
        np.testing.assert_array_equal(frames.pixels, alone[name].pixels)


# --- keyframes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "constant.mp4",
        "variable.mkv",
        "long.mov",
        "vp9.webm",
        "open.mp4",
    ],
)
def test_keyframes_are_the_nearest_and_tell_their_true_places(clips, name, no_counting):
    with av.open(str(clips / name)) as container:
        decoded = list(container.decode(video=0))
        keys = [n for n, frame in enumerate(decoded) if frame.key_frame]
        times = np.array([frame.pts for frame in decoded])
    asked = uniform_indices(120, 20)
    nearest = {keys[int(np.abs(times[keys] - times[i]).argmin())] for i in asked}
    frames = read_frames(clips / name, count=20, size=32, resize="pil", mode="keyframes")
    assert frames.indices.tolist() == sorted(nearest)
    assert_same_as_plain_decoding(frames, clips / name)
    assert frames.warnings == (f"keyframes only: {len(nearest)} for the 20 frames asked for",)


def test_keyframes_that_are_not_known_give_exact_frames_and_a_warning(clips):
    frames = read_frames(clips / "reordered.avi", count=5, size=32, resize="pil", mode="keyframes")
    assert_same_as_plain_decoding(frames, clips / "reordered.avi")
    assert "exact frames" in frames.warnings[0]
