"""A long video searched: few candidates are scored, and a moment is found all the same."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from free_video_llm import ConfigError, VideoLLM
from free_video_llm.encoder import search as search_module
from free_video_llm.tiny.videos import sample_long, write_clip
from free_video_llm.video.late_pixels import LatePixels
from media import make_video
from tiny_checkpoints import own_llm

SHARE = 0.2


@pytest.fixture(scope="module", params=["one tower", "two towers"])
def llm(request, tmp_path_factory) -> VideoLLM:
    if request.param == "one tower":
        return VideoLLM.from_pretrained("tiny")
    return own_llm(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    rng = np.random.default_rng(3)
    clip, thing, seen = sample_long(rng, seconds=120)
    return (
        write_clip(clip, tmp_path_factory.mktemp("long") / "long.mp4", rng, height=96),
        thing,
        seen,
    )


def test_a_moment_is_found_with_few_candidates_scored(long_clip):
    path, thing, (start, stop) = long_clip
    llm = VideoLLM.from_pretrained("tiny")
    video = llm.watch(path, search=SHARE)
    answer = video.ask(f"What color is the {thing.shape}?", plan="long", max_new_tokens=6)
    seconds = answer.evidence.frames.seconds
    assert len(seconds) <= SHARE * 120
    kept = [one.second for pathway in answer.evidence.pathways for one in pathway.kept]
    assert any(start <= second < stop for second in kept)
    assert answer.text == thing.color
    assert answer.evidence.frames.total == 720


def test_what_is_scored_for_a_question_does_not_depend_on_those_before(llm, long_clip):
    path, _, _ = long_clip
    questions = ["What color is the star?", "Is there a ring?", "What shape is the red object?"]
    one = llm.watch(path, search=SHARE)
    before = [one.ask(q, plan="prompt-3", max_new_tokens=2) for q in questions]
    other = llm.watch(path, search=SHARE)
    after = [other.ask(q, plan="prompt-3", max_new_tokens=2) for q in reversed(questions)]
    for first, second in zip(before, reversed(after), strict=True):
        assert first.token_ids == second.token_ids
        assert np.array_equal(first.evidence.frames.indices, second.evidence.frames.indices)
        assert np.array_equal(first.evidence.scores, second.evidence.scores)


def test_frames_that_are_not_held_give_the_same(llm, long_clip, monkeypatch):
    path, _, _ = long_clip
    held = llm.watch(path, search=SHARE).ask("Is there a ring?", plan="prompt-3", max_new_tokens=2)
    monkeypatch.setattr(search_module, "MOST_HELD", 0)
    light = llm.watch(path, search=SHARE)
    assert isinstance(light.search.frames.pixels, LatePixels)
    answer = light.ask("Is there a ring?", plan="prompt-3", max_new_tokens=2)
    assert answer.token_ids == held.token_ids
    assert torch.equal(answer.visual_tokens.frame, held.visual_tokens.frame)


def test_a_share_of_all_scores_as_watching_does(llm, long_clip):
    path, _, _ = long_clip
    whole = llm.watch(path, fps=0.5).ask("Is there a ring?", plan="prompt-3", max_new_tokens=2)
    answer = llm.watch(path, fps=0.5, search=1).ask(
        "Is there a ring?", plan="prompt-3", max_new_tokens=2
    )
    assert np.array_equal(answer.evidence.frames.indices, whole.evidence.frames.indices)
    np.testing.assert_allclose(answer.evidence.scores, whole.evidence.scores, atol=1e-5)
    assert answer.token_ids == whole.token_ids


def test_the_released_rules_and_wrong_shares_are_refused(llm, long_clip):
    path, _, _ = long_clip
    with pytest.raises(ConfigError, match="evenly"):
        llm.watch(path, search=SHARE).ask("Is there a ring?", plan="paper@released")
    for share in (0, 1.5, -0.1, float("nan"), "0.1", True):
        with pytest.raises(ConfigError, match="share of the candidates"):
            llm.watch(path, search=share)


def test_what_cannot_be_read_apart_is_scored_whole(llm, tmp_path: Path):
    """Raw H.264 keeps no times."""
    video = llm.watch(make_video(tmp_path / "raw.h264", frames=90), fps=4, search=0.5)
    assert video.search is None
    assert len(video.frames) > 2
    assert video.ask("Is there a star?", plan="prompt-3", max_new_tokens=2).text is not None


def test_progress_and_pickling(llm, long_clip):
    path, _, _ = long_clip
    told: list[tuple[str, int, int]] = []
    video = llm.watch(path, search=SHARE, progress=lambda *step: told.append(step))
    assert told[-1] == ("encode", 19, 19)
    assert ("decode", 120, 120) in told
    assert len(told) >= 2
    again = llm.attach(pickle.loads(pickle.dumps(video)))
    assert again.search is None
    assert len(again.frames) == 19
    assert again.ask("Is there a ring?", plan="prompt-3", max_new_tokens=2).text is not None
