"""From a name or a folder to a running model: which layout it is, which CLIP model scores for it.

Reads safetensors, or `.bin` files with `weights_only`; nothing in a checkpoint is executed. Knows
nothing of videos and plans.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm import original_layout
from free_video_llm.errors import CheckpointError, ConfigError, MissingExtraError
from free_video_llm.image_llm import ImageLLM
from free_video_llm.llm_tokenizer import load_tokenizer
from free_video_llm.prompts import guess_conv_mode, template_named
from free_video_llm.vision import Normalisation, Towers

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPVisionModel, PreTrainedModel

log = logging.getLogger(__name__)

TINY = Path(__file__).parent / "tiny" / "weights"
#: What we keep beside a checkpoint's own files: the prompt template and where its scorer is.
OWN_SETTINGS = "free_video_llm.json"

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
    dtype: str | None = None
    device_map: Any = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    rope_scaling_factor: float = 1.0
    conv_mode: str | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in _DTYPES:
            raise ConfigError(f"unknown dtype {self.dtype!r}: one of {', '.join(_DTYPES)}")
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("choose load_in_8bit or load_in_4bit, not both")
        if self.rope_scaling_factor < 1:
            raise ConfigError(f"rope_scaling_factor is 1 or more, not {self.rope_scaling_factor}")
        if self.conv_mode is not None:
            template_named(self.conv_mode)

    def torch_dtype(self) -> torch.dtype:
        if self.dtype is not None:
            return _DTYPES[self.dtype]
        return torch.float16 if torch.cuda.is_available() else torch.float32

    def placement(self) -> dict[str, Any]:
        """The keyword arguments for transformers' `from_pretrained`."""
        named: dict[str, Any] = {"dtype": self.torch_dtype()}
        if self.load_in_8bit or self.load_in_4bit:
            named["quantization_config"] = self._quantization()
        if self.device_map is not None:
            named["device_map"] = self.device_map
        elif torch.cuda.is_available():
            named["device_map"] = {"": 0}
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

        skip = ["vision_tower", "multi_modal_projector", "lm_head"]
        return BitsAndBytesConfig(
            load_in_8bit=self.load_in_8bit,
            load_in_4bit=self.load_in_4bit,
            bnb_4bit_compute_dtype=self.torch_dtype(),
            llm_int8_skip_modules=skip,
        )


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
    folder = find_folder(name)
    config = read_config(folder)
    original = original_layout.is_original(config)
    if original:
        model, scorer, layout = _load_original(folder, config, options, placement)
    elif config.get("model_type") in ("llava", "llava_next"):
        model, scorer, layout = _load_transformers(folder, config, options, placement)
    else:
        raise CheckpointError(
            f"{folder} holds a model of type {config.get('model_type')!r}; allowed: the original "
            "LLaVA layout (with mm_vision_tower), or transformers' 'llava' and 'llava_next'"
        )
    own = read_settings(folder)
    llm_tower: CLIPVisionModel | None = model.model.vision_tower
    if same_weights(llm_tower, scorer.model.vision_model):
        model.model.vision_tower = scorer.model.vision_model
        llm_tower = None
    towers = Towers(
        scorer=scorer.model,
        tokenizer=scorer.tokenizer,
        llm_tower=llm_tower,
        feature_layer=model.config.vision_feature_layer,
        normalisation=read_normalisation(folder) or scorer.normalisation,
        scorer_normalisation=scorer.normalisation,
    )
    text = model.config.text_config
    conv_mode = (
        options.conv_mode
        or own.get("conv_mode")
        or guess_conv_mode(str(name), text.model_type, text.hidden_size)
    )
    template_named(conv_mode)
    llm = ImageLLM(model, load_tokenizer(folder))
    return Loaded(str(name), layout, folder, towers, llm, conv_mode, own)


# --- finding ---------------------------------------------------------------------------------


def find_folder(name: str | Path, *, relative_to: Path | None = None) -> Path:
    """The folder of a model: "tiny", a folder, or a Hub id (downloaded, or from the local cache)."""
    if str(name) == "tiny":
        return TINY
    path = Path(name).expanduser()
    for candidate in ([relative_to / path] if relative_to else []) + [path]:
        if candidate.is_dir():
            return candidate
    parts = str(name).split("/")
    if path.is_absolute() or len(parts) != 2 or not all(parts) or parts[0] in (".", ".."):
        raise CheckpointError(
            f"no model {str(name)!r}: give 'tiny', a folder that exists, or a Hub id such as "
            "llava-hf/llava-v1.6-vicuna-7b-hf"
        )
    return _from_hub(str(name))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.model", "*.safetensors", "*.txt"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        if not any(folder.glob("*.safetensors")):  # older repositories have only pickles
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
    """`config.json` of a folder."""
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no config.json: it is not a checkpoint's folder"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return data


