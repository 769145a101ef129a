"""SmolVLM2: a SigLIP of 512 px, of whose patches sixteen each become one of 64 tokens."""

from __future__ import annotations

from typing import Any

import torch

from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.llm.selected_tokens import Wiring
from free_video_llm.models.family import register_family
from free_video_llm.models.folder import read_normalisation
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.selecting import (
    OpenedToSelect,
    SelectingFamily,
    grid_side,
    one_by_one,
)

#: What its processor writes before and after a picture that is not cut into tiles.
_OPENING, _CLOSING = "<fake_token_around_image><global-img>", "<fake_token_around_image>"


class SmolVLM(SelectingFamily):
    """See `SelectingFamily`."""

    name = "smolvlm"
    reads_words = "'smolvlm'"
    model_types = ("smolvlm",)
    since = (5, 21)

    def tower(self, model: Any, opened: OpenedToSelect, options: LoadOptions) -> TokenTower:
        """See `SelectingFamily`."""
        vision = opened.config.vision_config
        patches = (int(vision.image_size) // int(vision.patch_size)) ** 2
        return TokenTower(
            module=model.model.vision_model,
            look=lambda images: _look(model, images),
            normalisation=read_normalisation(opened.folder) or HALF,
            size=int(vision.image_size),
            side=grid_side(patches // int(opened.config.scale_factor) ** 2, opened.folder),
            width=int(opened.config.text_config.hidden_size),
            patches=patches,
            inner=int(vision.intermediate_size),
        )

    def wiring(self, model: Any, tower: TokenTower, tokenizer: Any) -> Wiring:
        """See `SelectingFamily`."""
        image_id = int(model.config.image_token_id)
        return Wiring(
            image_id=image_id,
            placeholder=str(tokenizer.convert_ids_to_tokens(image_id)),
            opening=_OPENING,
            closing=_CLOSING,
            tokens=tower.tokens,
            words=_from,
            encoded=one_by_one,
        )


register_family(SmolVLM())


def _from(second: float) -> str:
    """As its own processor writes the time of a video's frame."""
    minutes, seconds = divmod(int(second), 60)
    return f"\nFrame from {minutes:02d}:{seconds:02d}:"


def _look(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Images [n,3,S,S] to tokens [n,side²,D]."""
    seen = model.model.get_image_features(images[None], return_dict=True)
    tokens = torch.cat(seen.pooler_output)
    return tokens.reshape(len(images), -1, tokens.shape[-1])
