"""CLIP's and SigLIP's vision encoders layer by layer: no more work than what is read needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from transformers import CLIPVisionModel, SiglipVisionModel


def hidden_states(
    tower: CLIPVisionModel | SiglipVisionModel, images: torch.Tensor, wanted: set[int]
) -> dict[int, torch.Tensor]:
    """The hidden states named in `wanted` (0 is the embeddings), and no layer beyond the last."""
    state = tower.embeddings(images.to(tower.dtype))
    if hasattr(tower, "pre_layrnorm"):  # CLIP alone has one
        state = tower.pre_layrnorm(state)
    states = {0: state} if 0 in wanted else {}
    for number, layer in enumerate(_first(tower.encoder.layers, max(wanted)), start=1):
        state = layer(state, attention_mask=None)
        if number in wanted:
            states[number] = state
    return states


def _first(layers: Any, count: int) -> Iterator[Any]:
    return (layer for _, layer in zip(range(count), layers, strict=False))


def class_token_after(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """The class token [n,C] after an encoder layer, from all states [n,N,C] before it.

    Of the layer's work only keys and values concern the other tokens: a sixth of it.
    """
    if any(parameter.is_meta for parameter in layer.parameters()):
        # Weights that wait in main memory are brought by the layer's own call.
        return layer(states, attention_mask=None)[:, 0]  # type: ignore[no-any-return]
    attention = layer.self_attn
    normed = layer.layer_norm1(states)
    heads = (-1, attention.head_dim)
    query, key, value = (
        projection(tokens).unflatten(-1, heads).transpose(1, 2)
        for projection, tokens in (
            (attention.q_proj, normed[:, :1]),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
    seen = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    state = states[:, 0] + attention.out_proj(seen.transpose(1, 2).flatten(2))[:, 0]
    result: torch.Tensor = state + layer.mlp(layer.layer_norm2(state))
    return result