def read_settings(folder: Path) -> dict[str, Any]:
    """What `fvl convert` or the training of `tiny` noted beside the checkpoint, if anything."""
    path = folder / OWN_SETTINGS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_normalisation(folder: Path) -> Normalisation | None:
    """Mean and standard deviation from `preprocessor_config.json`, if there is one."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if "image_mean" not in data or "image_std" not in data:
        return None
    return Normalisation(tuple(data["image_mean"]), tuple(data["image_std"]))


# --- tensors ---------------------------------------------------------------------------------


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before pickles, by the index if sharded."""
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{ending}.index.json"
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            for name in names:
                if Path(name).name != name or not (folder / name).is_file():
                    raise CheckpointError(f"{index} names {name!r}, which is not in {folder}")
            return [folder / name for name in names]
        single = folder / f"{stem}.{ending}"
        if single.is_file():
            return [single]
    raise CheckpointError(
        f"{folder} holds no weights: model.safetensors, pytorch_model.bin or a sharded form of "
        "either is needed"
    )


def read_tensors(files: Iterable[Path]) -> dict[str, tuple[torch.Tensor, Path]]:
    """All tensors of the files, each with the file it is from (memory-mapped where possible)."""
    from safetensors.torch import load_file

    tensors: dict[str, tuple[torch.Tensor, Path]] = {}
    for file in files:
        try:
            if file.suffix == ".safetensors":
                part = load_file(file)
            else:
                part = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # every reader has errors of its own
            raise CheckpointError(
                f"cannot read {file}: {str(error).splitlines()[0] if str(error) else error!r}"
            ) from None
        tensors |= {name: (tensor, file) for name, tensor in part.items()}
    return tensors


def check_tensors(
    model: torch.nn.Module, tensors: Mapping[str, tuple[torch.Tensor, Path]], folder: Path
) -> None:
    """Every parameter has its tensor of the right shape, and no tensor is left over.

    Raises:
        CheckpointError: naming the tensor and the file.
    """
    wanted = dict(model.named_parameters())
    tied = getattr(model, "_tied_weights_keys", None) or {}
    tied = tied if getattr(model.config, "tie_word_embeddings", False) else {}
    for name, parameter in wanted.items():
        if name not in tensors:
            if name in tied:
                continue
            raise CheckpointError(f"{folder} lacks the tensor {name!r} ({list(parameter.shape)})")
        tensor, file = tensors[name]
        if tensor.shape != parameter.shape:
            raise CheckpointError(
                f"{file}: tensor {name!r} has shape {list(tensor.shape)}, "
                f"the model needs {list(parameter.shape)}"
            )
    for name in tensors:
        if name not in wanted:
            raise CheckpointError(f"{tensors[name][1]}: unexpected tensor {name!r}")


def same_weights(first: torch.nn.Module | None, second: torch.nn.Module) -> bool:
    """Whether two modules have the same parameters, bit for bit."""
    if first is None:
        return True
    ours, theirs = dict(first.named_parameters()), dict(second.named_parameters())
    if ours.keys() != theirs.keys():
        return False
    return all(
        p.shape == theirs[name].shape
        and p.dtype == theirs[name].dtype
        and torch.equal(p.data, theirs[name].data.to(p.device))
        for name, p in ours.items()
    )


# --- layouts ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scorer:
    model: CLIPModel
    tokenizer: Any
    normalisation: Normalisation


def load_scorer(name: str | Path, options: LoadOptions, *, relative_to: Path | None = None) -> _Scorer:
    """A CLIP model with its text encoder, by Hub id or folder."""
    from transformers import CLIPModel, CLIPTokenizer

    folder = find_folder(name, relative_to=relative_to)
    kind = read_config(folder).get("model_type")
    if kind != "clip":
        raise CheckpointError(f"{folder} holds a model of type {kind!r}; a scorer is a 'clip' model")
    placement = options.placement()
    placement.pop("quantization_config", None)
    device_map = placement.get("device_map")
    if isinstance(device_map, str) or (isinstance(device_map, dict) and set(device_map) != {""}):
        placement["device_map"] = {"": 0} if torch.cuda.is_available() else None
    model = CLIPModel.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, **placement
    )
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return _Scorer(model, tokenizer, read_normalisation(folder) or Normalisation())


