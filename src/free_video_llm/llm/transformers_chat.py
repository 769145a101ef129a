"""A picture model in this process: any class of transformers that takes images in a chat.

Its own processor and chat template make the prompt; one question at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.encoder.fingerprint import fingerprint
from free_video_llm.errors import ConfigError, first_line
from free_video_llm.llm.chat import ChatRequest, PictureLimits
from free_video_llm.llm.generate import Decoding, Generation
from free_video_llm.llm.one_answer import generate_one, special_tokens_missing
from free_video_llm.profiling.stopwatch import now

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersChat:
    """One model with its processor; see `PictureLLM`.

    Args:
        model: an image-text-to-text model of transformers.
        processor: the model's, with a chat template.
        limits: what is shown at most.
    """

    def __init__(
        self, model: PreTrainedModel, processor: Any, limits: PictureLimits | None = None
    ) -> None:
        self.model, self.processor = model.eval(), processor
        self.limits = limits or PictureLimits()

    @property
    def identity(self) -> str:
        """A hash of the weights."""
        return fingerprint([("llm", self.model)])

    def reply(self, requests: Sequence[ChatRequest], decoding: Decoding) -> list[Generation]:
        """Answers in the order of the requests.

        Raises:
            ConfigError: the chat template cannot be used, or the prompt is longer than the model
                holds.
            CheckpointError: the model's values are no numbers.
        """
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        return [self._ask(request, decoding) for request in requests]

    def inputs_of(self, request: ChatRequest) -> dict[str, torch.Tensor]:
        """The model's inputs for a request, as its own processor makes them."""
        from PIL import Image

        content: list[dict[str, str]] = []
        for picture in request.pictures:
            content += [{"type": "text", "text": picture.words}, {"type": "image"}]
        content.append({"type": "text", "text": request.text})
        messages = [{"role": "user", "content": content}]
        images = [Image.fromarray(picture.pixels) for picture in request.pictures]
        try:
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
            inputs = self.processor(
                text=text,
                images=images or None,
                return_tensors="pt",
                add_special_tokens=special_tokens_missing(self.processor.tokenizer, text),
            )
        except Exception as error:  # a stranger's template and processor can fail in any way
            raise ConfigError(f"the model's processor refuses: {first_line(error)}") from None
        dtype = self.model.dtype
        return {
            name: value.to(self.model.device, dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }

    def _ask(self, request: ChatRequest, decoding: Decoding) -> Generation:
        begun = now(self.model.device)
        return generate_one(
            self.model,
            self.inputs_of(request),
            decoding,
            functools.partial(self.processor.decode, skip_special_tokens=True),
            begun=begun,
            too_long="take a plan with fewer frames, or lower max_images or max_pixels",
        )
