"""Llama's decoder layers for a batch's pre-fill on a CPU: keys and values, and nothing else.

They are what transformers' layers write, from the same weights, with fewer passes over memory, and
without state, so that several threads can be at it. Other models, types and devices are left to
transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from free_video_llm.decoder_steps import (
    attend,
    attend_weighed,
    join,
    normalise,
    rotate,
    split_heads,
)
from free_video_llm.prompt_tree import SHARED_AT_LEAST, alike

if TYPE_CHECKING:
    from free_video_llm.key_values import KeyValues

#: Cosines and sines of positions, as `rotate` takes them.
Turn = tuple[torch.Tensor, torch.Tensor]


def is_known(language_model: Any) -> bool:
    """Whether `LlamaPass` computes what this decoder of transformers does."""
    from transformers import LlamaModel, MistralModel

    return (
        type(language_model) in (LlamaModel, MistralModel)
        and language_model.config.hidden_act == "silu"
        and all(p.is_cpu and p.dtype == torch.float32 for p in language_model.parameters())
        # Weights that accelerate brings when a layer is called are not there before.
        and not any(hasattr(module, "_hf_hook") for module in language_model.modules())
    )


@dataclass(frozen=True)
class _Alike:
    """What the first layer makes of positions at which all prompts hold the same.

    No layer before it has brought in what differs elsewhere: queries, keys and values are the same
    for all prompts, and so is what these positions attend to among themselves.
    """

    start: int
    end: int
    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    attended: torch.Tensor
    weight: torch.Tensor


class LlamaPass:
    """Passes through the decoder layers of one model, for a batch of prompts.

    Args:
        language_model: one that `is_known`, without its head.
        store: where keys and values are written.
        prompts: [L_i,D], all that will be passed.
    """

    def __init__(
        self, language_model: Any, store: KeyValues, prompts: Sequence[torch.Tensor]
    ) -> None:
        self.layers, self.store = language_model.layers, store
        attention = self.layers[0].self_attn
        self.head_dim = attention.head_dim
        positions = torch.arange(max(map(len, prompts)))[None]
        cos, sin = language_model.rotary_emb(prompts[0], positions)  # [1,L,head_dim]
        heads = attention.q_proj.out_features // self.head_dim
        half = self.head_dim // 2
        self.cos = cos.repeat(1, 1, heads)
        self.sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1).repeat(1, 1, heads)
        self.alike = self._of_alike(prompts)

    def __call__(self, inputs: torch.Tensor, place: int, past: int) -> None:
        """Write the keys and values of the rows from `place` on, behind `past` positions of each.

        Args:
            inputs: embeddings [B,L,D] of the positions from `past` on.
        """
        rows, end = slice(place, place + len(inputs)), past + inputs.shape[1]
        turn = self.cos[:, past:end], self.sin[:, past:end]
        hidden = inputs
        *before, last = self.layers
        for number, layer in enumerate(before):
            if number == past == 0 and self.alike and self.alike.end < end:
                attended = self._attend_first(inputs, rows, self.alike)
            else:
                queries, keys, values = self._project(layer, hidden, turn)
                attended = attend(queries, *self.store.write(number, rows, past, keys, values))
            hidden = hidden + layer.self_attn.o_proj(attended.flatten(2))
            normed = _normed(layer.post_attention_layernorm, hidden)
            gate = F.silu(layer.mlp.gate_proj(normed), inplace=True)
            hidden += layer.mlp.down_proj(gate.mul_(layer.mlp.up_proj(normed)))
        normed = _normed(last.input_layernorm, hidden)
        self.store.write(len(before), rows, past, *self._keys_and_values(last, normed, turn))

    def _project(self, layer: Any, hidden: torch.Tensor, turn: Turn) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values [B,heads,L,head_dim] of a layer."""
        normed = _normed(layer.input_layernorm, hidden)
        queries = rotate(layer.self_attn.q_proj(normed), *turn, self.head_dim)
        return split_heads(queries, self.head_dim), *self._keys_and_values(layer, normed, turn)

    def _keys_and_values(
        self, layer: Any, normed: torch.Tensor, turn: Turn
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys = rotate(layer.self_attn.k_proj(normed), *turn, self.head_dim)
        values = layer.self_attn.v_proj(normed)
        return split_heads(keys, self.head_dim), split_heads(values, self.head_dim)

    def _of_alike(self, prompts: Sequence[torch.Tensor]) -> _Alike | None:
        """What the first layer need not compute for each prompt; None where that is little."""
        at = alike(prompts)
        if at.stop - at.start < SHARED_AT_LEAST:
            return None
        turn = self.cos[:, at], self.sin[:, at]
        queries, keys, values = self._project(self.layers[0], prompts[0][None, at], turn)
        attended, weight = attend_weighed(queries, keys, values, causal=True)
        return _Alike(at.start, at.stop, queries, keys, values, attended, weight)

    def _attend_first(self, inputs: torch.Tensor, rows: slice, same: _Alike) -> torch.Tensor:
        """The first layer's keys and values written, and its attention [B,L,heads,head_dim]."""
        start, end = same.start, same.end

        def others(states: torch.Tensor) -> torch.Tensor:
            return torch.cat([states[:, :start], states[:, end : inputs.shape[1]]], dim=1)

        turn = others(self.cos), others(self.sin)
        queries, keys, values = self._project(self.layers[0], others(inputs), turn)
        before, behind = slice(start), slice(start, None)
        written = self.store.write(0, rows, 0, keys[:, :, before], values[:, :, before])
        first = attend(queries[:, :, before], *written)
        asked = same.queries.expand(len(inputs), -1, -1, -1)
        across = attend_weighed(asked, *written, causal=False)
        middle = join(same.attended, same.weight, *across)
        self.store.write(0, rows, start, same.keys, same.values)
        written = self.store.write(0, rows, end, keys[:, :, behind], values[:, :, behind])
        last = attend(queries[:, :, behind], *written)
        return torch.cat([first, middle, last], dim=1)


def _normed(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    return normalise(hidden, norm.weight, norm.variance_epsilon)
