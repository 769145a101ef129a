"""Token-exact parity with the released code: every golden case, float32 on the CPU (METHOD §6).

The golden boxes are [left, top, right, bottom], the latter two exclusive, in the released reading.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from free_video_llm import Answer, Plan, VideoLLM
from free_video_llm.llm.prompts import template_named
from free_video_llm.video.read import Frames, read_frames

CASES = ["paper_2648", "paper_1026", "frozen_tower", "vertical_pool_34b_prompt"]
#: Of the visual tokens, the `.npz` beside a case holds every 37th, where it does not hold all.
STEP = 37


@dataclass(frozen=True)
class Case:
    """What the released code gave, and what we give, from the clip."""

    wanted: dict[str, Any]
    tokens: np.ndarray
    frames: Frames
    llm: VideoLLM
    answer: Answer


def ask(llm: VideoLLM, frames: Frames, wanted: dict[str, Any]) -> Answer:
    return llm.watch(frames).ask(
        wanted["question"],
        plan=wanted["temporal_aggregation"],
        rules="released",
        conv_mode=wanted.get("conv_mode"),
        max_new_tokens=16,
    )


@pytest.fixture(scope="module")
def run(shared: Path, golden: Path) -> Callable[[str], Case]:
    @cache
    def load(checkpoint: str) -> VideoLLM:
        return VideoLLM.from_pretrained(golden / checkpoint, dtype="float32")

    @cache
    def once(name: str) -> Case:
        wanted = json.loads((golden / f"{name}.json").read_text())
        tokens = np.load(golden / f"{name}.npz")["visual_tokens"]
        clip = shared / "data" / "clips" / wanted["video"]
        llm = load(wanted["checkpoint"])
        frames = read_frames(
            clip, count=wanted["num_frames"], size=llm.towers.size, rules="released"
        )
        return Case(wanted, tokens, frames, llm, ask(llm, frames, wanted))

    return once


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, run: Callable[[str], Case]) -> Case:
    return run(request.param)


def kept(tokens: Any, wanted: np.ndarray) -> np.ndarray:
    ours = tokens.embeds.numpy()
    return ours if len(ours) == len(wanted) else ours[::STEP]


def test_frame_indices(case: Case) -> None:
    assert case.frames.total == case.wanted["total_frames"]
    assert case.frames.indices.tolist() == case.wanted["frame_indices"]


def test_prompt_and_its_ids(case: Case) -> None:
    assert case.answer.prompt == case.wanted["prompt"]
    assert case.llm.image_llm.tokenize(case.answer.prompt) == case.wanted["prompt_ids"]


def test_prompt_guided_frames(case: Case) -> None:
    looks = case.answer.visual_tokens.looks
    guided = case.wanted["text_guided"]
    for pathway, frames in zip(("slow", "fast"), guided, strict=False):
        assert [look.frame for look in looks[pathway]] == frames
    if len(guided) == 1 and "fast" in looks:  # as many as there are: nothing to select
        assert [look.frame for look in looks["fast"]] == list(range(case.wanted["num_frames"]))


def test_boxes(case: Case) -> None:
    looks = case.answer.visual_tokens.looks
    boxes = [[list(look.box.ltrb) for look in looks[name]] for name in ("slow", "middle")]
    assert boxes == case.wanted["roi_box_ltrb"]


def test_token_count(case: Case) -> None:
    plan = Plan.parse(case.wanted["temporal_aggregation"], rules="released")
    frames, side = case.wanted["num_frames"], case.llm.towers.side
    assert len(case.answer.visual_tokens) == case.wanted["num_visual_tokens"]
    assert plan.count_tokens(frames=frames, side=side) == case.wanted["num_visual_tokens"]


def test_visual_tokens_from_the_clip(case: Case) -> None:
    """Asked for within 2e-3; the decoder gives the released pixels, so it is 1e-4."""
    ours = kept(case.answer.visual_tokens, case.tokens)
    assert ours.shape == case.tokens.shape
    assert np.abs(ours - case.tokens).max() < 1e-4


def test_greedy_answer(case: Case) -> None:
    assert list(case.answer.token_ids) == case.wanted["output_ids"]
    assert case.answer.text == case.wanted["output_text"].strip()


def test_visual_tokens_from_the_given_frames(golden: Path, run: Callable[[str], Case]) -> None:
    case = run("paper_2648")
    pixels = np.load(golden / "paper_2648.npz")["frames_336"]
    assert np.array_equal(case.frames.pixels, pixels)
    tokens = case.llm.watch(case.frames).perceive(
        case.wanted["question"], Plan.preset("paper", rules="released")
    )[0]
    assert len(case.tokens) == 2648
    assert np.abs(tokens.embeds.numpy() - case.tokens).max() < 1e-4


def test_the_decoders_own_scaling_is_near_but_not_equal(
    shared: Path, run: Callable[[str], Case]
) -> None:
    """What `resize="bicubic"` costs: parity needs "pil", other uses do not."""
    case = run("paper_2648")
    clip = shared / "data" / "clips" / case.wanted["video"]
    frames = read_frames(clip, count=50, size=336, resize="bicubic")
    distance = np.abs(frames.pixels.astype(int) - case.frames.pixels.astype(int))
    assert frames.indices.tolist() == case.wanted["frame_indices"]
    assert 0 < distance.mean() < 1.0
    assert distance.max() < 32


@pytest.mark.parametrize("name", ["paper", "paper-small"])
def test_presets_are_the_released_settings(run: Callable[[str], Case], name: str) -> None:
    case = run({"paper": "paper_2648", "paper-small": "paper_1026"}[name])
    released = Plan.parse(case.wanted["temporal_aggregation"])
    assert Plan.preset(name).pathways == released.pathways


def test_templates_are_the_released_prompts(run: Callable[[str], Case]) -> None:
    for name, mode in (("paper_2648", None), ("vertical_pool_34b_prompt", "image_seq_34b_v3")):
        case = run(name)
        chosen = mode or case.llm.conv_mode
        filled = template_named(chosen).fill(case.wanted["question"])
        assert filled == case.wanted["prompt"]
