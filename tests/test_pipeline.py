"""The public flow on the embedded model: watch once, ask often, alone or in batches."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from free_video_llm import ConfigError, Frames, Plan, PlanError, VideoLLM
from free_video_llm.pipeline import Video
from free_video_llm.samples import find


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def video(tiny: VideoLLM) -> Video:
    return tiny.watch(find("sample:star"))


class Counter:
    """Counts the images that pass through a tower's patch embedding."""

    def __init__(self, llm: VideoLLM) -> None:
        self.images = 0
        towers = {id(t): t for t in (llm.towers.llm_tower, llm.towers.scorer.tower)}
        self._hooks = [
            tower.embeddings.patch_embedding.register_forward_hook(self._count)
            for tower in towers.values()
        ]

    def _count(self, _module: object, _inputs: object, output: torch.Tensor) -> None:
        self.images += len(output)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def test_frames_are_encoded_once_and_never_for_a_question(tiny: VideoLLM):
    counter = Counter(tiny)
    try:
        video = tiny.watch(find("sample:star"), frames=20)
        assert counter.images == 20
        video.ask("What color is the star?", max_new_tokens=4)
        video.ask("Is there a moon?", plan="slowfast", max_new_tokens=4)
        assert counter.images == 20
    finally:
        counter.close()


def test_a_second_question_projects_the_overview_no_more(video: Video, tiny: VideoLLM):
    plan = Plan.parse("fast=all/adaptive_2d_pool:4x4")
    first = video.ask("Is there a star?", plan=plan, max_new_tokens=2)
    rows = []
    linear = tiny.image_llm.projector.module.linear_1
    hook = linear.register_forward_hook(lambda _m, _i, out: rows.append(out.shape[:-1].numel()))
    second = video.ask("Is there a moon?", plan=plan, max_new_tokens=2)
    hook.remove()
    assert rows == []
    assert torch.equal(first.visual_tokens.embeds, second.visual_tokens.embeds)


def test_a_batch_gives_what_single_questions_give(tiny: VideoLLM, video: Video):
    other = tiny.watch(find("sample:needle"), frames=12)
    asked = [
        (video, "What color is the star?"),
        (other, "Is there a moon?"),
        (video, "Is there a red star?"),
    ]
    batch = tiny.ask(asked, plan="paper-small", max_new_tokens=6)
    alone = [v.ask(q, plan="paper-small", max_new_tokens=6) for v, q in asked]
    assert [a.token_ids for a in batch] == [a.token_ids for a in alone]
    assert [a.text for a in batch] == [a.text for a in alone]


def test_greedy_is_the_default_and_sampling_follows_its_seed(video: Video):
    greedy = {video.ask("Where is the star?", max_new_tokens=5).token_ids for _ in range(2)}
    assert len(greedy) == 1
    hot = {"temperature": 5.0, "max_new_tokens": 8}
    first = video.ask("Where is the star?", seed=1, **hot)
    again = video.ask("Where is the star?", seed=1, **hot)
    others = {video.ask("Where is the star?", seed=s, **hot).token_ids for s in range(2, 6)}
    assert first.token_ids == again.token_ids
    assert others != {first.token_ids}


def test_an_answer_carries_its_evidence_and_times(video: Video):
    answer = video.ask("What color is the star?", plan="paper")
    assert [p.name for p in answer.evidence.pathways] == ["slow", "middle", "fast"]
    assert (
        answer.evidence.tokens == len(answer.visual_tokens) == answer.visual_tokens.embeds.shape[0]
    )
    assert answer.evidence.all_tokens == len(video.frames) * 144
    assert answer.timings.total > 0
    assert answer.timings.encode == video.encode_seconds
    data = answer.to_dict()
    assert data["schema"] == 1
    assert data["tokens"]["visual"] == answer.evidence.tokens
    assert data["plan"]["notation"] == "paper"


def test_frames_read_elsewhere_can_be_watched(tiny: VideoLLM):
    pixels = np.zeros((4, 96, 96, 3), np.uint8)
    frames = Frames(pixels, np.arange(4.0), np.arange(4), 4, 4.0, "made", 96, 96)
    answer = tiny.watch(frames).ask("Is there a star?", plan="uniform-3", max_new_tokens=3)
    assert answer.text == "no"


def test_a_question_beyond_the_text_encoder_is_cut_with_a_warning(video: Video):
    long = "Is there a star" + " and a star" * 60 + "?"
    with pytest.warns(UserWarning, match="longer than the text encoder"):
        answer = video.ask(long, max_new_tokens=2)
    assert any("longer" in note for note in answer.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert video.ask("Is there a star?", max_new_tokens=2).warnings == ()


def test_multiple_choice_lists_the_options(video: Video):
    answer = video.ask("Which?", options=["a star", "a moon"], max_new_tokens=2)
    assert "(A) a star\n(B) a moon\n" in answer.prompt
    assert answer.options == ("a star", "a moon")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"plan": "papr"}, PlanError, "did you mean 'paper'"),
        ({"plan": "paper", "max_tokens": 3}, ConfigError, "did you mean 'max_new_tokens'"),
        ({"max_new_tokens": 0}, ConfigError, "at least 1"),
        ({"temperature": -1.0}, ConfigError, "0 \\(greedy\\) or more"),
        ({"top_p": 0.5}, ConfigError, "temperature above 0"),
        ({"max_new_tokens": 4000}, ConfigError, "this model holds 4096"),
    ],
)
def test_wrong_options_are_told_in_a_line(video: Video, arguments, error, words):
    with pytest.raises(error, match=words) as raised:
        video.ask("Is there a star?", **arguments)
    assert "\n" not in str(raised.value)


def test_an_empty_question_is_refused(video: Video):
    with pytest.raises(ConfigError, match="empty"):
        video.ask("  ")


def test_frames_of_another_size_are_refused(tiny: VideoLLM):
    frames = Frames(
        np.zeros((2, 64, 64, 3), np.uint8), np.arange(2.0), np.arange(2), 2, 2.0, "x", 64, 64
    )
    with pytest.raises(ValueError, match="96"):
        tiny.watch(frames)
