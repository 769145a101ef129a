"""An image LLM whose prompts become embeddings here and are pre-filled and decoded elsewhere.

For models with plain positions, whose tokens we build (LLaVA, LLaVA-OneVision): a prompt's
embeddings are all that an engine needs to know. Here only their table stays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from free_video_llm.errors import ConfigError
from free_video_llm.llm.generate import Decoding, Generation, ImageLLM


class ForeignLLM(ImageLLM):
    """See `ImageLLM`; `here` is the model as it was loaded, whose layers `let_go` gives up."""

    local = False
    fewer = "a plan with fewer tokens, or fewer frames"

    def __init__(self, here: ImageLLM) -> None:
        super().__init__(here.model, here.tokenizer, after_image=here.after_image)

    def let_go(self) -> None:
        """Give up what the engine has: the language model's layers and its head."""
        self.model.model.language_model.layers = torch.nn.ModuleList()
        self.model.lm_head = torch.nn.Identity()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        visual: Sequence[torch.Tensor],
        *,
        decoding: Decoding | None = None,
        stop: Sequence[str] = (),
    ) -> list[Generation]:
        """Answers in their order. Raises as `ImageLLM.generate` and `decode_prompts` do."""
        decoding = decoding or Decoding()
        if decoding.num_beams != 1:
            raise ConfigError("num_beams is not what a vLLM engine does: leave it out")
        embeds = self.embedded(prompts, visual, decoding)
        return self.decode_prompts([e.detach().cpu().contiguous() for e in embeds], decoding, stop)

    @abstractmethod
    def decode_prompts(
        self, embeds: Sequence[torch.Tensor], decoding: Decoding, stop: Sequence[str]
    ) -> list[Generation]:
        """Answers to prompts given as embeddings [tokens,D] on the CPU, in their order."""
