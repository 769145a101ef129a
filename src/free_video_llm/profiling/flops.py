"""Floating-point operations of the towers and the language model, counted from their shapes.

A multiplication and an addition are two operations. Norms, activations and softmax are left out:
they are under one percent. Causal attention counts the pairs it needs, half of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def encoder_layer(tokens: int, width: int, inner: int) -> int:
    """One layer of a vision tower over one frame's tokens."""
    matrices = 2 * tokens * (4 * width * width + 2 * width * inner)
    return matrices + 4 * tokens * tokens * width


def class_token_layer(tokens: int, width: int, inner: int) -> int:
    """The same, computed for the class token only: keys and values of all, the rest of one."""
    of_all = 2 * tokens * 2 * width * width
    of_one = 2 * (2 * width * width + 2 * width * inner)
    return of_all + of_one + 4 * tokens * width


def tower_layers(config: Any, layers: int) -> int:
    """A tower's embedding and its first `layers` layers over one frame (of CLIP's class token as
    well, which is under a half of a percent elsewhere)."""
    width, patches = int(config.hidden_size), (config.image_size // config.patch_size) ** 2
    embedding = 2 * patches * 3 * config.patch_size**2 * width
    return int(embedding + layers * encoder_layer(1 + patches, width, config.intermediate_size))


def encode_frame(towers: Any) -> int:
    """What one frame costs: the LLM's tower up to the layer that is read, the scorer's all but its
    last, and the class token's part of that one; what is shared counts once."""
    scorer = towers.scorer.model.config.vision_config
    layers = int(scorer.num_hidden_layers)
    tokens = 1 + (scorer.image_size // scorer.patch_size) ** 2
    last = class_token_layer(tokens, int(scorer.hidden_size), int(scorer.intermediate_size))
    own = towers.llm_tower.config
    read = towers.feature_layer % (int(own.num_hidden_layers) + 1)
    if towers.shared:
        return tower_layers(scorer, max(read, layers - 1)) + last
    return tower_layers(own, read) + tower_layers(scorer, layers - 1) + last


def language_model(config: Any, lengths: Sequence[int], *, past: int = 0) -> int:
    """A Llama-like decoder over prompts of these lengths, and its head for each one's last token.

    `past` positions are in the cache already.
    """
    width, inner = int(config.hidden_size), int(config.intermediate_size)
    head = int(getattr(config, "head_dim", None) or width // config.num_attention_heads)
    queries = head * int(config.num_attention_heads)
    keys = head * int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    per_token = 2 * (2 * width * queries + 2 * width * keys + 3 * width * inner)
    total = 0
    for length in lengths:
        pairs = length * past + length * (length + 1) // 2
        total += int(config.num_hidden_layers) * (length * per_token + 4 * pairs * queries)
        total += 2 * width * int(config.vocab_size)
    return total
