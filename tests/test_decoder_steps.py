"""The steps of a decoder layer are those of transformers, and of the formulas."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from free_video_llm.decoder_steps import (
    attend,
    attend_weighed,
    join,
    normalise,
    rotate,
    split_heads,
)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.fixture(autouse=True)
def inference():
    torch.manual_seed(4)
    with torch.inference_mode():
        yield


def test_the_norm_is_that_of_transformers():
    norm = LlamaRMSNorm(24, eps=0.01)
    torch.nn.init.normal_(norm.weight)
    hidden = torch.randn(2, 5, 24)
    close(normalise(hidden, norm.weight, 0.01), norm(hidden))
    hidden[0, 0] = 0  # the epsilon is what is left
    assert not normalise(hidden, norm.weight, 0.01)[0, 0].any()


def test_heads_are_a_view():
    states = torch.arange(2 * 3 * 8.0).view(2, 3, 8)
    heads = split_heads(states, 4)
    assert heads.shape == (2, 2, 3, 4)
    assert heads[1, 1, 2].tolist() == states[1, 2, 4:].tolist()
    assert heads.data_ptr() == states.data_ptr()


@pytest.mark.parametrize("heads", [1, 3])
def test_positions_turn_states_as_in_transformers(heads: int):
    """Also where there are fewer heads than the tables have."""
    states = torch.randn(2, 5, heads * 6)
    angles = torch.randn(1, 5, 3).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    as_heads = split_heads(states.clone(), 6)
    theirs, _ = apply_rotary_pos_emb(as_heads, as_heads, cos, sin)
    signed = torch.cat([-sin[..., :3], sin[..., 3:]], dim=-1)
    ours = rotate(states, cos.repeat(1, 1, 3), signed.repeat(1, 1, 3), 6)
    assert ours.data_ptr() == states.data_ptr()
    close(split_heads(ours, 6), theirs)


def by_formula(queries, keys, values, allowed) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [B,L,heads,head_dim] and the logarithm of what it sums, from its definition."""
    groups = queries.shape[1] // keys.shape[1]
    keys, values = (states.repeat_interleave(groups, 1) for states in (keys, values))
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
    scores = scores.masked_fill(~allowed, -math.inf)
    return (scores.softmax(-1) @ values).transpose(1, 2), scores.logsumexp(-1).transpose(1, 2)


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("past", [0, 7])
def test_attention_sees_what_went_before(kv_heads: int, past: int):
    queries = torch.randn(2, 4, 9, 6)
    keys, values = torch.randn(2, 2, kv_heads, 9 + past, 6)
    allowed = torch.arange(9 + past) <= torch.arange(past, 9 + past)[:, None]
    close(attend(queries, keys, values), by_formula(queries, keys, values, allowed)[0])


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_the_weight_of_attention_is_the_logarithm_of_what_it_sums(kv_heads: int, causal: bool):
    queries = torch.randn(2, 4, 9, 6)
    keys, values = torch.randn(2, 2, kv_heads, 9, 6)
    allowed = torch.ones(9, 9, dtype=torch.bool)
    expected = by_formula(queries, keys, values, allowed.tril() if causal else allowed)
    for ours, formula in zip(attend_weighed(queries, keys, values, causal=causal), expected):
        close(ours, formula)


def test_attention_to_two_parts_joins_to_attention_to_all():
    queries = 3 * torch.randn(2, 4, 9, 6)
    keys, values = 3 * torch.randn(2, 2, 4, 20, 6)
    near = attend_weighed(queries, keys[:, :, 11:], values[:, :, 11:], causal=True)
    far = attend_weighed(queries, keys[:, :, :11], values[:, :, :11], causal=False)
    close(join(*near, *far), attend(queries, keys, values))
    close(join(*far, *near), attend(queries, keys, values))
