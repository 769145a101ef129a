"""Pre-fills a batch of prompts of different lengths without a mask, and lays their caches together.

A padded batch needs a mask over every pair of positions, which costs more than it saves: measured
on a CPU, eight prompts of 1,240 tokens take 1.7 times as long in one masked batch as one by one.
Padded on the *right*, causal attention never looks at the padding, so no mask is needed; afterwards
each row's keys and values are moved to the right, where decoding wants them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

#: Positions pre-filled together: short prompts share the cost of a call, long ones fill it alone.
POSITIONS_AT_ONCE = 4096


@torch.inference_mode()
def prefill(language_model: Any, embeds: Sequence[torch.Tensor]) -> Any | None:
    """The keys and values of all prompts but for their last position, padded on the left.

    Args:
        language_model: a decoder of transformers, without its head.
        embeds: prompts [L_i,D], at least one of them longer than one.

    Returns:
        A transformers `DynamicCache` of [B,heads,max(L_i)-1,head_dim] a layer, or None where the
        model keeps its past in another way, such as a sliding window.
    """
    from transformers import DynamicCache

    longest = max(len(e) for e in embeds) - 1
    rows: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in embeds]
    for group in _groups([len(e) - 1 for e in embeds]):
        width = max(len(embeds[row]) for row in group) - 1
        inputs = torch.stack(
            [F.pad(embeds[r][:-1], (0, 0, 0, width - len(embeds[r]) + 1)) for r in group]
        )
        cache = DynamicCache(config=language_model.config)
        if any(layer.is_sliding for layer in cache.layers):
            return None
        language_model(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
        for number, row in enumerate(group):
            length = len(embeds[row]) - 1
            rows[row] = [
                (layer.keys[number, :, :length], layer.values[number, :, :length])
                for layer in cache.layers
            ]
    merged = DynamicCache(config=language_model.config)
    for number in range(len(merged.layers)):
        # Taken out as they are joined, so that they are not all held twice.
        pairs = [row.pop(0) for row in rows]
        keys, values = (
            torch.stack([F.pad(pair[i], (0, 0, longest - pair[i].shape[1], 0)) for pair in pairs])
            for i in (0, 1)
        )
        merged.update(keys, values, number)
    return merged


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows that are pre-filled together, of like lengths, so that little is padding."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    group: list[int] = []
    for row in order:
        if group and lengths[row] * (len(group) + 1) > POSITIONS_AT_ONCE:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
