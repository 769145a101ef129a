"""Passes of the towers, short clips, and stretched positions: what the released form rests on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from free_video_llm import Plan, PlanError, VideoLLM
from free_video_llm.errors import ConfigError
from free_video_llm.plans.presets import PRESETS
from tiny_checkpoints import VICUNA, random_frames, write_original, write_transformers

CROPPED = "slow=prompt:2/{pool}/crop:0.5"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> VideoLLM:
    """A checkpoint with a tower of its own, frames of 56 px in 4×4 patches."""
    folder = tmp_path_factory.mktemp("tiny")
    write_original(folder)
    return VideoLLM.from_pretrained(folder)


# --- passes of the towers ------------------------------------------------------------------------


@contextmanager
def counted(llm: VideoLLM) -> Iterator[list[int]]:
    """Pictures that went through the first layer of either tower while this is open."""
    passes: list[int] = []
    towers = {id(t): t for t in (llm.towers.llm_tower, llm.towers.scorer.tower)}
    hooks = [
        tower.embeddings.patch_embedding.register_forward_hook(
            lambda module, inputs, output: passes.append(len(output))
        )
        for tower in towers.values()
    ]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("checkpoint", "towers"), [("llava_frozen_tower", 1), ("llava_finetuned_tower", 2)]
)
def test_each_tower_sees_each_frame_once(golden: Path, checkpoint: str, towers: int) -> None:
    """METHOD §4.2, in every plan and both geometries; nothing at all for a second question."""
    llm = VideoLLM.from_pretrained(golden / checkpoint, dtype="float32")
    frames = random_frames(2, 336)
    with counted(llm) as passes:
        for name in PRESETS:
            for rules in ("corrected", "released"):
                plan = Plan.preset(name, rules=rules)
                passes.clear()
                video = llm.watch(frames)
                video.perceive("what is it?", plan)
                one = name in ("single-frame", "moment")  # the others keep both
                kept = 1 if one else len(frames)
                assert sum(passes) == len(frames) + (towers - 1) * kept, (name, rules)
                passes.clear()
                video.perceive("and where is it now?", plan)
                other = (towers - 1) * (name == "moment")  # its one frame may be another now
                assert sum(passes) <= other, (name, rules)
        passes.clear()
        llm.watch(frames).ask("what is it?", plan="paper@released", max_new_tokens=2)
        assert sum(passes) == towers * len(frames)


def test_a_second_question_of_any_kind_costs_no_pass(tiny: VideoLLM) -> None:
    video = tiny.watch(random_frames(5))
    video.ask("what is it?", plan="paper", max_new_tokens=1)
    with counted(tiny) as passes:
        video.ask("where is it?", plan="paper", rules="released", max_new_tokens=2)
        video.ask("who is it?", options=["he", "she"], plan="slowfast", max_new_tokens=2)
        tiny.ask([(video, "a?"), (video, "b?")], plan="paper-small", max_new_tokens=2)
    assert passes == []


# --- short clips ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "slow", "middle"),
    [(1, [0], [0, 0, 0, 0, 0]), (2, [0, 1], [0, 0, 0, 1, 1]), (4, None, [0, 0, 1, 2, 3])],
)
def test_the_released_paper_plan_on_short_clips(
    tiny: VideoLLM, frames: int, slow: list[int] | None, middle: list[int]
) -> None:
    """Fewer frames than asked for: the slow path takes all there are, the middle one repeats."""
    plan = Plan.preset("paper", rules="released")
    answer = tiny.watch(random_frames(frames)).ask("what is it?", plan=plan, max_new_tokens=2)
    looks = {name: [k.frame for k in kept] for name, kept in answer.visual_tokens.looks.items()}
    assert len(looks["slow"]) == min(3, frames)
    assert slow is None or looks["slow"] == slow
    assert looks["middle"] == middle
    assert looks["fast"] == list(range(frames))
    cropped = round(2 * 0.8**0.5) * round(4 * 0.8**0.5)
    expected = (min(3, frames) + 5) * cropped + frames * 16
    assert len(answer.visual_tokens) == plan.count_tokens(frames=frames, side=4) == expected


def test_of_equal_frames_the_released_code_takes_the_later(tiny: VideoLLM) -> None:
    """A still clip: it sorts by similarity and takes the end of the list."""
    video = tiny.watch(random_frames(6, still=True))
    same = video.features.frame_vectors[:1].expand(6, -1)
    video.features = replace(video.features, frame_vectors=same)
    tokens = video.perceive("what is it?", Plan.preset("paper", rules="released"))[0]
    assert [look.frame for look in tokens.looks["slow"]] == [3, 4, 5]


@pytest.mark.parametrize("pool", ["concat", "spatial_2d_max_pool", "spatial_2d_avg_pool"])
def test_where_the_released_code_fails(tiny: VideoLLM, pool: str) -> None:
    """It crops only what it can read as half as many rows as columns."""
    video = tiny.watch(random_frames(3))
    with pytest.raises(PlanError, match=r"released code cannot crop .*rules='corrected'"):
        video.ask("what is it?", plan=CROPPED.format(pool=pool) + "@released")
    answer = video.ask("what is it?", plan=CROPPED.format(pool=pool), max_new_tokens=1)
    assert len(answer.visual_tokens) > 0


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("frames", [1, 2])
def test_every_preset_takes_short_clips(tiny: VideoLLM, name: str, frames: int) -> None:
    video = tiny.watch(random_frames(frames))
    for rules in ("corrected", "released"):
        plan = Plan.preset(name, rules=rules)
        tokens = video.perceive("what is it?", plan)[0]
        assert len(tokens) == plan.count_tokens(frames=frames, side=4)
        assert bool(tokens.embeds.isfinite().all())


# --- stretched positions -------------------------------------------------------------------------

SHORT = replace(VICUNA, positions=64)
LONG_PLAN = "frames=uniform:4/concat"  # 64 visual tokens, and the prompt


@pytest.fixture(scope="module", params=["original", "transformers"])
def short(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 64 positions, in either layout."""
    folder = tmp_path_factory.mktemp("short")
    tensors = write_original(folder / "original", SHORT)
    if request.param == "original":
        return folder / "original"
    from tiny_checkpoints import clip_model

    write_transformers(folder / "transformers", tensors, SHORT, clip=clip_model())
    return folder / "transformers"


