"""The public flow on the embedded model: watch once, ask often, alone or in batches."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from free_video_llm import ConfigError, Frames, Plan, PlanError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.pipeline import Video
from free_video_llm.samples import find
from media import make_video


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


# --- the library decides the pixels -------------------------------------------------------------


def test_a_released_plan_gets_the_released_pixels_whoever_asks(tiny: VideoLLM):
    """Watched as by default, asked with the released rules: the released code's frames."""
    video = tiny.watch("sample:star", frames=20)
    assert video.frames.resize == "bicubic"
    assert not video.frames.as_released
    answer = video.ask("What color is the star?", plan="paper@released", max_new_tokens=4)
    expected = tiny.watch("sample:star", frames=20, rules="released")
    assert expected.frames.as_released
    wanted = expected.ask("What color is the star?", plan="paper@released", max_new_tokens=4)
    assert torch.equal(answer.visual_tokens.embeds, wanted.visual_tokens.embeds)
    assert answer.evidence.frames.resize == "pil"
    assert answer.warnings == ()
    counter = Counter(tiny)
    try:
        video.ask("Is there a moon?", plan="paper@released", max_new_tokens=1)
        assert counter.images == 0  # read and encoded once for all released plans
    finally:
        counter.close()


def test_frames_that_are_not_the_released_codes_are_warned_of(tiny: VideoLLM):
    frames = tiny.watch("sample:star", frames=20).frames
    with pytest.warns(UserWarning, match="these frames are not"):
        answer = tiny.watch(frames).ask("Is there a star?", plan="paper@released", max_new_tokens=1)
    assert any("rules='released'" in note for note in answer.warnings)
    released = tiny.watch("sample:star", frames=20, rules="released").frames
    answer = tiny.watch(released).ask("Is there a star?", plan="paper@released", max_new_tokens=1)
    assert answer.warnings == ()


# --- one kind of error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda llm, v: VideoLLM.from_pretrained("tiny", load_in_4bits=True), "'load_in_4bit'"),
        (lambda llm, v: VideoLLM.from_pretrained("tiny", dtype="float31"), "'float32'"),
        (lambda llm, v: llm.watch("sample:star", frames=0), "count is a whole number"),
        (lambda llm, v: llm.watch("sample:star", frames="5"), "count is a whole number"),
        (lambda llm, v: llm.watch("sample:star", mode="exakt"), "did you mean 'exact'"),
        (lambda llm, v: llm.watch("sample:star", frmes=3), "did you mean 'frames'"),
        (lambda llm, v: llm.watch([1, 2]), "a video is a path, an address, bytes"),
        (lambda llm, v: llm.watch({"a": 1}), "a video is a path, an address, bytes"),
        (lambda llm, v: v.ask(["a"]), "a question is a text, not ['a']"),
        (lambda llm, v: v.ask("a?", max_tokens=3), "did you mean 'max_new_tokens'"),
        (lambda llm, v: v.ask("a?", options="red"), "options are a list of texts, not 'red'"),
        (lambda llm, v: v.ask("a?", options=["x"] * 27), "at most 26 options"),
        (lambda llm, v: v.ask("a?", temperature=float("nan")), "temperature is 0 (greedy) or more"),
        (lambda llm, v: v.ask("a?", seed="1"), "seed is a whole number"),
        (lambda llm, v: v.ask("a?", conv_mode="plane"), "did you mean 'plain'"),
        (lambda llm, v: llm.ask(["a?"]), "questions are pairs of a watched video and a text"),
        (lambda llm, v: llm.ask([(v, "a?")], options=[[], []]), "1 questions but 2 lists"),
        (lambda llm, v: v.ask("a?", max_new_tokens=1).save_picture("x.png", widht=3), "'width_px'"),
    ],
)  # fmt: skip
def test_every_wrong_call_is_told_in_one_line(tiny: VideoLLM, video: Video, call, words):
    with pytest.raises(ConfigError) as raised:
        call(tiny, video)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_torch_dtype_is_a_dtype():
    assert VideoLLM.from_pretrained("tiny", dtype=torch.float32).towers.llm_tower.dtype == (
        torch.float32
    )


