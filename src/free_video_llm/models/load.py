"""From a name or a folder to a running model: builds what `checkpoint_files.py` has opened.

Knows nothing of layouts and file formats, nor of videos and plans.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from free_video_llm.encoder.tower import Normalisation, Towers
from free_video_llm.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    first_line,
    one_of,
    shown,
)
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.prompts import TEMPLATES, check_mode
from free_video_llm.models.folder import (
    TINY,
    Checkpoint,
    find_folder,
    open_checkpoint,
    read_normalisation,
)
from free_video_llm.models.weights import Tensors, same_weights

__all__ = ["TINY", "LoadOptions", "Loaded", "load"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Device maps that spread a model; a scoring CLIP model is small and stays on one device.
_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded. `device_map` and the bit options go straight to transformers.

    Attributes:
        scorer: the CLIP model that scores frames: a Hub id or folder; None finds the matching one.
        dtype: "float32", "float16", "bfloat16"; None is float16 on a GPU, float32 elsewhere.
        rope_scaling_factor: above 1 stretches the LLM's positions by dynamic NTK scaling.
        conv_mode: the prompt template; None takes the one that fits the checkpoint.
    """

    scorer: str | None = None
    dtype: str | torch.dtype | None = None
    device_map: Any = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    rope_scaling_factor: float = 1.0
    conv_mode: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.dtype, torch.dtype):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        if self.dtype is not None:
            one_of("dtype", self.dtype, _DTYPES, ConfigError)
        for name in ("load_in_8bit", "load_in_4bit"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is True or False, not {shown(getattr(self, name))}")
        if self.scorer is not None and not isinstance(self.scorer, str | Path):
            raise ConfigError(f"scorer is a Hub id or a folder, not {shown(self.scorer)}")
        _check_devices(self.device_map)
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("choose load_in_8bit or load_in_4bit, not both")
        factor = self.rope_scaling_factor
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not math.isfinite(factor) or factor < 1:
            raise ConfigError(f"rope_scaling_factor is 1 or more, not {shown(factor)}")
        if self.conv_mode is not None:
            check_mode(self.conv_mode)

    def torch_dtype(self) -> torch.dtype:
        if self.dtype is not None:
            return _DTYPES[str(self.dtype)]
        return torch.float16 if torch.cuda.is_available() else torch.float32

    def placement(self) -> dict[str, Any]:
        """The keyword arguments for transformers' `from_pretrained`.

        Raises ConfigError or MissingExtraError where this machine cannot do what is asked.
        """
        named: dict[str, Any] = {"dtype": self.torch_dtype()}
        if self.load_in_8bit or self.load_in_4bit:
            named["quantization_config"] = self._quantization()
        if self.device_map is not None:
            named["device_map"] = self.device_map
        elif torch.cuda.is_available():
            named["device_map"] = {"": 0}
        return named

    def scorer_placement(self) -> dict[str, Any]:
        """The same for the CLIP model: never quantised, and on one device."""
        named = self.placement()
        named.pop("quantization_config", None)
        where = named.get("device_map")
        spread = len(set(where.values())) > 1 if isinstance(where, dict) else where in _SPREADING
        if spread:
            named["device_map"] = {"": 0} if torch.cuda.is_available() else None
        return named

    def _quantization(self) -> Any:
        bits = 8 if self.load_in_8bit else 4
        if not torch.cuda.is_available():
            raise ConfigError(
                f"{bits}-bit loading needs a CUDA GPU and there is none here: leave out "
                f"load_in_{bits}bit, or choose dtype float32 for a CPU"
            )
        try:
            import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            raise MissingExtraError(
                f"{bits}-bit loading needs bitsandbytes: pip install 'free-video-llm[quantize]'"
            ) from None
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_8bit=self.load_in_8bit,
            load_in_4bit=self.load_in_4bit,
            bnb_4bit_compute_dtype=self.torch_dtype(),
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type="nf4",
            llm_int8_skip_modules=["vision_tower", "multi_modal_projector", "lm_head"],
        )


