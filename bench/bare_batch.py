"""The least that a batch's passes can take: their matrix products and their attention alone.

No normalisation, no rotation of keys, no activation, no residual, no cache, no Python of the
model's. What one question at a time takes ÷ this is what no batch computed with the same products
and the same attention can exceed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from free_video_llm.key_values import AllWritten


@dataclass(frozen=True)
class Pass:
    """One pass of the language model: rows, positions of each, and how many went before them.

    `ends_early`: where the last layer's keys and values are all that is wanted of it.
    """

    rows: int
    positions: int
    past: int
    ends_early: bool


def passes_of(work: Callable[[], object], language_model: Any) -> list[Pass]:
    """The passes that some work takes, in their order."""
    passes = []
    forward = language_model.forward

    def noted(*args: object, **kwargs: Any) -> object:
        rows, positions = kwargs["inputs_embeds"].shape[:2]
        past = kwargs["past_key_values"].get_seq_length()
        try:
            output = forward(*args, **kwargs)
        except AllWritten:
            passes.append(Pass(rows, positions, past, True))
            raise
        passes.append(Pass(rows, positions, past, False))
        return output

    language_model.forward = noted
    try:
        work()
    finally:
        del language_model.forward  # the class's own shows again
    return passes


def bare(passes: list[Pass], language_model: Any) -> Callable[[], None]:
    """What computes the products and the attention of passes, on numbers made beforehand.

    Attention behind what went before is computed without the mask that it needs.
    """
    config = language_model.config
    heads, width = config.num_attention_heads, config.hidden_size
    made: dict[tuple[int, ...], torch.Tensor] = {}

    def numbers(*shape: int) -> torch.Tensor:
        if shape not in made:
            made[shape] = torch.randn(shape)
        return made[shape]

    def products(layer: torch.nn.Module, some: Pass, *, only: tuple[str, ...] = ("",)) -> None:
        for name, module in layer.named_modules():
            if isinstance(module, torch.nn.Linear) and name.endswith(only):
                module(numbers(some.rows, some.positions, module.in_features))

    def attention(some: Pass) -> None:
        asked = numbers(some.rows, heads, some.positions, width // heads)
        held = numbers(some.rows, heads, some.past + some.positions, width // heads)
        F.scaled_dot_product_attention(asked, held, held, is_causal=not some.past)

    @torch.inference_mode()
    def compute() -> None:
        for some in passes:
            for layer in language_model.layers[:-1]:
                products(layer, some)
                attention(some)
            if some.ends_early:
                products(language_model.layers[-1], some, only=("k_proj", "v_proj"))
            else:
                products(language_model.layers[-1], some)
                attention(some)

    compute()  # so that the numbers are there
    return compute
