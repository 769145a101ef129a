"""Promises of `free_video_llm.video`, each on a small file made here (see `media.py`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from free_video_llm import _decode
from free_video_llm.errors import VideoError
from free_video_llm.video import (
    Frames,
    find_videos,
    is_video_path,
    probe,
    read_frames,
    uniform_indices,
)
from media import (
    cut,
    decode_all,
    make_gif,
    make_pictures,
    make_sound,
    make_video,
    numbers_of,
    remux,
    rotate_mp4,
    scaled,
)

SHARED = Path(os.environ.get("FVL_SHARED", Path(__file__).parents[2] / "shared"))
GOLDEN = ("paper_2648", "paper_1026", "frozen_tower", "vertical_pool_34b_prompt")

# Milliseconds of 120 frames at a varying rate, with a pause, starting 2 s into the file's clock.
UNEVEN = [2000 + 33 * n + 7 * (n % 5) + (500 if n > 30 else 0) for n in range(120)]
PLAIN = {"bf": "2", "sc_threshold": "0"}
X264_LONG = {"bf": "3", "x264-params": "b-pyramid=normal:scenecut=0"}
X264_OPEN = {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}

# Files in which one may seek, each with groups of pictures long enough for seeking to pay.
SEEKABLE = {
    "constant.mp4": {"gop": 30, "options": PLAIN},
    "variable.mp4": {"gop": 30, "options": PLAIN, "times": UNEVEN},
    "variable.mkv": {"gop": 30, "options": PLAIN, "times": UNEVEN},
    "long.mov": {"gop": 60, "options": X264_LONG},
    "open.mp4": {"gop": 30, "options": X264_OPEN},
    "open.mkv": {"gop": 30, "options": X264_OPEN},
    "fragments.mp4": {"gop": 30, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open_hevc.mp4": {
        "gop": 30,
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:log-level=error", "preset": "ultrafast"},
    },
    "vp9.webm": {
        "gop": 30,
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
    },
    "vp8.webm": {"gop": 30, "codec": "libvpx", "options": {"deadline": "realtime"}},
    "mpeg4.avi": {"gop": 30, "codec": "mpeg4"},
    "h264.ts": {"gop": 30, "options": PLAIN},
    "h264.flv": {"gop": 30, "options": PLAIN},
    "jpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
# Files in which a seek may land too late, or that keep no times or wrong ones: frames are counted.
IMPRECISE = {
    "mpeg2.mpg": {"frames": 90, "gop": 30, "codec": "mpeg2video", "options": {"bf": "2"}},
}
TIMELESS = {
    "reordered.avi": {"frames": 90, "options": PLAIN},
    "reordered_mpeg4.avi": {"frames": 90, "codec": "mpeg4", "options": {"bf": "2"}},
    "bare.h264": {"frames": 90, "options": PLAIN},
}
MADE = {**SEEKABLE, **IMPRECISE, **TIMELESS}


class Clips:
    """A folder in which `clips / name` is made when it is first asked for."""

    def __init__(self, folder):
        self.folder = folder

    def __truediv__(self, name):
        path = self.folder / name
        if not path.exists():
            if name == "partial.gif":
                make_gif(path)
            else:
                make_video(path, **{"frames": 120, **MADE[name]})
        return path


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def no_counting(monkeypatch):
    """Forbid the pass over every frame, which would make good what seeking got wrong."""

    def refuse(*_):
        raise AssertionError("every frame was decoded and counted")

    monkeypatch.setattr("free_video_llm.video.decode_counting", refuse)


def assert_same_as_plain_decoding(frames: Frames, path: Path) -> None:
    """The frames are, bit for bit, those that decoding everything from the start gives."""
    pictures, times = decode_all(path)
    assert frames.total == len(pictures)
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 32))
    if path.name not in TIMELESS:
        np.testing.assert_allclose(frames.seconds, np.array(times)[frames.indices], atol=1e-6)


# --- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_positions_are_those_of_the_released_code(name):
    record = SHARED / "golden" / f"{name}.json"
    if not record.exists():
        pytest.skip(f"no golden record {record}: set FVL_SHARED")
    golden = json.loads(record.read_text())
    clip = SHARED / "data" / "clips" / golden["video"]
    frames = read_frames(clip, count=golden["num_frames"], size=8)
    assert frames.total == golden["total_frames"]
    assert frames.indices.tolist() == golden["frame_indices"]


def test_positions_follow_the_formula_with_halves_rounded_to_even():
    for total in (*range(1, 130), 376, 828, 18000):
        for count in (1, 2, 3, 8, 50, 64):
            frames = min(total, count)
            seg = (total - 1) / frames
            formula = [(round(seg * i) + round(seg * (i + 1))) // 2 for i in range(frames)]
            assert uniform_indices(total, count).tolist() == formula
    assert uniform_indices(2, 2).tolist() == [0, 0]  # round(0.5) is 0, not 1
    assert uniform_indices(10, 3).dtype == np.int64


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
    np.testing.assert_array_equal(read_frames(clip, resize="pil").pixels, golden)
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
        timeline = _decode.scan(str(clips / name))
        return _decode.plan_runs(timeline, uniform_indices(timeline.total, count).tolist())

    # Keyframes are 30 apart: 4 targets lie in groups of their own, 40 are 3 frames apart.
    assert [run.key for run in runs("constant.mp4", 4)] == [0, 1, 2, 3]
    assert [run.key for run in runs("constant.mp4", 40)] == [0]
    # One group: nothing is gained by going back to its start.
    assert len(runs("partial.gif", 4)) == 1
    # Every frame a keyframe: seek to each if they are far apart.
    assert len(runs("jpeg.mov", 4)) == 4


def test_seeking_decodes_only_what_leads_to_the_target(clips, monkeypatch, no_counting):
    fed = []
    packets_from = _decode._packets_from

    def count_packets(container, stream, key_pts):
        for packet in packets_from(container, stream, key_pts):
            fed.append(packet.pts)
            yield packet

    monkeypatch.setattr(_decode, "_packets_from", count_packets)
    frames = read_frames(clips / "constant.mp4", indices=[95], size=16)
    assert numbers_of(frames.pixels) == [95]
    assert 1 <= len(fed) <= 10  # keyframe 90, and on to 95 with what it refers to


def test_a_seek_that_lands_too_late_costs_time_but_not_exactness(clips, monkeypatch):
    def late(path):
        timeline = scan(path)
        timeline.key_seek[:] = timeline.key_pts[-1]
        return timeline

    scan = _decode.scan
    monkeypatch.setattr("free_video_llm.video.scan", late)
    frames = read_frames(clips / "constant.mp4", count=4, size=32, resize="pil")
    assert_same_as_plain_decoding(frames, clips / "constant.mp4")


def test_a_file_that_calls_every_packet_a_keyframe_is_not_believed(tmp_path):
    path = make_video(tmp_path / "liar.mp4", codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # without it, all are keyframes
    assert len(_decode.scan(str(path)).key_pts) == 60
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


# --- damage ------------------------------------------------------------------------------------


def noisy(number, width, height):
    """The numbered picture with coarse noise, so that a frame takes its share of the file."""
    bars = np.where(number >> (np.arange(width) * 8 // width) & 1, 180, 70)
    noise = np.random.default_rng(number).integers(-40, 40, (height, width, 3))
    return (bars[None, :, None] + noise).astype(np.uint8)


def decodable(path):
    """How many frames plain decoding gives if it passes over packets that fail."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                count += len(stream.decode(packet))
    return count