def _check_devices(device_map: Any) -> None:
    """Raise ConfigError for a device that this machine does not have."""
    if device_map is None:
        return
    if not isinstance(device_map, str | int | dict | torch.device):
        raise ConfigError(
            f"device_map is a device, 'auto', or a mapping of modules to devices, not "
            f"{shown(device_map)}"
        )
    named = device_map.values() if isinstance(device_map, dict) else [device_map]
    for device in named:
        if device in _SPREADING or device == "disk":
            continue
        try:
            place = torch.device(f"cuda:{device}" if isinstance(device, int) else device)
            kind, number = place.type, place.index or 0
        except (RuntimeError, TypeError, ValueError):
            raise ConfigError(
                f"unknown device {shown(device)}: auto, cpu, cuda, cuda:0, mps and the like"
            ) from None
        there = {
            "cpu": 1,
            "meta": 1,
            "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
            "mps": int(torch.backends.mps.is_available()),
        }.get(kind)
        if there is not None and number >= there:
            others = [k for k in ("cuda", "mps") if k != kind and _has(k)]
            raise ConfigError(
                f"device_map={shown(str(device))}: this machine has "
                f"{there or 'no'} {kind} device{'s' * (there != 1)}; use "
                f"{' or '.join([*others, 'cpu'])}, or leave it out"
            )


def _has(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: its parts, its prompt template, and where it came from."""

    name: str
    layout: str
    folder: Path
    towers: Towers
    llm: ImageLLM
    conv_mode: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def load(name: str | Path, options: LoadOptions | None = None) -> Loaded:
    """Load a model by Hub id, folder, or the name "tiny".

    Raises:
        CheckpointError: it cannot be found or does not fit together; names the tensor and file.
        ConfigError: an option that cannot be met on this machine.
    """
    options = options or LoadOptions()
    placement = options.placement()
    opened = open_checkpoint(find_folder(name), scorer=options.scorer)
    config = _stretched(opened.config, options.rope_scaling_factor)
    model = _build(opened.kind, config, opened.tensors, opened.folder, placement)
    for key, value in opened.token_ids.items():
        setattr(model.generation_config, key, value)
    towers = _build_towers(opened, model, options)
    conv_mode = options.conv_mode or opened.conv_mode
    if conv_mode is None:
        raise CheckpointError(
            f"{opened.folder}: no prompt is known for a language model of type "
            f"{opened.config.text_config.model_type!r}, and its tokenizer has no chat template: "
            f"name one with conv_mode ({', '.join(TEMPLATES)})"
        )
    llm = ImageLLM(model, opened.tokenizer)
    return Loaded(str(name), opened.layout, opened.folder, towers, llm, conv_mode, opened.settings)


# --- building --------------------------------------------------------------------------------


def _build(
    kind: Any, config: Any, tensors: Tensors, folder: Path, placement: Mapping[str, Any]
) -> Any:
    state = {name: stored.tensor for name, stored in tensors.items()}
    try:
        with _progress_if_long(sum(t.nbytes for t in state.values())):
            return kind.from_pretrained(None, config=config, state_dict=state, **placement)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"cannot build the model of {folder}: {first_line(error)}") from None


def _build_towers(opened: Checkpoint, model: Any, options: LoadOptions) -> Towers:
    from transformers import CLIPModel

    files = opened.scorer
    scorer = _build(
        CLIPModel, files.config, files.tensors, files.folder, options.scorer_placement()
    )
    llm_tower = model.model.vision_tower
    if same_weights(llm_tower, scorer.vision_model):
        model.model.vision_tower = scorer.vision_model
        llm_tower = None
    normalisation = read_normalisation(files.folder) or Normalisation()
    return Towers(
        scorer=scorer,
        tokenizer=_clip_tokenizer(files.folder),
        llm_tower=llm_tower,
        feature_layer=model.config.vision_feature_layer,
        normalisation=read_normalisation(opened.folder) or normalisation,
        scorer_normalisation=normalisation,
    )


def _clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    names = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise CheckpointError(
            f"{folder} has no tokenizer for its text encoder: tokenizer.json, or vocab.json and "
            "merges.txt, are needed"
        )
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of several libraries
        raise CheckpointError(f"{folder}: cannot read its tokenizer: {first_line(error)}") from None


def _stretched(config: Any, factor: float) -> Any:
    """The config with dynamic NTK scaling of the LLM's positions (METHOD §1.9)."""
    if factor == 1:
        return config
    config = copy.deepcopy(config)
    rope = dict(config.text_config.rope_parameters or {})
    rope |= {"rope_type": "dynamic", "factor": float(factor)}
    config.text_config.rope_parameters = rope
    return config


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
