"""Damaged files give what is there; what gives no frames is refused in one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress

import av
import numpy as np
import pytest
from video_clips import assert_same_as_plain_decoding

from free_video_llm.errors import ConfigError, VideoError
from free_video_llm.video import timeline as timeline_module
from free_video_llm.video.read import probe, read_frames, uniform_indices
from media import cut, decode_all, make_pictures, make_sound, make_video, numbers_of, remux, scaled

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
        return timeline_module.Timeline(**{**vars(timeline), **more})

    scan = timeline_module.scan
    monkeypatch.setattr("free_video_llm.video.read.scan", inflated)
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
        "from free_video_llm.errors import ConfigError, VideoError\n"
        "from free_video_llm.video.read import read_frames\n"
        "os.chdir(os.path.dirname(sys.argv[1]))\n"
        "os.chmod('locked.mp4', 0)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # nothing is locked to the superuser
        "try: read_frames('locked.mp4')\n"
        "except VideoError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert (
        done.stdout
        == "locked.mp4: cannot be read (permission denied); check the path and its permissions\n"
    )


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"count": 0}, "count is a whole number of at least 1, not 0"),
        ({"size": -4}, "size is a whole number of at least 1, not -4"),
        ({"mode": "fast"}, "unknown mode 'fast' (allowed: exact, keyframes)"),
        ({"resize": "area"}, "unknown resize 'area' (allowed: bicubic, pil)"),
        ({"indices": []}, "indices are one or more ascending"),
        ({"indices": [-1, 4]}, "indices are one or more ascending"),
        ({"count": "50"}, "count is a whole number of at least 1, not '50'"),
        ({"rules": "true"}, "unknown rules 'true' (allowed: corrected, released)"),
        ({"indices": [5, 4]}, "indices are one or more ascending"),
    ],
)
def test_options_out_of_range_name_the_allowed_values(clips, options, allowed):
    with pytest.raises(ConfigError, match=re.escape(allowed)):
        read_frames(clips / "constant.mp4", **options)
