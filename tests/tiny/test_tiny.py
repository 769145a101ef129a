"""The embedded model: it is a real checkpoint, and it answers about its world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from free_video_llm import Plan, VideoLLM
from free_video_llm.models.load import TINY
from free_video_llm.plans.presets import PRESETS
from free_video_llm.samples import all_samples, find, is_sample
from free_video_llm.tiny.questions import Question
from score_tiny import blind, run, summarise, wilson


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


def test_it_is_a_checkpoint_like_a_7b(tiny: VideoLLM):
    from transformers import CLIPModel, LlavaForConditionalGeneration

    assert type(tiny.image_llm.model) is LlavaForConditionalGeneration
    assert type(tiny.towers.scorer.model) is CLIPModel
    names = {path.name for path in TINY.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "generation_config.json",
    } <= names
    assert sum(f.stat().st_size for f in TINY.parent.rglob("*") if f.is_file()) < 30e6
    assert not list(TINY.rglob("*.bin"))


def test_its_tower_is_shared_with_the_scorer(tiny: VideoLLM):
    assert tiny.towers.shared
    assert tiny.image_llm.model.model.vision_tower is tiny.towers.scorer.tower


@pytest.mark.parametrize("name", sorted(all_samples()))
def test_it_answers_the_bundled_samples(tiny: VideoLLM, name: str):
    sample = all_samples()[name]
    video = tiny.watch(sample.path)
    for question, answer in sample.questions:
        assert video.ask(question, max_new_tokens=6).text == answer


def test_it_answers_about_clips_it_has_never_seen(tiny: VideoLLM):
    outcomes = run(tiny, 60, ["paper"], needle=False, seed=424_242)
    assert np.mean([o.right for o in outcomes]) >= 0.8  # the full measure: make tiny-score


def test_it_finds_needles_with_the_prompt_guided_plan(tiny: VideoLLM):
    outcomes = run(tiny, 30, ["prompt-3", "uniform-3"], needle=True, seed=424_242)
    guided = [o.right for o in outcomes if o.plan == "prompt-3"]
    uniform = [o.right for o in outcomes if o.plan == "uniform-3"]
    assert np.mean(guided) >= 0.75
    assert np.mean(guided) > np.mean(uniform)
    assert {o.tokens for o in outcomes} == {216}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("rules", ["corrected", "released"])
def test_every_preset_runs_and_counts(tiny: VideoLLM, name: str, rules: str):
    video = tiny.watch(find("sample:star"))
    plan = Plan.preset(name, rules=rules)  # type: ignore[arg-type]
    answer = video.ask("Is there a star?", plan=plan, max_new_tokens=4)
    assert len(answer.visual_tokens) == plan.count_tokens(frames=50, side=12)
    assert torch.isfinite(answer.visual_tokens.embeds).all()


def test_samples_are_known_by_content(tmp_path: Path):
    original = Path(find("sample:star"))
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(original.read_bytes())
    assert is_sample(original)
    assert is_sample(copy)
    copy.write_bytes(original.read_bytes() + b"x")
    assert not is_sample(copy)
    assert not is_sample(tmp_path / "missing.mp4")


def test_wilson_interval_by_hand():
    # 8 of 10: (0.8 + 0.19208 ± 1.96·√(0.016 + 0.009604)) / 1.38416
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-3)
    assert high == pytest.approx(0.9433, abs=1e-3)


def test_the_best_blind_answer_is_the_commonest_for_each_wording():
    star = [Question("color", "What color is the star?", c) for c in ("red", "red", "blue")]
    pairs = [Question("is there pair", f"Is there a red {s}?", a)
             for s, a in (("star", "yes"), ("moon", "no"), ("ring", "no"))]  # fmt: skip
    assert blind(star) == 2
    assert blind(pairs) == 2
    assert blind(star + pairs) == 4


def test_the_summary_counts_everything_once(tiny: VideoLLM):
    outcomes = run(tiny, 6, ["uniform-3"], needle=False, seed=7)
    rows = summarise(outcomes)
    overall = next(r for r in rows if r["kind"] == "all")
    assert overall["questions"] == 6
    assert sum(int(str(r["questions"])) for r in rows if r["kind"] != "all") == 6