def test_a_truncated_mp4_gives_what_is_there_evenly_and_says_so(tmp_path, no_counting):
    how = {"picture": noisy, "container_options": {"movflags": "faststart"}}
    whole = make_video(tmp_path / "whole.mp4", frames=90, **how)
    path = cut(whole, tmp_path / "cut.mp4", 0.6)
    frames = read_frames(path, count=12, size=32)
    assert 30 < frames.total < 70
    assert frames.total == decodable(path)
    assert frames.indices.tolist() == uniform_indices(frames.total, 12).tolist()
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    assert frames.warnings == (f"truncated: declared 90 frames, {frames.total} could be decoded",)
    assert read_frames(whole, count=12, size=32).warnings == ()


def test_a_truncated_webm_says_so_by_its_duration(tmp_path):
    whole = make_video(tmp_path / "whole.webm", frames=90, codec="libvpx", picture=noisy)
    frames = read_frames(cut(whole, tmp_path / "cut.webm", 0.5), count=6, size=32)
    assert re.fullmatch(
        r"truncated: declared 3\.0 s, [12]\.\d s could be decoded", frames.warnings[0]
    )
    assert numbers_of(frames.pixels) == frames.indices.tolist()


def test_packets_that_do_not_decode_cost_only_themselves(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", options={"bf": "0"})
    garbage = {20, 21, 22}
    path = remux(whole, tmp_path / "bad.mp4", lambda n, b: b"\xff" * len(b) if n in garbage else b)
    frames = read_frames(path, count=60, size=32)
    assert frames.total == 57
    assert frames.indices.tolist() == uniform_indices(57, 60).tolist()
    assert frames.warnings[0] == "truncated: declared 60 frames, 57 could be decoded"
    assert frames.warnings[1] == "damaged: 3 packets could not be decoded"
    shown = numbers_of(frames.pixels)
    assert shown[:20] == list(range(20))  # what came before the damage is whole
    after = frames.indices >= 33  # what comes with the next keyframe is whole again
    assert np.array(shown)[after].tolist() == (frames.indices[after] + 3).tolist()


def test_hidden_frames_of_vp8_are_not_counted(tmp_path, no_counting):
    whole = make_video(tmp_path / "whole.webm", codec="libvpx")
    hide = {10, 20, 21}
    path = remux(
        whole,
        tmp_path / "hidden.webm",
        lambda n, data: bytes([data[0] & ~0x10]) + data[1:] if n in hide else data,
    )
    pictures, _ = decode_all(path)
    frames = read_frames(path, count=9, size=32, resize="pil")
    assert frames.total == len(pictures) == 57
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 32))


