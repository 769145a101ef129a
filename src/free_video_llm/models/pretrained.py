"""Models that transformers itself loads from a folder: config, weights, chat template, checked.

For families whose tensors have transformers' names. No code of a checkpoint is run, and only
safetensors are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.errors import CheckpointError, first_line
from free_video_llm.models.building import check_layers, check_sizes
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.weights import read_tensors, weight_files
from free_video_llm.small_files import check_regular, read_json


def pretrained_config(folder: Path, config: Mapping[str, Any]) -> Any:
    """transformers' config of a folder, which its weights go with as far as names tell.

    Raises:
        CheckpointError: naming what is wrong.
    """
    from transformers import AutoConfig

    files = weight_files(folder)
    if any(file.suffix != ".safetensors" for file in files):
        raise CheckpointError(f"{folder} holds pickles: this model is read from safetensors alone")
    check_sizes(config, folder, pairs=True)
    values = {key: value for key, value in config.items() if key != "model_type"}
    try:
        built = AutoConfig.for_model(str(config["model_type"]), **values)
    except Exception as error:  # validation of any kind, from several libraries
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    check_layers(built, len(read_tensors(files)), folder)
    return built


def pretrained_model(folder: Path, config: Any, options: LoadOptions) -> Any:
    """The image-text-to-text model of a folder, with every tensor in its place.

    Raises:
        CheckpointError: naming what does not fit.
    """
    from transformers import AutoModelForImageTextToText

    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
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


def chat_template_of(folder: Path, tokenizer: Any) -> str | None:
    """The chat template of a folder, wherever transformers has put it over the years."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        check_regular(jinja)
        return jinja.read_text(encoding="utf-8")
    for name in ("processor_config.json", "chat_template.json"):
        template = read_json(folder / name).get("chat_template")
        if isinstance(template, str):
            return template
    template = getattr(tokenizer, "chat_template", None)
    return template if isinstance(template, str) else None
