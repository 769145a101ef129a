"""How a model is loaded: options, checked before anything is opened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from free_video_llm.errors import ConfigError, MissingExtraError, one_of, shown
from free_video_llm.llm.chat import MAX_PIXELS, PictureLimits
from free_video_llm.llm.prompts import check_mode

#: How a server is shown frames, in the order of how often it is sent each as a video's.
FramesAs = Literal["pictures", "video", "video-twice"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: What looks, and the last step, keep their precision.
_NOT_QUANTISED = ("vision_tower", "vision_model", "visual", "multi_modal_projector", "connector",
                  "lm_head")  # fmt: skip
#: Device maps that spread a model; a scoring CLIP model is small and stays on one device.
_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded. `device_map` and the bit options go straight to transformers.

    Without `device` and `device_map` the model is put on the first CUDA GPU, else on Apple's GPU
    (MPS), else it stays on the CPU.

    Attributes:
        scorer: the CLIP model that scores frames: a Hub id or folder; None finds the matching one.
        revision: the commit, tag or branch of a Hub id, so that a run can be repeated; None takes
            the newest. HF_HUB_OFFLINE=1 in the environment takes only what is there already.
        dtype: "float32", "float16", "bfloat16"; None is float16 on a GPU, float32 on a CPU.
        device: where the whole model is put, such as "cuda:1", "mps", "cpu"; or `device_map`.
        rope_scaling_factor: above 1 stretches the LLM's positions by dynamic NTK scaling.
        conv_mode: the prompt template; None takes the one that fits the checkpoint.
        base_url: of the server, for a model behind one (`openai:NAME`); None takes the usual one.
        engine_url: of a vLLM server that decodes our visual tokens with the language model alone
            (`llm/remote_tokens.py`); None decodes here.
        engine: "vllm" decodes them by vLLM in this process (`llm/vllm_engine.py`), where it is
            installed; None by transformers.
        max_images: pictures that a picture model is sent at most; None for as many as a plan keeps.
        max_pixels: of one of them, None being 768 × 768; and of a frame whose tokens a Qwen-VL
            makes, None being 448 × 448.
        frames_as: "pictures", each after its time; or for a vLLM server whose model reads videos
            "video": whole frames with their places in the clip, as one video; "video-twice": each
            of them twice, for models that make one of every two neighbours (Qwen-VL).
        level: "tokens" or "pictures", for models that can be asked either way; None takes tokens
            where we can select them.
    """

    scorer: str | None = None
    revision: str | None = None
    dtype: str | torch.dtype | None = None
    device: str | None = None
    device_map: Any = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    rope_scaling_factor: float = 1.0
    conv_mode: str | None = None
    base_url: str | None = None
    engine_url: str | None = None
    engine: Literal["vllm"] | None = None
    max_images: int | None = None
    max_pixels: int | None = None
    frames_as: FramesAs = "pictures"
    level: Literal["tokens", "pictures"] | None = None

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
        if self.revision is not None and (not isinstance(self.revision, str) or not self.revision):
            raise ConfigError(f"revision is a commit, tag or branch, not {shown(self.revision)}")
        if self.device is not None and self.device_map is not None:
            raise ConfigError("choose device or device_map, not both")
        if self.device is not None and not isinstance(self.device, str):
            raise ConfigError(f"device is a name such as 'cuda:0', not {shown(self.device)}")
        if self.device in (*_SPREADING, "disk", "meta"):
            raise ConfigError(f"device is one device: {self.device} is for device_map")
        _check_devices(self.device_map if self.device is None else self.device)
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("choose load_in_8bit or load_in_4bit, not both")
        factor = self.rope_scaling_factor
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not math.isfinite(factor) or factor < 1:
            raise ConfigError(f"rope_scaling_factor is 1 or more, not {shown(factor)}")
        if self.conv_mode is not None:
            check_mode(self.conv_mode)
        for name in ("base_url", "engine_url"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} is an address, not {shown(getattr(self, name))}")
        if self.level is not None:
            one_of("level", self.level, ("tokens", "pictures"), ConfigError)
        if self.engine is not None:
            one_of("engine", self.engine, ("vllm",), ConfigError)
        if self.engine is not None and self.engine_url is not None:
            raise ConfigError("choose engine or engine_url, not both")
        one_of("frames_as", self.frames_as, get_args(FramesAs), ConfigError)
        for name, least in (("max_images", 1), ("max_pixels", 1024)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
            if value is not None and not whole:
                raise ConfigError(
                    f"{name} is a whole number of {least} or more, not {shown(value)}"
                )

    def picture_limits(self) -> PictureLimits:
        """What a picture model is sent at most."""
        return PictureLimits(
            max_images=self.max_images,
            max_pixels=self.max_pixels or MAX_PIXELS,
            as_video=get_args(FramesAs).index(self.frames_as),
        )

    def torch_dtype(self) -> torch.dtype:
        if self.dtype is not None:
            return _DTYPES[str(self.dtype)]
        where = self._map()
        if isinstance(where, dict):
            on_cpu = all(str(place) == "cpu" for place in where.values())
        else:
            on_cpu = where is None or str(where) == "cpu"
        if where in _SPREADING:
            on_cpu = _best_device() is None
        return torch.float32 if on_cpu else torch.float16

    def _map(self) -> Any:
        """transformers' `device_map`; None leaves the model on the CPU."""
        if self.device_map is not None:
            return self.device_map
        device = self.device or _best_device()
        return None if device is None else {"": device}

    def placement(self) -> dict[str, Any]:
        """The keyword arguments for transformers' `from_pretrained`.

        Raises ConfigError or MissingExtraError where this machine cannot do what is asked.
        """
        named: dict[str, Any] = {"dtype": self.torch_dtype()}
        if self.load_in_8bit or self.load_in_4bit:
            named["quantization_config"] = self._quantization()
        where = self._map()
        if where is not None:
            named["device_map"] = where
        return named

    def scorer_placement(self) -> dict[str, Any]:
        """The same for the CLIP model: never quantised, and on one device."""
        named = self.placement()
        named.pop("quantization_config", None)
        where = named.get("device_map")
        spread = len(set(where.values())) > 1 if isinstance(where, dict) else where in _SPREADING
        if spread:
            best = _best_device()
            named["device_map"] = None if best is None else {"": best}
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
            llm_int8_skip_modules=list(_NOT_QUANTISED),
        )


def _best_device() -> int | str | None:
    """The device that a model is put on unless told otherwise; None is the CPU."""
    if torch.cuda.is_available():
        return 0
    return "mps" if torch.backends.mps.is_available() else None


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
                f"device {shown(str(device))}: this machine has "
                f"{there or 'no'} {kind} device{'s' * (there != 1)}; use "
                f"{' or '.join([*others, 'cpu'])}, or leave it out"
            )


def _has(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
