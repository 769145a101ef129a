"""One answer of a transformers model by its own `generate`, from inputs that are ready."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.errors import ConfigError
from free_video_llm.llm.generate import Clock, Decoding, Generation, attention_kernels
from free_video_llm.profiling.stopwatch import now

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def room_of(model: PreTrainedModel) -> int | None:
    """Tokens that a model can hold, prompt and answer together; None where its config is silent."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


@torch.inference_mode()
def generate_one(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    decoding: Decoding,
    decode: Callable[[Sequence[int]], str],
    *,
    begun: float,
    too_long: str,
) -> Generation:
    """The answer to one prompt.

    Args:
        model: with a language model's `generate`.
        inputs: for it, `input_ids` [1,L] among them.
        decoding: how.
        decode: token ids to text, without special tokens.
        begun: when making the inputs began, in seconds of the stopwatch.
        too_long: what to do about a prompt that is longer than the model holds.

    Raises:
        ConfigError: the prompt is longer than the model holds.
        CheckpointError: the model's values are no numbers.
    """
    length, room = inputs["input_ids"].shape[1], room_of(model)
    if room is not None and length + decoding.max_new_tokens > room:
        raise ConfigError(
            f"prompt and answer need {length + decoding.max_new_tokens} tokens, this model "
            f"holds {room}: {too_long}"
        )
    clock = Clock(model.device)
    with attention_kernels(model.device):
        output = model.generate(**inputs, logits_processor=[clock], **decoding.arguments())
    end = now(model.device)
    ids = output[0, length:].tolist()
    first = clock.times[0]
    each = tuple(later - t for t, later in itertools.pairwise(clock.times[: len(ids)]))
    return Generation(decode(ids).strip(), tuple(ids), length, first - begun, end - first, each)


def special_tokens_missing(tokenizer: Any, text: str) -> bool:
    """Whether a prompt that a chat template made still needs the tokens that a tokenizer adds: not
    where the template wrote the first of them itself."""
    first = getattr(tokenizer, "bos_token", None)
    return not (first and text.startswith(first))
