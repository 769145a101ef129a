"""Prompts divided by what they have in common from their beginnings on."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from free_video_llm import VideoLLM
from free_video_llm.llm import prefix_tree
from free_video_llm.llm.prefix_tree import Branch, pair_cost, tree


def letters(*rows: str) -> dict[int, torch.Tensor]:
    """Prompts of one number a position, a letter's."""
    made = [torch.tensor([[float(ord(c))] for c in row]).reshape(-1, 1) for row in rows]
    return dict(enumerate(made))


def test_a_tree_divides_prompts_by_what_they_begin_with(monkeypatch):
    monkeypatch.setattr(prefix_tree, "SHARED_AT_LEAST", 2)
    found = tree(letters("abcdx", "abcdyz", "q", "abc", "qrs", "qrt", "zz", "", "abcdx"), pair=0)
    alike = Branch(5, (0, 8))
    assert found == Branch(0, (7, 2, 6), (Branch(3, (3, 1), (alike,)), Branch(2, (4, 5))))
    assert found.rows == (7, 2, 6, 3, 1, 0, 8, 4, 5)
    assert tree(letters("abc"), pair=0) == Branch(0, (0,))
    assert tree(letters("abc", "abc"), pair=0) == Branch(0, (), (Branch(3, (0, 1)),))


def test_what_costs_more_than_it_saves_is_not_computed_apart(monkeypatch):
    """Behind a beginning of its own a rest of r positions costs r²/2 pairs more."""
    monkeypatch.setattr(prefix_tree, "SHARED_AT_LEAST", 2)
    two = letters("abcdxxxx", "abcdyyyy")  # saves 4 positions, for 16 pairs
    apart, together = Branch(0, (0, 1)), Branch(0, (), (Branch(4, (0, 1)),))
    assert tree(two, pair=0.24) == together
    assert tree(two, pair=0.26) == apart
    three = letters("abcdxxxx", "abcdyyyy", "abcdzzzz")  # 8 positions, for 24 pairs
    assert tree(three, pair=0.32) == Branch(0, (), (Branch(4, (0, 1, 2)),))
    assert tree(three, pair=0.34) == Branch(0, (0, 1, 2))
    # What is alike for longer is computed apart all the same; one mask is paid for but once.
    found = tree(letters("abcdefghpq", "abcdefghrs", "abxxxxxx"), pair=0.2)
    assert found == Branch(0, (2,), (Branch(8, (0, 1)),))
    # Neither beginning pays: the longer one would, but for the mask that the shorter had paid for.
    found = tree(letters("abcdxxxxxx", "abcdxxyyyy", "abzzzzzzzz"), pair=0.5)
    assert found == Branch(0, (2, 0, 1))
    found = tree(letters("abcdefpp", "abcdefrr", "abcdxx"), pair=0.5)
    assert found == Branch(0, (), (Branch(4, (2,), (Branch(6, (0, 1)),)),))


def test_the_cost_of_a_pair_falls_with_the_size_of_the_model():
    model = VideoLLM.from_pretrained("tiny").image_llm.model.model.language_model
    a_layer = 4 * 160 * 160 + 3 * 160 * 432 + 2 * 160
    assert pair_cost(model) == pytest.approx(4 * 160 / a_layer, rel=1e-3)
    with torch.device("meta"):
        seven_b = LlamaModel(LlamaConfig())
    assert pair_cost(seven_b) == pytest.approx(4 * 4096 / 202.4e6, rel=1e-3)