def _load_original(
    folder: Path, config: Mapping[str, Any], options: LoadOptions, placement: Mapping[str, Any]
) -> tuple[PreTrainedModel, _Scorer, str]:
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    tensors = {
        original_layout.to_transformers(name): entry
        for name, entry in read_tensors(weight_files(folder)).items()
        if not original_layout.is_buffer(name)
    }
    tower = str(config.get("mm_vision_tower", ""))
    scorer = load_scorer(options.scorer or tower, options, relative_to=folder)
    own = scorer  # the CLIP model whose tower is, or was before fine-tuning, the LLM's
    tower_inside = any(name.startswith("model.vision_tower.") for name in tensors)
    if options.scorer and not tower_inside:
        own = load_scorer(tower, options, relative_to=folder)
    if not tower_inside:
        tensors |= {
            f"model.vision_tower.{name}": (p.data, folder)
            for name, p in own.model.vision_model.named_parameters()
        }
    if options.scorer and tower_inside:
        tower_config = read_config(find_folder(tower, relative_to=folder)).get("vision_config", {})
    else:
        tower_config = own.model.config.vision_config.to_dict()
    has_newline = "model.image_newline" in tensors
    built = original_layout.transformers_config(
        config,
        tower_config,
        has_newline=has_newline,
        rope_scaling_factor=options.rope_scaling_factor,
    )
    kind = LlavaNextForConditionalGeneration if has_newline else LlavaForConditionalGeneration
    with torch.device("meta"):
        check_tensors(kind(built), tensors, folder)
    model = kind.from_pretrained(
        None, config=built, state_dict={k: t for k, (t, _) in tensors.items()}, **placement
    )
    generation = folder / "generation_config.json"
    if generation.is_file():
        values = json.loads(generation.read_text(encoding="utf-8"))
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if key in values:
                setattr(model.generation_config, key, values[key])
    return model, scorer, "original"


def _load_transformers(
    folder: Path, config: Mapping[str, Any], options: LoadOptions, placement: Mapping[str, Any]
) -> tuple[PreTrainedModel, _Scorer, str]:
    from transformers import (
        AutoConfig,
        LlavaForConditionalGeneration,
        LlavaNextForConditionalGeneration,
    )

    kinds = {"llava": LlavaForConditionalGeneration, "llava_next": LlavaNextForConditionalGeneration}
    kind = kinds[config["model_type"]]
    try:
        built = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {str(error).splitlines()[0]}") from None
    if options.rope_scaling_factor != 1:
        rope = dict(getattr(built.text_config, "rope_parameters", None) or {})
        rope |= {"rope_type": "dynamic", "factor": float(options.rope_scaling_factor)}
        built.text_config.rope_parameters = rope
    weight_files(folder)  # a clear message before transformers' own
    try:
        model, report = kind.from_pretrained(
            folder,
            config=built,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **placement,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"cannot load {folder}: {str(error).splitlines()[0]}") from None
    for problem in ("missing_keys", "mismatched_keys"):
        names = sorted(str(n) for n in report.get(problem, ()))
        if names:
            raise CheckpointError(
                f"{folder}: {problem.replace('_', ' ')}: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            )
    scorer = load_scorer(options.scorer or matching_scorer(folder, built), options, relative_to=folder)
    return model, scorer, "transformers"


def matching_scorer(folder: Path, config: Any) -> str:
    """The CLIP model of a transformers checkpoint: noted beside it, or known by the tower's geometry."""
    noted = read_settings(folder).get("scorer")
    if noted:
        return str(noted)
    if (folder / "clip" / "config.json").is_file():
        return "clip"
    vision = config.vision_config
    geometry = (vision.image_size, vision.patch_size, vision.hidden_size)
    if vision.model_type != "clip_vision_model" or geometry not in original_layout.CLIP_BY_GEOMETRY:
        raise CheckpointError(
            f"{folder}: no CLIP model is known for a {vision.model_type} tower of {geometry[0]} px, "
            f"patch {geometry[1]}, width {geometry[2]}: name one with scorer="
        )
    return original_layout.CLIP_BY_GEOMETRY[geometry]
