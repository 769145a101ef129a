"""From a name or a folder to a checkpoint that is opened and checked, in transformers' names.

Both layouts, and the CLIP model that scores for them. Nothing in a checkpoint is executed: its
tensors are read as tensors, and its config.json only chooses sizes of transformers' own classes.
Builds no model.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.encoder.tower import Normalisation
from free_video_llm.errors import CheckpointError, first_line, shown
from free_video_llm.llm.prompts import END_OF_TURN, check_mode, choose_mode
from free_video_llm.llm.tokenizer import load_tokenizer, token_id
from free_video_llm.models import llava_layout
from free_video_llm.models.weights import Stored, Tensors, check_tensors, read_tensors, weight_files
from free_video_llm.small_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TINY = Path(__file__).parent.parent / "tiny" / "weights"
#: What we keep beside a checkpoint's own files: the prompt template and where its scorer is.
OWN_SETTINGS = "free_video_llm.json"

#: Entries of a config.json that make transformers fetch or run something, or spread the model.
_NEVER_READ = frozenset(
    {
        "auto_map",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "experts_implementation",
        "_experts_implementation",
        "kernel_config",
        "fusion_config",
        "distributed_config",
        "transformers_weights",
        "base_model_tp_plan",
        "_name_or_path",
    }
)


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


def open_checkpoint(folder: Path, *, scorer: str | None = None) -> Checkpoint:
    """Read and check a checkpoint of either layout without building it.

    Raises CheckpointError; see `load`.
    """
    config = read_config(folder)
    settings = read_json(folder / OWN_SETTINGS)
    original = llava_layout.is_original(config)
    if original:
        built, tensors, clip = _open_original(folder, config, scorer)
    elif config.get("model_type") in ("llava", "llava_next"):
        built, tensors, clip = _open_transformers(folder, config, scorer)
    else:
        raise CheckpointError(
            f"{folder} holds a model of type {config.get('model_type')!r}; allowed: the original "
            "LLaVA layout (with mm_vision_tower), or transformers' 'llava' and 'llava_next'"
        )
    kind = _class_for(built)
    name_in_file = llava_layout.to_original if original else None
    _check(kind, built, tensors, folder, name_in_file)
    tokenizer = load_tokenizer(folder)
    conv_mode = settings.get("conv_mode") or choose_mode(
        built.text_config.model_type,
        built.text_config.vocab_size,
        chatml=token_id(tokenizer, END_OF_TURN) is not None,
        has_chat=bool(getattr(tokenizer, "chat_template", None)),
    )
    if conv_mode is not None:
        check_mode(conv_mode)
    ids = _token_ids(folder, built)
    layout = "original" if original else "transformers"
    return Checkpoint(
        folder, layout, kind, built, tensors, clip, tokenizer, conv_mode, ids, settings
    )


# --- finding ---------------------------------------------------------------------------------


def find_folder(
    name: str | Path, *, relative_to: Path | None = None, only_config: bool = False
) -> Path:
    """The folder of a model: "tiny", a folder, or a Hub id (downloaded, or from the local cache).

    With `only_config`, no weights are downloaded.
    """
    if str(name) == "tiny":
        return TINY
    path = Path(name).expanduser()
    for candidate in [relative_to / path] if relative_to else []:
        if candidate.is_dir():
            return candidate
    if path.is_dir():
        return path
    if not _is_hub_id(name):
        raise CheckpointError(
            f"no model {str(name)!r}: give 'tiny', a folder that exists, or a Hub id such as "
            "llava-hf/llava-v1.6-vicuna-7b-hf"
        )
    return _from_hub(str(name).rstrip("/"), ["config.json"] if only_config else None)


def _is_hub_id(name: str | Path) -> bool:
    parts = str(name).rstrip("/").split("/")  # released files write "liuhaotian/llava-v1.6-34b/"
    return len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~")


def named_inside(name: str, folder: Path, *, only_config: bool = False) -> Path:
    """The folder of a model that a checkpoint's own files name.

    They may come from a stranger: a path leads into the checkpoint's folder or nowhere, and before
    anything is fetched from the Hub it is said.

    Raises:
        CheckpointError: a path out of the folder, or neither a folder nor a Hub id.
    """
    path = Path(name)
    inside = folder / path
    if not path.is_absolute() and inside.is_dir():
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(
                f"{folder} names {shown(name)}, which leads out of it: only what lies inside of a "
                "checkpoint is opened; name the model yourself with scorer="
            )
        return inside
    if not _is_hub_id(name):
        raise CheckpointError(
            f"{folder} names {shown(name)}, which is neither a folder inside of it nor a Hub id; "
            "name the model yourself with scorer="
        )
    return _from_hub(name.rstrip("/"), ["config.json"] if only_config else None, named_by=folder)


def _from_hub(name: str, only: list[str] | None, named_by: Path | None = None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = only or ["*.json", "*.model", "*.safetensors", "*.txt"]
    if named_by is not None:
        with contextlib.suppress(HFValidationError, LocalEntryNotFoundError, OSError):
            return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        warnings.warn(
            f"{named_by.name} names {name} for its vision: it is fetched from the Hub", stacklevel=2
        )
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        if not only and not any(folder.glob("*.safetensors")):  # older ones have only pickles
            folder = Path(snapshot_download(name, allow_patterns=[*wanted, "*.bin"]))
    except HFValidationError:
        raise CheckpointError(f"{name!r} is neither a folder nor a Hub id") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"cannot get {name!r} from the Hub and it is not in the local cache "
            f"({type(error).__name__}): check the name and the network, or give a folder"
        ) from None
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, without the entries that are never followed."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no config.json: it is not a checkpoint's folder")
    data = read_json(path)
    if "quantization_config" in data:
        raise CheckpointError(
            f"{path}: the checkpoint is quantised already; give the full-precision one, "
            "with load_in_4bit or load_in_8bit if it has to be smaller"
        )
    return _inert(data)


def _inert(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _inert(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if key not in _NEVER_READ
    }


def read_normalisation(folder: Path) -> Normalisation | None:
    """Mean and standard deviation from `preprocessor_config.json`, if there is one."""
    data = read_json(folder / "preprocessor_config.json")
    mean, std = data.get("image_mean"), data.get("image_std")
    if mean is None or std is None:
        return None
    for values in (mean, std):
        three = isinstance(values, list) and len(values) == 3
        if not three or not all(isinstance(v, int | float) for v in values):
            raise CheckpointError(
                f"{folder / 'preprocessor_config.json'}: image_mean and image_std are three "
                f"numbers each, not {values!r}"
            )
    return Normalisation(tuple(mean), tuple(std))


def _token_ids(folder: Path, config: Any) -> dict[str, Any]:
    noted = read_json(folder / "generation_config.json")
    found = {
        key: noted.get(key, getattr(config.text_config, key, None))
        for key in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    return {key: value for key, value in found.items() if value is not None}


# --- opening ---------------------------------------------------------------------------------

_Opened = tuple[Any, Tensors, ClipFiles]


def open_clip(folder: Path) -> ClipFiles:
    """Read and check the CLIP model in a folder, without building it."""
    from transformers import CLIPConfig, CLIPModel

    data = read_config(folder)
    if data.get("model_type") != "clip":
        raise CheckpointError(
            f"{folder} holds a model of type {data.get('model_type')!r}; a scorer is a 'clip' "
            "model, with its text encoder"
        )
    config = _config_of(CLIPConfig, data, folder)
    stored = read_tensors(weight_files(folder))
    tensors = {name: t for name, t in stored.items() if not llava_layout.is_buffer(name)}
    _check(CLIPModel, config, tensors, folder)
    return ClipFiles(folder, config, tensors)


def _open_original(folder: Path, config: Mapping[str, Any], scorer: str | None) -> _Opened:
    tensors = {
        llava_layout.to_transformers(name, stored.file): stored
        for name, stored in read_tensors(weight_files(folder)).items()
        if not llava_layout.is_buffer(name)
    }
    inside = llava_layout.tower_geometry(tensors)
    name = _tower_name(folder, config, inside)
    chosen = find_folder(scorer, relative_to=folder) if scorer else None
    if inside is None:
        try:
            own = open_clip(named_inside(name, folder))
        except CheckpointError:
            if chosen is None:
                raise
            own = open_clip(chosen)  # what the user names may lie anywhere
        clip = open_clip(chosen) if chosen else own
        tensors |= _tower_of(own)
        vision = own.config.vision_config.to_dict()
    else:
        clip = open_clip(chosen or named_inside(name, folder))
        vision = clip.config.vision_config.to_dict()
        if chosen is not None and _geometry(clip.config.vision_config) != inside:
            vision = _vision_config(name, folder)
    newline = "model.image_newline" in tensors
    try:
        built = llava_layout.transformers_config(config, vision, has_newline=newline)
    except Exception as error:  # ours, and validation of any kind
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    return built, tensors, clip


def _tower_name(
    folder: Path, config: Mapping[str, Any], inside: tuple[int, int, int] | None
) -> str:
    """Where the original of the LLM's vision tower is: as noted, else known by its geometry."""
    name = str(config.get("mm_vision_tower") or "")
    if _is_hub_id(name) and (folder / "clip" / "config.json").is_file():
        return "clip"  # it lies beside the checkpoint: nothing need be fetched
    if name and ((folder / name).is_dir() or _is_hub_id(name)):
        return name
    if inside in llava_layout.CLIP_BY_GEOMETRY:
        return llava_layout.CLIP_BY_GEOMETRY[inside]
    raise CheckpointError(
        f"{folder / 'config.json'}: mm_vision_tower={name!r} is neither a folder nor a Hub id; "
        "set it to the CLIP model that the checkpoint was made with"
    )


