"""Gemma 3: a SigLIP of 896 px, averaged by its projector to 256 tokens for a frame.

The tokens of one image look at each other in both directions (arXiv 2503.19786); the kept ones of a
frame do so too.
"""

from __future__ import annotations

from typing import Any

import torch

from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.llm.selected_tokens import Whole, Wiring
from free_video_llm.models.family import register_family
from free_video_llm.models.folder import read_normalisation
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.selecting import (
    OpenedToSelect,
    SelectingFamily,
    as_one,
    frame_at,
    grid_side,
)


class Gemma3(SelectingFamily):
    """See `SelectingFamily`."""

    name = "gemma3"
    reads_words = "'gemma3'"
    model_types = ("gemma3",)

    def tower(self, model: Any, opened: OpenedToSelect, options: LoadOptions) -> TokenTower:
        """See `SelectingFamily`."""
        vision = opened.config.vision_config
        return TokenTower(
            module=model.model.vision_tower,
            look=lambda images: (
                model.model.get_image_features(images, return_dict=True).pooler_output
            ),
            normalisation=read_normalisation(opened.folder) or HALF,
            size=int(vision.image_size),
            side=grid_side(int(opened.config.mm_tokens_per_image), opened.folder),
            width=int(opened.config.text_config.hidden_size),
            patches=(int(vision.image_size) // int(vision.patch_size)) ** 2,
            inner=int(vision.intermediate_size),
        )

    def wiring(self, model: Any, tower: TokenTower, tokenizer: Any) -> Wiring:
        """See `SelectingFamily`: the chat template writes the beginning of an image for it."""
        begin = getattr(tokenizer, "boi_token", None) or "<start_of_image>"
        end = getattr(tokenizer, "eoi_token", None) or "<end_of_image>"
        return Wiring(
            image_id=int(model.config.image_token_id),
            placeholder=begin,
            opening=f"\n\n{begin}",
            closing=f"{end}\n\n",
            tokens=tower.tokens,
            words=frame_at,
            encoded=as_one,
            arguments=_both_ways,
        )


register_family(Gemma3())


def _both_ways(whole: Whole) -> dict[str, torch.Tensor]:
    """Where visual tokens stand, which look at each other within a frame."""
    return {"token_type_ids": whole.visual[:, whole.given].long()}
