"""The steps of a Llama decoder layer: pure functions, tensors in, tensors out."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def normalise(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMS norm of states [B,L,D]."""
    squares = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True).square_()
    scale = squares.div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    normed: torch.Tensor = (hidden * scale).mul_(weight)
    return normed


def split_heads(states: torch.Tensor, head_dim: int) -> torch.Tensor:
    """[B,L,heads·head_dim] as [B,heads,L,head_dim], a view."""
    heads: torch.Tensor = states.view(len(states), states.shape[1], -1, head_dim)
    return heads.transpose(1, 2)


def rotate(
    states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, head_dim: int
) -> torch.Tensor:
    """States [B,L,heads·head_dim] turned by their positions (RoPE), in place.

    Args:
        cos: [1,L,heads·head_dim], each head's alike.
        sin: the same, negative in the first half of each head.
    """
    width = states.shape[2]
    heads = states.view(len(states), states.shape[1], -1, head_dim)
    other_half = heads.roll(head_dim // 2, -1).flatten(2)
    return states.mul_(cos[..., :width]).addcmul_(other_half, sin[..., :width])


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last L of P positions: [B,L,heads,head_dim].

    Args:
        queries: [B,heads,L,head_dim].
        keys: [B,kv_heads,P,head_dim]; `values` alike.
    """
    length, positions = queries.shape[2], keys.shape[2]
    past = positions - length
    mask = torch.ones(length, positions, dtype=torch.bool).tril(past) if past else None
    attended = F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=not past,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )  # fmt: skip
    return attended.transpose(1, 2)


def attend_weighed(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to some of the positions, and what they weigh, for `join`.

    Args:
        queries: [B,heads,L,head_dim], on a CPU.
        keys: [B,kv_heads,P,head_dim]; `values` alike.
        causal: whether a query attends to keys up to its own number only, not to all.

    Returns:
        [B,L,heads,head_dim], and [B,L,heads]: the logarithm of the sum of exponentials.
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:  # not every version of PyTorch takes them as they are
        keys, values = (states.repeat_interleave(groups, 1) for states in (keys, values))
    # What scaled_dot_product_attention calls on a CPU, which returns only the first.
    attended, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, 0.0, causal
    )
    return attended.transpose(1, 2), weight.transpose(1, 2)


def join(
    one: torch.Tensor, one_weight: torch.Tensor, other: torch.Tensor, other_weight: torch.Tensor
) -> torch.Tensor:
    """Attention to all positions, from attention to these and to those; see `attend_weighed`."""
    return torch.lerp(one, other, torch.sigmoid(other_weight - one_weight)[..., None])
