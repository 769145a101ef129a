"""Refuses values that are no numbers, wherever a model gives them."""

from __future__ import annotations

import torch

from free_video_llm.errors import NOT_NUMBERS, CheckpointError


def check_finite(part: str, *values: torch.Tensor) -> None:
    """Raise CheckpointError where a part of the model gives what is no number."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise CheckpointError(NOT_NUMBERS.format(part=part))