def test_a_wrong_estimate_of_the_total_is_put_right(clips, monkeypatch):
    """Whatever the packets say, the positions are those of the frames that come out."""

    def inflated(path):
        timeline = scan(path)
        more = {
            "pts": np.append(timeline.pts, timeline.end + np.arange(40)),
            "order": np.append(timeline.order, timeline.total + np.arange(40)),
        }
        return _decode.Timeline(**{**vars(timeline), **more})

    scan = _decode.scan
    monkeypatch.setattr("free_video_llm.video.scan", inflated)
    for name in ("constant.mp4", "reordered.avi"):
        frames = read_frames(clips / name, count=9, size=32, resize="pil")
        assert frames.indices.tolist() == uniform_indices(frames.total, 9).tolist()
        assert_same_as_plain_decoding(frames, clips / name)


def test_odd_names_and_titles_do_not_cost_the_clip(tmp_path, monkeypatch):
    path = make_video(tmp_path / "take:1 100%d.mp4", metadata={"title": "CAFEE"})
    path.write_bytes(path.read_bytes().replace(b"CAFEE", b"caf\xe9!"))  # Latin-1, not UTF-8
    monkeypatch.chdir(tmp_path)
    frames = read_frames("take:1 100%d.mp4", count=5, size=32)
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    assert frames.source == "take:1 100%d.mp4"


def test_sound_beside_the_picture_changes_nothing(tmp_path):
    frames = read_frames(make_video(tmp_path / "sound.mp4", sound=True), count=5, size=32)
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    assert frames.total == 60
    assert frames.warnings == ()


# --- what gives no frames ----------------------------------------------------------------------


def _text(folder):
    (folder / "notes.txt").write_text("this is a text, not a video\n" * 40)
    return folder / "notes.txt"


def _playlist(folder):
    make_video(folder / "secret.ts", frames=10)
    path = folder / "list.m3u8"
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{folder}/secret.ts\n#EXT-X-ENDLIST\n"
    )
    return path


def _empty(folder):
    (folder / "empty.mp4").write_bytes(b"")
    return folder / "empty.mp4"


def _headless(folder):
    return cut(make_video(folder / "whole.mp4"), folder / "cut.mp4", 0.6)


def _undecodable(folder):
    return remux(make_video(folder / "a.mp4"), folder / "b.mp4", lambda n, b: b"\xff" * len(b))


def _empty_folder(folder):
    (folder / "nothing").mkdir()
    return folder / "nothing"


def _folder_without_pictures(folder):
    (folder / "letters").mkdir()
    (folder / "letters" / "a.txt").write_text("a")
    (folder / "letters" / "._a.jpg").write_text("what macOS leaves")
    return folder / "letters"


def _broken_picture(folder):
    make_pictures(folder / "pictures", frames=3)
    cut(folder / "pictures" / "001.png", folder / "pictures" / "001.png", 0.5)
    return folder / "pictures"


