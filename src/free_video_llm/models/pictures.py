"""Picture models in this process: any image-text-to-text class of transformers, from a folder.

For families whose visual tokens we do not build. No code of a checkpoint is run, and only
safetensors are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.errors import CheckpointError, ConfigError, first_line
from free_video_llm.llm.transformers_chat import TransformersChat
from free_video_llm.models.building import check_layers, check_sizes
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.weights import read_tensors, weight_files
from free_video_llm.small_files import check_regular, read_json


def is_picture_model(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a class of transformers that takes images and text."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    return config.get("model_type") in KNOWN


def open_picture_model(
    folder: Path, config: Mapping[str, Any], options: LoadOptions
) -> TransformersChat:
    """The model of a folder with its processor.

    Raises:
        CheckpointError: weights or processor cannot be read, or do not fit together.
        ConfigError: options of token models.
    """
    if options.conv_mode is not None or options.rope_scaling_factor != 1:
        raise ConfigError("conv_mode and RoPE scaling are for models whose visual tokens we build")
    files = weight_files(folder)
    if any(file.suffix != ".safetensors" for file in files):
        raise CheckpointError(f"{folder} holds pickles: this model is read from safetensors alone")
    processor = _processor(folder, str(config["model_type"]))
    model = _model(folder, config, len(read_tensors(files)), options)
    return TransformersChat(model, processor, options.picture_limits())


def _model(folder: Path, config: Mapping[str, Any], tensors: int, options: LoadOptions) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText

    check_sizes(config, folder)
    values = {key: value for key, value in config.items() if key != "model_type"}
    try:
        built = AutoConfig.for_model(str(config["model_type"]), **values)
    except Exception as error:  # validation of any kind, from several libraries
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    check_layers(built, tensors, folder)
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=built,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options.placement(),
        )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"cannot build the model of {folder}: {first_line(error)}") from None
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if found.get(what):
            some = sorted(str(key) for key in found[what])[:3]
            raise CheckpointError(
                f"{folder}: {len(found[what])} tensors are {what.removesuffix('_keys')}, such as "
                f"{', '.join(some)}"
            )
    return model


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

    how = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **how)
    about = read_json(folder / "processor_config.json")
    template = about.get("chat_template") or read_json(folder / "chat_template.json").get(
        "chat_template"
    )
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        check_regular(jinja)
        template = jinja.read_text(encoding="utf-8")
    return Idefics3Processor(
        SmolVLMImageProcessorPil.from_pretrained(folder, local_files_only=True),
        tokenizer,
        image_seq_len=about.get("image_seq_len", 64),
        chat_template=template or tokenizer.chat_template,
    )