# --- as values ----------------------------------------------------------------------------------


def test_they_show_what_they_are_and_no_tensors(tiny: VideoLLM, video: Video):
    answer = video.ask("What color is the star?")
    for thing in (tiny, video, answer, answer.visual_tokens, answer.evidence, tiny.loaded):
        assert len(repr(thing)) < 300
        assert "tensor(" not in repr(thing)
    assert repr(answer) == (
        "Answer('red', question='What color is the star?', plan='paper', 1,240 visual tokens, "
        "model='tiny')"
    )
    assert repr(video).startswith("Video('star.mp4', 50 of ")
    assert repr(tiny).startswith("VideoLLM('tiny', frames of 96 px in 12×12 patches")


def test_answers_and_videos_are_compared_by_identity(video: Video):
    first, second = (video.ask("Is there a star?", max_new_tokens=1) for _ in range(2))
    assert first == first
    assert first != second
    assert len({first, second, video}) == 3


def test_a_video_is_pickled_without_its_model_and_attached_to_one_again(tiny: VideoLLM):
    video = tiny.watch("sample:star", frames=8)
    again = pickle.loads(pickle.dumps(video))
    assert again.llm is None
    with pytest.raises(ConfigError, match=r"llm.attach\(video\)"):
        again.ask("Is there a star?")
    question = {"plan": "paper-small", "max_new_tokens": 4}
    answer = tiny.attach(again).ask("What color is the star?", **question)
    assert answer.token_ids == video.ask("What color is the star?", **question).token_ids
    assert pickle.loads(pickle.dumps(answer)).text == answer.text
    again.features = replace(again.features, llm_states=again.features.llm_states[..., :-1])
    with pytest.raises(ConfigError, match="was encoded by other towers"):
        tiny.attach(again)


SCRIPT = """
from free_video_llm import Plan, VideoLLM
llm = VideoLLM.from_pretrained("tiny", dtype="float32")
video = llm.watch("clip.mp4", frames=8, mode="exact")
answer = video.ask("What?", plan=Plan.preset("paper"), max_new_tokens=3, options=["a", "b"])
answer.save_picture("why.png", width_px=800)
"""
MISTAKES = {
    'dtype="float32"': 'dtyp="float32"',
    'mode="exact"': 'mode="exakt"',
    "max_new_tokens=3": "max_tokens=3",
    'options=["a", "b"]': 'options="red"',
    "width_px=800": "widht_px=800",
    "frames=8": 'frames="8"',
}


def test_a_users_type_checker_finds_mistakes(tmp_path):
    api = pytest.importorskip("mypy.api")
    for right, wrong in [("", ""), *MISTAKES.items()]:
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.replace(right, wrong) if right else SCRIPT)
        told, _, status = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(path)])
        assert status == bool(wrong), told


def test_frames_by_rate(tiny: VideoLLM, tmp_path: Path, capsys):
    clip = make_video(tmp_path / "clip.mp4", frames=60, rate=10)
    assert len(tiny.watch(clip, fps=2).frames) == 12
    assert len(tiny.watch(clip, fps=0.01).frames) == 1
    assert len(tiny.watch(clip, fps=100).frames) == 60  # no more than there are
    assert len(tiny.watch(clip, fps=5, max_candidates=7).frames) == 7
    unsaid = make_video(tmp_path / "clip.h264", frames=60, rate=10, container_format="h264")
    assert 8 <= len(tiny.watch(unsaid, fps=5).frames) <= 60
    for wrong in (0, -1, float("nan"), "2", True, 10**6):
        with pytest.raises(ConfigError, match="fps is a number above 0"):
            tiny.watch(clip, fps=wrong)
    with pytest.raises(ConfigError, match="max_candidates is a whole number"):
        tiny.watch(clip, fps=1, max_candidates=0)
    assert main(["ask", str(clip), "Is there a star?", "--fps", "2", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["answers"]
    assert len(document["evidence"]["sampled"]["seconds"]) == 12
