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
    """What one frame costs that is scored and kept; what both towers share counts once."""
    if not towers.shared:
        return score_frame(towers) + look_at_frame(towers)
    scorer = towers.scorer.model.config.vision_config
    layers = int(scorer.num_hidden_layers)
    return tower_layers(scorer, max(towers.own.wanted, layers - 1)) + _last_layer(scorer)


def score_frame(towers: Any) -> int:
    """The scorer's tower: all but its last layer, and the class token's part of that one."""
    scorer = towers.scorer.model.config.vision_config
    return tower_layers(scorer, int(scorer.num_hidden_layers) - 1) + _last_layer(scorer)


def look_at_frame(towers: Any) -> int:
    """The LLM's own tower up to the layer that is read."""
    return tower_layers(towers.llm_tower.config, towers.own.wanted)


def _last_layer(scorer: Any) -> int:
    tokens = 1 + (scorer.image_size // scorer.patch_size) ** 2
    return class_token_layer(tokens, int(scorer.hidden_size), int(scorer.intermediate_size))


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
