"""The 7B and the 34B on torch's meta device: every tensor name, every shape, the counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from free_video_llm import Plan
from free_video_llm.models.llava import current_name as read_name
from free_video_llm.models.llava_layout import to_original, to_transformers
from free_video_llm.models.llava_layout import transformers_config as built_config
from free_video_llm.models.weights import Stored, check_tensors
from tiny_checkpoints import (
    VICUNA_7B,
    YI_34B,
    Sizes,
    current_name,
    original_config,
    original_shapes,
    tower_shapes,
    transformers_config,
)

BOTH = pytest.mark.parametrize(
    ("sizes", "billions"), [(VICUNA_7B, 7.06), (YI_34B, 34.75)], ids=["7B", "34B"]
)


def build(sizes: Sizes, *, newline: bool = True) -> torch.nn.Module:
    """The model without its weights, from the two config.json files alone."""
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    vision = transformers_config(sizes)["vision_config"]
    config = built_config(original_config(sizes), vision, has_newline=newline)
    kind = LlavaNextForConditionalGeneration if newline else LlavaForConditionalGeneration
    with torch.device("meta"):
        return kind(config)


@BOTH
def test_every_original_tensor_is_one_parameter_and_back(sizes: Sizes, billions: float) -> None:
    parameters = dict(build(sizes).named_parameters())
    expected = original_shapes(sizes)
    renamed = {name: to_transformers(name) for name in expected}
    assert len(set(renamed.values())) == len(expected)
    assert set(renamed.values()) == set(parameters)
    for original, name in renamed.items():
        assert tuple(parameters[name].shape) == expected[original], original
        assert to_original(name) == original
    assert sum(p.numel() for p in parameters.values()) / 1e9 == pytest.approx(billions, rel=0.01)


@BOTH
def test_the_names_of_the_hubs_conversions(sizes: Sizes, billions: float) -> None:
    """llava-hf's names, and today's, come to the same parameters."""
    from tiny_checkpoints import hub_name

    for original in original_shapes(sizes):
        wanted = to_transformers(original)
        assert read_name(hub_name(original)) == read_name(current_name(original)) == wanted


def test_v1_5_takes_its_tower_from_clip() -> None:
    model = build(VICUNA_7B, newline=False)
    shapes = {
        to_transformers(name): shape
        for name, shape in original_shapes(VICUNA_7B, tower=False, newline=False).items()
    }
    tower = tower_shapes(VICUNA_7B.tower)
    shapes |= {"model.vision_tower." + name: shape for name, shape in tower.items()}
    stored = {
        name: Stored(torch.empty(shape, device="meta"), Path("x"), name)
        for name, shape in shapes.items()
    }
    check_tensors(model, stored, "x")  # raises where one does not fit
    assert len(stored) == len(list(model.named_parameters()))


@BOTH
def test_the_papers_tokens(sizes: Sizes, billions: float) -> None:
    side = sizes.tower.image // sizes.tower.patch
    for rules in ("released", "corrected"):
        plan = Plan.preset("paper", rules=rules)
        assert plan.count_tokens(frames=50, side=side) == 2648
