"""Picture models in this process: any image-text-to-text class of transformers, from a folder.

For models whose visual tokens are not built or selected here: they are shown pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError, ConfigError, first_line
from free_video_llm.llm.prompts import CHAT
from free_video_llm.llm.transformers_chat import TransformersChat
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.family import Level, register_family
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.pretrained import chat_template_of, pretrained_config, pretrained_model
from free_video_llm.models.scorers import build_scorer, scorer_beside
from free_video_llm.small_files import read_json


class Pictures:
    """See `Family`."""

    name = "pictures"
    reads_words = "any type that transformers has for images and text"
    level: Level = "pictures"

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of a class of transformers that takes images and text."""
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
        )

        return config.get("model_type") in KNOWN

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> Opened:
        """Read and check a checkpoint without building it."""
        return Opened(
            folder=folder,
            layout="pictures",
            config=pretrained_config(folder, config),
            scorer=scorer_beside(folder, scorer),
            conv_mode=CHAT,
        )

    def build(self, opened: Opened, options: LoadOptions) -> tuple[Towers, TransformersChat]:
        """A scorer that chooses what is shown, and the model with its processor."""
        if options.conv_mode is not None or options.rope_scaling_factor != 1:
            raise ConfigError(
                "conv_mode and RoPE scaling are for models whose visual tokens we build"
            )
        processor = _processor(opened.folder, str(opened.config.model_type))
        model = pretrained_model(opened.folder, opened.config, options)
        towers = Towers(scorer=build_scorer(opened.scorer, options))
        return towers, TransformersChat(model, processor, options.picture_limits())


register_family(Pictures())


def _processor(folder: Path, model_type: str) -> Any:
    from transformers import AutoProcessor

    try:
        if model_type == "smolvlm":
            processor = _smolvlm_processor(folder)
        else:
            processor = AutoProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of several libraries
        raise CheckpointError(
            f"{folder}: its processor cannot be made here: {first_line(error)}"
        ) from None
    images = getattr(processor, "image_processor", None)
    if images is not None and getattr(images, "do_image_splitting", False):
        # A frame is one picture: in tiles it would be up to seventeen times as many tokens, and
        # these models' own way with a video does not cut it up either.
        images.do_image_splitting = False
    if not getattr(processor, "chat_template", None):
        raise CheckpointError(f"{folder}: its processor has no chat template")
    return processor


def _smolvlm_processor(folder: Path) -> Any:
    """SmolVLM's without its half for videos, which cannot be made without torchvision: the prompt
    of single pictures is that of Idefics 3."""
    from transformers import AutoTokenizer, Idefics3Processor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return Idefics3Processor(
        SmolVLMImageProcessorPil.from_pretrained(folder, local_files_only=True),
        tokenizer,
        image_seq_len=read_json(folder / "processor_config.json").get("image_seq_len", 64),
        chat_template=chat_template_of(folder, tokenizer),
    )
