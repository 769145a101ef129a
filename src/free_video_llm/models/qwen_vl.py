"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: tokens with places in time, height and width.

Frames are given as images: a video of theirs pairs neighbouring frames, and frames that were chosen
have no neighbours. Tokens that are left out leave their places behind (arXiv 2409.12191, §2.1;
2502.13923); what Qwen3-VL adds in deeper layers of the language model goes with each kept token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.errors import ConfigError
from free_video_llm.llm.selected_tokens import Whole, Wiring
from free_video_llm.models.family import register_family
from free_video_llm.models.folder import read_normalisation
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.selecting import (
    OpenedToSelect,
    SelectingFamily,
    frame_at,
    one_by_one,
)

#: Of a frame, unless `max_pixels` says otherwise: 256 tokens of Qwen2.5-VL, 196 of Qwen3-VL.
FRAME_PIXELS = 448 * 448


class QwenVL(SelectingFamily):
    """See `SelectingFamily`."""

    name = "qwen_vl"
    reads_words = "'qwen2_vl', 'qwen2_5_vl', 'qwen3_vl'"
    model_types = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
    sized = True

    def tower(self, model: Any, opened: OpenedToSelect, options: LoadOptions) -> TokenTower:
        """See `SelectingFamily`: square frames, as many patches as `max_pixels` has room for."""
        vision = opened.config.vision_config
        merged = int(vision.patch_size * vision.spatial_merge_size)
        side = math.isqrt(options.max_pixels or FRAME_PIXELS) // merged
        if side < 1:
            raise ConfigError(f"max_pixels is at least {merged**2:,} for this model")
        layers = 1 + len(_deepstack(model))
        width = int(opened.config.text_config.hidden_size)
        patches = (side * vision.spatial_merge_size) ** 2
        return TokenTower(
            module=model.model.visual,
            look=lambda images: _look(model, images),
            normalisation=read_normalisation(opened.folder) or _usual(opened.config.model_type),
            size=side * merged,
            side=side,
            width=layers * width,
            patches=patches,
            inner=4 * int(getattr(vision, "embed_dim", None) or vision.hidden_size),
        )

    def wiring(self, model: Any, tower: TokenTower, tokenizer: Any) -> Wiring:
        """See `SelectingFamily`."""
        image_id = int(model.config.image_token_id)
        third = model.config.model_type == "qwen3_vl"
        return Wiring(
            image_id=image_id,
            placeholder=str(tokenizer.convert_ids_to_tokens(image_id)),
            tokens=tower.tokens,
            words=_seconds if third else frame_at,
            encoded=lambda tokens: _encoded(model, tokens),
            arguments=lambda whole: {"position_ids": _places(model, whole, tower.side)},
        )


register_family(QwenVL())


def _usual(model_type: str) -> Normalisation:
    """CLIP's numbers in the first two, halves in the third."""
    half = (0.5, 0.5, 0.5)
    return Normalisation(half, half) if model_type == "qwen3_vl" else Normalisation()


def _seconds(second: float) -> str:
    """As Qwen3-VL's own processor writes the time of a video's frame."""
    return f"<{second:.1f} seconds>"


def _deepstack(model: Any) -> Sequence[int]:
    """The encoder's layers whose states go into layers of the language model too."""
    return getattr(model.model.visual, "deepstack_visual_indexes", ())


def _look(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Images [n,3,S,S] to tokens [n,side²,(1 + deepstack layers)·D]."""
    vision = model.config.vision_config
    values = patchify(
        images,
        patch=int(vision.patch_size),
        merge=int(vision.spatial_merge_size),
        times=int(vision.temporal_patch_size),
    )
    side = images.shape[-1] // int(vision.patch_size)
    grid = torch.tensor([[1, side, side]] * len(images), device=images.device)
    seen = model.model.get_image_features(values, grid, return_dict=True)
    layers = [seen.pooler_output, *(getattr(seen, "deepstack_features", None) or ())]
    joined = [layer if isinstance(layer, torch.Tensor) else torch.cat(layer) for layer in layers]
    tokens = torch.cat(joined, -1)
    return tokens.reshape(len(images), -1, tokens.shape[-1])


def patchify(images: torch.Tensor, *, patch: int, merge: int, times: int) -> torch.Tensor:
    """Images [n,3,S,S] to patches [n·S²/patch², 3·times·patch²], those that are merged together
    one after the other, each frame `times` times over: what Qwen2-VL's image processor makes."""
    count, channels, size, _ = images.shape
    side = size // patch // merge
    parts = images.reshape(count, channels, side, merge, patch, side, merge, patch)
    # image, row and column of the merged grid, row and column within, channel, row, column
    parts = parts.permute(0, 2, 5, 3, 6, 1, 4, 7)
    repeated = parts[..., None, :, :].expand(*parts.shape[:6], times, patch, patch)
    return repeated.reshape(count * (side * merge) ** 2, -1)


def _encoded(model: Any, tokens: Sequence[torch.Tensor]) -> Any:
    layers = 1 + len(_deepstack(model))
    split = [frame.chunk(layers, -1) for frame in tokens]
    first = [frame[0] for frame in split]
    if layers == 1:
        return one_by_one(first)
    from transformers.models.qwen3_vl.modeling_qwen3_vl import (
        BaseModelOutputWithDeepstackFeatures,
    )

    deeper = [[frame[layer] for frame in split] for layer in range(1, layers)]
    return BaseModelOutputWithDeepstackFeatures(pooler_output=first, deepstack_features=deeper)


def _places(model: Any, whole: Whole, side: int) -> torch.Tensor:
    """Positions [3,1,L] in time, height and width, as all tokens of every frame would have them,
    of those that are given."""
    merge = int(model.config.vision_config.spatial_merge_size)
    grid = torch.tensor([[1, side * merge, side * merge]] * whole.frames)
    positions, _ = model.model.get_rope_index(
        whole.token_ids,
        mm_token_type_ids=whole.visual.int(),
        image_grid_thw=grid if whole.frames else None,
    )
    kept: torch.Tensor = positions[..., whole.given]
    return kept
