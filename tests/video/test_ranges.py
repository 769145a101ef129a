"""Stretches of a video: how they are written, and that their frames are those of the whole clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from free_video_llm import ConfigError, VideoError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.encoder.cache import FeatureCache
from free_video_llm.samples import find
from free_video_llm.video.ranges import check_ranges, parse_range, parse_seconds, within
from free_video_llm.video.read import count_at, read_frames
from media import make_video

INF = float("inf")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("1:02:03.5", 3723.5), (" 7.25 ", 7.25), (7, 7), ("0", 0),
     ("100:00", 6000), (".5", 0.5)],
)  # fmt: skip
def test_times_as_people_write_them(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "1:2:3:4", "-3", -1, "1e3", "nan", INF, True, None, "１"]
)
def test_what_is_no_time_is_refused(text):
    if text == "１":  # a digit of another script reads as one
        assert parse_seconds(text) == 1
        return
    with pytest.raises(ConfigError, match="a time is seconds, or"):
        parse_seconds(text)


def test_ranges_are_checked():
    assert check_ranges(None) == check_ranges([]) == ()
    assert check_ranges([(None, "1:00"), ["5", None]]) == ((0.0, 60.0), (5.0, INF))
    for wrong in ([(3, 2)], [(3, 3)], [3], [(1, 2, 3)], ["1-2"]):
        with pytest.raises(ConfigError):
            check_ranges(wrong)
    assert parse_range("1:00-1:30") == ("1:00", "1:30")
    assert (parse_range("90-"), parse_range("–5")) == (("90", None), (None, "5"))
    for wrong in ("90", "-", ""):
        with pytest.raises(ConfigError, match="hyphen"):
            parse_range(wrong)


def test_frames_in_ranges_each_once_and_the_end_not_in():
    seconds = np.arange(10) / 2
    assert within(seconds, [(1.0, 2.0), (1.5, 2.5), (4.4, INF)]).tolist() == [2, 3, 4, 9]
    assert within(seconds, ()).tolist() == list(range(10))


@pytest.mark.parametrize("gop", [1, 7, 250])
@pytest.mark.parametrize("ranges", [[(1, 2)], [(0.35, 0.8), (2.4, 2.9)], [(2.95, None)]])
def test_their_frames_are_those_of_the_whole_clip(gop: int, ranges, tmp_path: Path):
    """Ranges that begin on keyframes and between them."""
    path = make_video(tmp_path / "a.mp4", frames=90, gop=gop)
    whole = read_frames(path, count=90, size=32)
    stretches = check_ranges(ranges)
    inside = within(whole.seconds, stretches)
    part = read_frames(path, count=90, size=32, ranges=stretches)
    assert part.indices.tolist() == inside.tolist()
    assert np.array_equal(part.pixels, whole.pixels[inside])
    assert np.array_equal(part.seconds, whole.seconds[inside])
    assert (part.total, part.duration) == (whole.total, whole.duration)
    few = read_frames(path, count=3, size=32, ranges=stretches)
    assert len(few) == min(3, len(inside))
    assert set(few.indices.tolist()) <= set(inside.tolist())


def test_files_without_times_and_folders_have_ranges_too(tmp_path: Path):
    raw = make_video(tmp_path / "raw.h264", frames=60)
    whole = read_frames(raw, count=60, size=16)
    part = read_frames(raw, count=60, size=16, ranges=[(0.5, 1.0)])
    assert np.array_equal(part.indices, within(whole.seconds, [(0.5, 1.0)]))
    (tmp_path / "pictures").mkdir()
    for number in range(5):
        Image.new("RGB", (20, 20), (50 * number, 0, 0)).save(tmp_path / f"pictures/{number}.png")
    part = read_frames(tmp_path / "pictures", size=16, ranges=[(1, 3)])
    assert part.indices.tolist() == [1, 2]


def test_a_range_behind_the_end_is_said(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", frames=30)
    with pytest.raises(
        VideoError, match=r"no frame is shown at 5 to 6 s; its last one is at 0\.97"
    ):
        read_frames(path, ranges=[(5, 6)])


def test_a_rate_counts_the_seconds_in_the_ranges(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", frames=120)
    assert count_at(path, 10, most=100) == 40
    assert count_at(path, 10, most=100, ranges=[(1, 2), (3.5, 9)]) == 15


def test_watching_a_range(tmp_path: Path, capsys):
    llm = VideoLLM.from_pretrained("tiny")
    cache = FeatureCache(tmp_path / "cache")
    star = find("sample:star")
    whole = llm.watch(star, cache=cache)
    part = llm.watch(star, ranges=[(1, "0:03")], fps=4, cache=cache)
    assert not part.from_cache
    assert part.frames.seconds.min() >= 1
    assert part.frames.seconds.max() < 3
    assert len(part.frames) == 8
    assert llm.watch(star, ranges=[(1, 3)], fps=4, cache=cache).from_cache
    released = part.for_plan(part.ask("Is there a star?", plan="paper@released").plan)
    assert released.frames.seconds.min() >= 1
    assert len(whole.frames) > 8
    searched = llm.watch(star, ranges=[(1, 3)], fps=8, search=0.5)
    assert all(1 <= second < 3 for second in searched.search.frames.seconds)
    command = ["ask", "sample:star", "What color is the star?", "--model", "tiny"]
    assert main([*command, "--start", "1", "--end", "0:03", "--range", "4-5"]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*command, "--start", "5", "--end", "3"]) == 2
    assert "a range ends after it begins" in capsys.readouterr().err
