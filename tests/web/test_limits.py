"""What a visitor may send: each refusal is a sentence that says what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from free_video_llm import ConfigError, Plan, VideoError
from free_video_llm.samples import find
from free_video_llm.web.limits import (
    Limits,
    check_clip,
    check_frames,
    check_length,
    check_plan,
    check_question,
    check_tokens,
    length,
    megabytes,
)
from media import make_sound, make_video

STAR = Path(find("sample:star"))


def test_a_clip_within_the_limits_is_probed():
    info = check_clip(STAR, "star.mp4", Limits())
    assert (info.width, info.height) == (320, 240)
    assert info.duration == pytest.approx(7.5)


def test_a_clip_that_is_too_large_or_too_long_is_refused_by_its_name():
    with pytest.raises(VideoError, match=r"^mine is 0\.0 MB; at most 0\.0 MB are allowed"):
        check_clip(STAR, "mine", Limits(file_bytes=1000))
    with pytest.raises(VideoError, match=r"^mine is 7\.5 s long; at most 7\.0 s are allowed"):
        check_clip(STAR, "mine", Limits(clip_seconds=7))
    check_length(600.0, "mine", Limits())
    with pytest.raises(VideoError, match="10:01 min long; at most 10 min"):
        check_length(601.0, "mine", Limits())


def test_what_is_no_video_is_refused_without_the_server_s_path(tmp_path: Path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    sound = make_sound(tmp_path / "sound.mp4")
    for path in (text, sound):
        with pytest.raises(VideoError) as caught:
            check_clip(path, path.name, Limits())
        assert str(caught.value).startswith(path.name)
        assert str(tmp_path) not in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(VideoError, match=r"^gone\.mp4 is no longer on the server"):
        check_clip(tmp_path / "gone.mp4", "gone.mp4", Limits())


def test_a_long_clip_is_refused_before_it_is_decoded(tmp_path: Path):
    clip = make_video(tmp_path / "long.mp4", frames=60, rate=1)
    with pytest.raises(VideoError, match="1 min long; at most 59 s"):
        check_clip(clip, "long.mp4", Limits(clip_seconds=59))


def test_questions():
    limits = Limits(question_letters=20)
    check_question("Who wins?", (), limits)
    check_question("Who wins?", ("cat", "dog"), limits)
    with pytest.raises(ConfigError, match=r"^the question is empty"):
        check_question(" \n", (), limits)
    with pytest.raises(ConfigError, match="21 letters; at most 20"):
        check_question("Who wins?", ("lion", "elephant"), limits)
    with pytest.raises(ConfigError, match="2 to 12 of them"):
        check_question("Who wins?", ("cat",), limits)
    with pytest.raises(ConfigError, match="not 13"):
        check_question("Who?", ("a",) * 13, limits)


@pytest.mark.parametrize("frames", [0, 201, 2.5, -1, float("nan"), float("inf"), "20", None, True])
def test_frames_out_of_range(frames):
    with pytest.raises(ConfigError, match="from 1 to 200"):
        check_frames(frames, Limits())
    assert check_frames(50.0, Limits()) == 50


def test_a_plan_that_does_not_fit_is_refused_before_it_is_tried():
    plan = Plan.parse("all=all/concat")
    check_tokens(plan, frames=10, side=12, positions=1440 + 128)
    with pytest.raises(ConfigError, match=r"makes 1,440 tokens of 10 frames, .* holds 1,567"):
        check_tokens(plan, frames=10, side=12, positions=1440 + 127)


def test_a_plan_s_text_is_no_longer_than_allowed():
    assert check_plan("paper", Limits()) == "paper"
    with pytest.raises(ConfigError, match="the plan has 501 letters; at most 500 are allowed"):
        check_plan("x" * 501, Limits())


def test_words_for_sizes():
    assert [megabytes(n) for n in (200_000_000, 1_500_000)] == ["200 MB", "1.5 MB"]
    assert [length(s) for s in (0.5, 45, 60, 600, 750)] == [
        "0.5 s", "45 s", "1 min", "10 min", "12:30 min",
    ]  # fmt: skip
