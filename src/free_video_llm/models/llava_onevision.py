"""LLaVA-OneVision, LLaVA-NeXT-Interleave and LLaVA-Video, as transformers' `llava_onevision`.

A SigLIP tower without a class token (27 × 27 patches at 384 px), LLaVA's projector, Qwen2. After
a video's tokens the language model reads one learnt token, `image_newline`, as it was trained to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError, shown
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.models import llava_layout
from free_video_llm.models.building import build, config_of
from free_video_llm.models.checkpoint import Checkpoint, finish_opening
from free_video_llm.models.family import Level, register_family
from free_video_llm.models.folder import read_normalisation
from free_video_llm.models.llava import check_feature_layer, current_name, stretched
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import build_scorer, scorer_beside
from free_video_llm.models.weights import read_tensors, weight_files


class LlavaOnevision:
    """See `Family`."""

    name = "llava_onevision"
    reads_words = "transformers' 'llava_onevision' (LLaVA-OneVision, LLaVA-Video, NeXT-Interleave)"
    level: Level = "tokens"

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        return config.get("model_type") == "llava_onevision"

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> Checkpoint:
        """Read and check a checkpoint without building it."""
        from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

        built = config_of(LlavaOnevisionConfig, config, folder, vision="siglip_vision_model")
        if built.vision_feature_select_strategy != "full":
            raise CheckpointError(
                f"{folder / 'config.json'}: vision_feature_select_strategy="
                f"{shown(built.vision_feature_select_strategy)}; this family needs 'full'"
            )
        check_feature_layer(built, folder)
        tensors = {
            current_name(name): stored
            for name, stored in read_tensors(weight_files(folder)).items()
            if not llava_layout.is_buffer(name)
        }
        kind = LlavaOnevisionForConditionalGeneration
        files = scorer_beside(folder, scorer)
        return finish_opening(folder, "transformers", kind, built, tensors, files)

    def build(self, opened: Checkpoint, options: LoadOptions) -> tuple[Towers, ImageLLM]:
        """The towers that look, and the language model that answers."""
        config = stretched(opened.config, options.rope_scaling_factor)
        model = build(opened.kind, config, opened.tensors, opened.folder, options.placement())
        for key, value in opened.token_ids.items():
            setattr(model.generation_config, key, value)
        towers = Towers(
            scorer=build_scorer(opened.scorer, options),
            llm_tower=model.model.vision_tower,
            feature_layer=model.config.vision_feature_layer,
            normalisation=read_normalisation(opened.folder) or HALF,
        )
        newline = model.model.image_newline
        return towers, ImageLLM(model, opened.tokenizer, after_image=newline)


register_family(LlavaOnevision())
