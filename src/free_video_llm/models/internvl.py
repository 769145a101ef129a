"""InternVL 3 and 3.5 in transformers' `internvl`: one tile of 448 px and 256 tokens for a frame."""

from __future__ import annotations

from typing import Any

from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.llm.selected_tokens import Wiring
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

_USUAL = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class InternVL(SelectingFamily):
    """See `SelectingFamily`."""

    name = "internvl"
    reads_words = "'internvl'"
    model_types = ("internvl",)

    def tower(self, model: Any, opened: OpenedToSelect, options: LoadOptions) -> TokenTower:
        """See `SelectingFamily`."""
        vision = opened.config.vision_config
        size, patch = (_one(value) for value in (vision.image_size, vision.patch_size))
        patches = (size // patch) ** 2
        return TokenTower(
            module=model.model.vision_tower,
            look=lambda images: (
                model.model.get_image_features(images, return_dict=True).pooler_output
            ),
            normalisation=read_normalisation(opened.folder) or _USUAL,
            size=size,
            side=grid_side(round(patches * opened.config.downsample_ratio**2), opened.folder),
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
            opening=getattr(tokenizer, "start_image_token", None) or "<img>",
            closing=getattr(tokenizer, "end_image_token", None) or "</img>",
            tokens=tower.tokens,
            words=frame_at,
            encoded=as_one,
        )


register_family(InternVL())


def _one(sides: Any) -> int:
    return int(sides[0] if isinstance(sides, list | tuple) else sides)