USELESS = {
    "text": (_text, "is not a video"),
    "playlist": (_playlist, "is not a video"),
    "empty file": (_empty, "the file is empty"),
    "cut before its header": (_headless, "cut off beyond use"),
    "nothing decodes": (_undecodable, "no frame can be decoded"),
    "sound only": (lambda folder: make_sound(folder / "a.m4a"), "has no video stream"),
    "cover art": (lambda folder: make_sound(folder / "a.mp4", cover=True), "has no video stream"),
    "missing": (lambda folder: folder / "none.mp4", "there is no such file"),
    "missing picture": (lambda folder: folder / "none.png", "there is no such file"),
    "empty folder": (_empty_folder, "the folder is empty"),
    "folder without pictures": (_folder_without_pictures, "holds no pictures"),
    "broken picture": (_broken_picture, "is not a whole picture"),
}


@pytest.mark.parametrize("case", USELESS)
def test_what_gives_no_frames_is_one_clear_line(tmp_path, case):
    make, what = USELESS[case]
    path = make(tmp_path)
    with pytest.raises(VideoError, match=what) as caught:
        read_frames(path, count=5, size=16)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message  # what was wrong; what to do


@pytest.mark.parametrize(
    "case",
    [
        "text",
        "sound only",
        "missing",
        "nothing decodes",
        "empty folder",
    ],
)
def test_probe_refuses_in_the_same_words(tmp_path, case):
    make, what = USELESS[case]
    with pytest.raises(VideoError, match=what):
        probe(make(tmp_path))


def test_permission_denied_is_one_clear_line(tmp_path):
    path = make_video(tmp_path / "locked.mp4", frames=3)
    script = (
        "import os, sys\n"
        "from free_video_llm.errors import VideoError\n"
        "from free_video_llm.video import read_frames\n"
        "os.chdir(os.path.dirname(sys.argv[1]))\n"
        "os.chmod('locked.mp4', 0)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # nothing is locked to the superuser
        "try: read_frames('locked.mp4')\n"
        "except VideoError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "locked.mp4: cannot be read (permission denied); check its permissions\n"


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"count": 0}, "count must be at least 1; got 0"),
        ({"size": -4}, "size must be at least 1; got -4"),
        ({"mode": "fast"}, "mode must be one of exact, keyframes; got 'fast'"),
        ({"resize": "area"}, "resize must be one of bicubic, pil; got 'area'"),
        ({"indices": []}, "indices must be"),
        ({"indices": [-1, 4]}, "indices must be"),
        ({"indices": [5, 4]}, "indices must be"),
    ],
)
def test_options_out_of_range_name_the_allowed_values(clips, options, allowed):
    with pytest.raises(ValueError, match=re.escape(allowed)):
        read_frames(clips / "constant.mp4", **options)


# --- folders of pictures -----------------------------------------------------------------------


def test_a_folder_of_pictures_is_a_clip_in_name_order(tmp_path):
    folder = make_pictures(tmp_path / "pictures", frames=30)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._000.png").write_text("not a picture either")
    os.rename(folder / "029.png", folder / "0021.png")  # plain order: "0021.png" before "003.png"
    frames = read_frames(folder, count=8, size=32)
    names = sorted(p.name for p in folder.glob("[0-9]*.png"))
    order = [29 if name == "0021.png" else int(name[:3]) for name in names]
    assert order[2:5] == [2, 29, 3]
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
        "import re, sys\n"
        "from free_video_llm.video import read_frames\n"
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


def test_videos_of_a_folder_are_found_in_name_order(tmp_path):
    for name in ("b.MP4", "a.webm", "c.txt", "._b.mp4", "d.gif"):
        (tmp_path / name).write_bytes(b"")
    make_pictures(tmp_path / "pictures", frames=1)
    assert [path.name for path in find_videos(tmp_path)] == ["a.webm", "b.MP4", "d.gif"]
    with pytest.raises(VideoError, match="holds no videos"):
        find_videos(tmp_path / "pictures")
    with pytest.raises(VideoError, match="no such file or folder"):
        find_videos(tmp_path / "missing")


def test_video_paths_are_told_by_their_names_and_folders_by_their_pictures(tmp_path):
    make_pictures(tmp_path / "pictures", frames=1)
    assert is_video_path("clip.MKV")
    assert is_video_path(tmp_path / "pictures")
    assert not is_video_path("notes.txt")
    assert not is_video_path(tmp_path)


def test_reading_videos_needs_no_model_library():
    script = "import sys, free_video_llm.video; print(*{'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