def test_stretching_reaches_beyond_the_models_positions(short: Path) -> None:
    plain, stretched = (
        VideoLLM.from_pretrained(short, rope_scaling_factor=factor, conv_mode="plain")
        for factor in (1, 2)
    )
    assert (plain.image_llm.max_positions, stretched.image_llm.max_positions) == (64, 128)
    frames = random_frames(4)
    with pytest.raises(ConfigError, match=r"this model holds 64: .*rope_scaling_factor=2"):
        plain.watch(frames).ask("a?", plan=LONG_PLAN, max_new_tokens=8)
    answer = stretched.watch(frames).ask("a?", plan=LONG_PLAN, max_new_tokens=8)
    assert answer.prompt_tokens > 64
    assert len(answer.token_ids) > 0


def test_stretching_is_dynamic_ntk(short: Path) -> None:
    """The base grows by (f·L/M − (f−1))^(d/(d−2)) beyond M positions; within, nothing changes."""
    llm = VideoLLM.from_pretrained(short, rope_scaling_factor=2, conv_mode="plain")
    rope = llm.image_llm.model.model.language_model.rotary_emb
    dims = VICUNA.width // VICUNA.heads

    def frequencies(base: float) -> np.ndarray:
        return base ** -(np.arange(0, dims, 2) / dims)

    video = llm.watch(random_frames(4))
    long = video.ask("a?", plan=LONG_PLAN, max_new_tokens=1).prompt_tokens
    base = 10_000 * (2 * long / 64 - 1) ** (dims / (dims - 2))
    assert long > 64
    assert rope.inv_freq.numpy() == pytest.approx(frequencies(base), rel=1e-5)
    video.ask("a?", plan="frames=uniform:1/spatial_2d_max_pool", max_new_tokens=1)
    assert rope.inv_freq.numpy() == pytest.approx(frequencies(10_000), rel=1e-5)


def test_stretching_changes_no_short_prompt(short: Path) -> None:
    answers = []
    for factor in (1, 2):
        llm = VideoLLM.from_pretrained(short, rope_scaling_factor=factor, conv_mode="plain")
        video = llm.watch(random_frames(2))
        answers.append(video.ask("a?", plan="frames=uniform:1/concat", max_new_tokens=6))
    assert answers[0].token_ids == answers[1].token_ids


def test_the_golden_checkpoint_holds_8192(golden: Path) -> None:
    llm = VideoLLM.from_pretrained(golden / "llava_frozen_tower", rope_scaling_factor=2)
    assert llm.image_llm.max_positions == 8192
    assert llm.image_llm.model.dtype == torch.float32
