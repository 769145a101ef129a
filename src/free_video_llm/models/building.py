"""Checks that a config and tensors go together, and builds transformers' model of them.

Nothing is believed before it is checked: sizes first, then shapes, then memory is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from free_video_llm.errors import CheckpointError, first_line, shown
from free_video_llm.models.weights import Tensors, check_tensors


def config_of(
    kind: Any, data: Mapping[str, Any], folder: Path, *, vision: str = "clip_vision_model"
) -> Any:
    """transformers' config from a config.json, if its vision encoder is of that model type.

    Raises:
        CheckpointError: naming what is wrong.
    """
    check_sizes(data, folder)
    try:
        config = kind.from_dict(dict(data))
    except Exception as error:  # validation of any kind, from several libraries
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    found = config.vision_config.model_type
    if found != vision:
        raise CheckpointError(
            f"{folder / 'config.json'}: a vision tower of type {found!r}; this method needs a "
            f"{vision!r}"
        )
    return config


def check_fits(
    kind: Any,
    config: Any,
    tensors: Tensors,
    folder: Path,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Raise CheckpointError unless the tensors are those of the model of that config."""
    check_layers(config, len(tensors), folder)
    try:
        with torch.device("meta"):
            model = kind(config)
    except Exception as error:  # sizes that do not go together
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    files = sorted({stored.file for stored in tensors.values() if stored.file.parent == folder})
    source = str(files[0]) if len(files) == 1 else f"{folder} ({len(files)} files)"
    check_tensors(model, tensors, source, name_in_file=name_in_file)


#: Sizes in a config.json that a model is built of.
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "max_position_embeddings", "image_size", "patch_size",
)  # fmt: skip


def check_sizes(data: Mapping[str, Any], folder: Path, *, pairs: bool = False) -> None:
    """Raise CheckpointError where a config.json has a size that is no whole number above 0; with
    `pairs` two equal ones are a size as well."""
    parts = [data, *(data.get(name) for name in ("text_config", "vision_config"))]
    for part in (part for part in parts if isinstance(part, Mapping)):
        for name in _SIZES:
            size = part.get(name)
            if pairs and isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
                size = size[0]
            whole = isinstance(size, int) and not isinstance(size, bool)
            if size is not None and not (whole and size > 0):
                raise CheckpointError(
                    f"{folder / 'config.json'}: {name} is a whole number of 1 or more, not "
                    f"{shown(size)}"
                )


def check_layers(config: Any, tensors: int, folder: Path) -> None:
    """Every layer has tensors: more layers than tensors are not built, even without memory."""
    for part in (config, *(getattr(config, n, None) for n in ("text_config", "vision_config"))):
        layers = getattr(part, "num_hidden_layers", 0) or 0
        if layers > tensors:
            raise CheckpointError(
                f"{folder / 'config.json'}: num_hidden_layers is {layers:,}, but the files hold "
                f"{tensors:,} tensors in all"
            )


def build(
    kind: Any, config: Any, tensors: Tensors, folder: Path, placement: Mapping[str, Any]
) -> Any:
    """A transformers model from tensors that were checked. Raises CheckpointError."""
    state = {name: stored.tensor for name, stored in tensors.items()}
    try:
        with _progress_if_long(sum(t.nbytes for t in state.values())):
            return kind.from_pretrained(None, config=config, state_dict=state, **placement)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"cannot build the model of {folder}: {first_line(error)}") from None


@contextmanager
def _progress_if_long(nbytes: int) -> Iterator[None]:
    """Keep transformers' progress bar for models that take a while."""
    from transformers.utils import logging as hf_logging

    quiet = nbytes < 1_000_000_000 and hf_logging.is_progress_bar_enabled()
    if quiet:
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet:
            hf_logging.enable_progress_bar()