def _tower_of(clip: ClipFiles) -> dict[str, Stored]:
    """A CLIP model's vision tower by the names that it has inside a LLaVA model."""
    prefix = "vision_model."
    return {
        "model.vision_tower." + name.removeprefix(prefix): stored
        for name, stored in clip.tensors.items()
        if name.startswith(prefix)
    }


def _vision_config(name: str, relative_to: Path) -> dict[str, Any]:
    data = read_config(named_inside(name, relative_to, only_config=True))
    vision = data.get("vision_config", data)
    if not isinstance(vision, dict):
        raise CheckpointError(f"the config.json of {name} has no vision_config")
    return vision


def _open_transformers(folder: Path, config: Mapping[str, Any], scorer: str | None) -> _Opened:
    from transformers import LlavaConfig, LlavaNextConfig

    kind = LlavaConfig if config["model_type"] == "llava" else LlavaNextConfig
    built = _config_of(kind, _one_layer(config, folder), folder)
    if built.vision_feature_select_strategy != "default":
        raise CheckpointError(
            f"{folder / 'config.json'}: vision_feature_select_strategy="
            f"{built.vision_feature_select_strategy!r}; this method needs 'default' (patches only)"
        )
    tensors = {
        current_name(name): stored
        for name, stored in read_tensors(weight_files(folder)).items()
        if not llava_layout.is_buffer(name)
    }
    if scorer:
        clip = open_clip(find_folder(scorer, relative_to=folder))
    else:
        clip = open_clip(named_inside(matching_scorer(folder, built), folder))
    return built, tensors, clip


