"""A model that is opened and checked but not built, and the building of it.

What belongs to one family of models is its own file's; this is what all have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.errors import CheckpointError, first_line, shown
from free_video_llm.llm.prompts import END_OF_TURN, check_mode, choose_mode
from free_video_llm.llm.tokenizer import load_tokenizer, token_id
from free_video_llm.models import llava_layout
from free_video_llm.models.folder import OWN_SETTINGS, read_config, read_normalisation
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.weights import Tensors, check_tensors, read_tensors, weight_files
from free_video_llm.small_files import check_regular, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP model that is opened but not built; `tensors` by parameter name."""

    folder: Path
    config: Any
    tensors: Tensors = field(repr=False)


@dataclass(frozen=True)
class Checkpoint:
    """A model that is opened and checked but not built, in transformers' names.

    Attributes:
        kind: the transformers class.
        tensors: by parameter name, memory-mapped; the vision tower's among them.
        scorer: the CLIP model that scores frames.
        conv_mode: the prompt template that fits, None where none is known to.
        token_ids: bos_token_id, eos_token_id and pad_token_id, as far as the checkpoint has them.
        settings: what `fvl convert` or the training of `tiny` noted beside it.
    """

    folder: Path
    layout: str
    kind: type[PreTrainedModel]
    config: Any
    tensors: Tensors = field(repr=False)
    scorer: ClipFiles
    tokenizer: Any
    conv_mode: str | None
    token_ids: Mapping[str, Any]
    settings: Mapping[str, Any]


def finish_opening(
    folder: Path,
    layout: str,
    kind: type[PreTrainedModel],
    config: Any,
    tensors: Tensors,
    scorer: ClipFiles,
    *,
    name_in_file: Callable[[str], str] = str,
) -> Checkpoint:
    """What every family does with what it has found: check the tensors, read tokenizer and prompt.

    Raises:
        CheckpointError: naming what does not fit.
    """
    check_fits(kind, config, tensors, folder, name_in_file)
    settings = read_json(folder / OWN_SETTINGS)
    tokenizer = load_tokenizer(folder)
    conv_mode = settings.get("conv_mode") or choose_mode(
        config.text_config.model_type,
        config.text_config.vocab_size,
        chatml=token_id(tokenizer, END_OF_TURN) is not None,
        has_chat=bool(getattr(tokenizer, "chat_template", None)),
    )
    if conv_mode is not None:
        check_mode(conv_mode)
    ids = _token_ids(folder, config)
    return Checkpoint(
        folder, layout, kind, config, tensors, scorer, tokenizer, conv_mode, ids, settings
    )


def _token_ids(folder: Path, config: Any) -> dict[str, Any]:
    noted = read_json(folder / "generation_config.json")
    found = {}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = noted.get(key, getattr(config.text_config, key, None))
        if key == "pad_token_id" and value == -1:  # how early Llamas say that there is none
            value = None
        if value is not None:
            source = folder / ("generation_config.json" if key in noted else "config.json")
            _check_token_id(key, value, int(config.text_config.vocab_size), source)
            found[key] = value
    return found


def _check_token_id(key: str, value: Any, vocabulary: int, source: Path) -> None:
    several = key == "eos_token_id" and isinstance(value, list) and value
    for number in value if several else [value]:
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or not 0 <= number < vocabulary:
            raise CheckpointError(
                f"{source}: {key} is a whole number from 0 to {vocabulary - 1:,}"
                f"{', or a list of them' if key == 'eos_token_id' else ''}, not {shown(value)}"
            )


def open_clip(folder: Path) -> ClipFiles:
    """Read and check the CLIP model in a folder, without building it."""
    from transformers import CLIPConfig, CLIPModel

    data = read_config(folder)
    if data.get("model_type") != "clip":
        raise CheckpointError(
            f"{folder} holds a model of type {data.get('model_type')!r}; a scorer is a 'clip' "
            "model, with its text encoder"
        )
    config = config_of(CLIPConfig, data, folder)
    stored = read_tensors(weight_files(folder))
    tensors = {name: t for name, t in stored.items() if not llava_layout.is_buffer(name)}
    check_fits(CLIPModel, config, tensors, folder)
    return ClipFiles(folder, config, tensors)


def config_of(kind: Any, data: Mapping[str, Any], folder: Path) -> Any:
    check_sizes(data, folder)
    try:
        config = kind.from_dict(dict(data))
    except Exception as error:  # validation of any kind, from several libraries
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    vision = config.vision_config.model_type
    if vision != "clip_vision_model":
        raise CheckpointError(
            f"{folder / 'config.json'}: a vision tower of type {vision!r}; this method needs a "
            "'clip_vision_model'"
        )
    return config


def check_fits(
    kind: Any,
    config: Any,
    tensors: Tensors,
    folder: Path,
    name_in_file: Callable[[str], str] = str,
) -> None:
    _check_layers(config, len(tensors), folder)
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


def check_sizes(data: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError where a config.json has a size that is no whole number above 0."""
    parts = [data, *(data.get(name) for name in ("text_config", "vision_config"))]
    for part in (part for part in parts if isinstance(part, Mapping)):
        for name in _SIZES:
            size = part.get(name)
            whole = isinstance(size, int) and not isinstance(size, bool)
            if size is not None and not (whole and size > 0):
                raise CheckpointError(
                    f"{folder / 'config.json'}: {name} is a whole number of 1 or more, not "
                    f"{shown(size)}"
                )


def _check_layers(config: Any, tensors: int, folder: Path) -> None:
    """Every layer has tensors: more layers than tensors are not built, even without memory."""
    for part in (config, *(getattr(config, n, None) for n in ("text_config", "vision_config"))):
        layers = getattr(part, "num_hidden_layers", 0) or 0
        if layers > tensors:
            raise CheckpointError(
                f"{folder / 'config.json'}: num_hidden_layers is {layers:,}, but the files hold "
                f"{tensors:,} tensors in all"
            )


# --- building --------------------------------------------------------------------------------


def build(
    kind: Any, config: Any, tensors: Tensors, folder: Path, placement: Mapping[str, Any]
) -> Any:
    state = {name: stored.tensor for name, stored in tensors.items()}
    try:
        with _progress_if_long(sum(t.nbytes for t in state.values())):
            return kind.from_pretrained(None, config=config, state_dict=state, **placement)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"cannot build the model of {folder}: {first_line(error)}") from None


def build_clip(files: ClipFiles, options: LoadOptions) -> ClipScorer:
    """The CLIP model that scores, with its tokenizer."""
    from transformers import CLIPModel

    placement = options.scorer_placement()
    model = build(CLIPModel, files.config, files.tensors, files.folder, placement)
    return ClipScorer(model, _clip_tokenizer(files.folder), read_normalisation(files.folder))


def _clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    names = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise CheckpointError(
            f"{folder} has no tokenizer for its text encoder: tokenizer.json, or vocab.json and "
            "merges.txt, are needed"
        )
    for name in sorted(names & {"tokenizer.json", "vocab.json", "merges.txt"}):
        check_regular(folder / name)
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of several libraries
        raise CheckpointError(f"{folder}: cannot read its tokenizer: {first_line(error)}") from None


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