def _one_layer(config: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The config with the one hidden state that the projector reads; [-2] is -2."""
    layer = config.get("vision_feature_layer", -2)
    if isinstance(layer, list) and len(layer) == 1:
        layer = layer[0]
    if not isinstance(layer, int) or isinstance(layer, bool):
        raise CheckpointError(
            f"{folder / 'config.json'}: vision_feature_layer={shown(layer)}; this method needs one "
            "whole number, such as -2"
        )
    return {**config, "vision_feature_layer": layer}


def current_name(name: str) -> str:
    """Today's name of a tensor of a transformers LLaVA, from any it has had.

    Examples:
        >>> current_name("vision_tower.vision_model.pre_layrnorm.bias")
        'model.vision_tower.pre_layrnorm.bias'
    """
    for old, new in (
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "model.language_model."),
        ("vision_tower.", "model.vision_tower."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
        ("image_newline", "model.image_newline"),
    ):
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    return name.replace("model.vision_tower.vision_model.", "model.vision_tower.", 1)


def matching_scorer(folder: Path, config: Any) -> str:
    """The CLIP model of a transformers checkpoint: noted or lying beside it, or by geometry."""
    if (folder / "clip" / "config.json").is_file():
        return "clip"
    noted = read_json(folder / OWN_SETTINGS).get("scorer")
    if noted:
        return str(noted)
    vision = config.vision_config
    geometry = _geometry(vision)
    if vision.model_type != "clip_vision_model" or geometry not in llava_layout.CLIP_BY_GEOMETRY:
        raise CheckpointError(
            f"{folder}: no CLIP model is known for a {vision.model_type} tower of {geometry[0]} "
            f"px, patch {geometry[1]}, width {geometry[2]}: name one with scorer="
        )
    return llava_layout.CLIP_BY_GEOMETRY[geometry]


def _geometry(vision: Any) -> tuple[int, int, int]:
    """Image size, patch size and width of a tower."""
    return vision.image_size, vision.patch_size, vision.hidden_size


def _config_of(kind: Any, data: Mapping[str, Any], folder: Path) -> Any:
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


def _class_for(config: Any) -> Any:
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    if config.model_type == "llava":
        return LlavaForConditionalGeneration
    return LlavaNextForConditionalGeneration


def _check(
    kind: Any,
    config: Any,
    tensors: Tensors,
    folder: Path,
    name_in_file: Callable[[str], str] | None = None,
) -> None:
    _check_layers(config, len(tensors), folder)
    try:
        with torch.device("meta"):
            model = kind(config)
    except Exception as error:  # sizes that do not go together
        raise CheckpointError(f"{folder / 'config.json'}: {first_line(error)}") from None
    files = sorted({stored.file for stored in tensors.values() if stored.file.parent == folder})
    source = str(files[0]) if len(files) == 1 else f"{folder} ({len(files)} files)"
    check_tensors(model, tensors, source, name_in_file=name_in_file or str)


def _check_layers(config: Any, tensors: int, folder: Path) -> None:
    """Every layer has tensors: more layers than tensors are not built, even without memory."""
    for part in (config, *(getattr(config, n, None) for n in ("text_config", "vision_config"))):
        layers = getattr(part, "num_hidden_layers", 0) or 0
        if layers > tensors:
            raise CheckpointError(
                f"{folder / 'config.json'}: num_hidden_layers is {layers:,}, but the files hold "
                f"{tensors:,} tensors in all"
            )
