"""The original LLaVA checkpoint layout: its tensor names, its config, and their transformers forms.

Pure translation; reads no weights and runs no model. v1.5 and v1.6 on Vicuna, Mistral and Yi (34B).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import LlavaConfig, LlavaNextConfig

    from free_video_llm.models.weights import Tensors

#: Original prefix to transformers prefix, the first that matches.
_PREFIXES = (
    ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
    ("model.image_newline", "model.image_newline"),
    ("lm_head.", "lm_head."),
)
#: Buffers that old checkpoints carry and nobody needs.
_BUFFERS = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")

#: Tower geometry (image size, patch size, width) to the CLIP model with that tower.
CLIP_BY_GEOMETRY = {
    (336, 14, 1024): "openai/clip-vit-large-patch14-336",
    (224, 14, 1024): "openai/clip-vit-large-patch14",
    (224, 16, 768): "openai/clip-vit-base-patch16",
    (224, 32, 768): "openai/clip-vit-base-patch32",
}

#: What a language model's config.json must say; the rest has defaults.
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
)  # fmt: skip
_OPTIONAL = (
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "head_dim",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


def is_buffer(name: str) -> bool:
    """Whether a tensor of this name is a buffer that is computed, not loaded."""
    return _BUFFERS.fullmatch(name) is not None


def to_transformers(name: str, file: Path | None = None) -> str:
    """The transformers name of an original tensor name.

    Raises CheckpointError, naming the tensor and the file, where it is unknown.
    """
    for old, new in _PREFIXES:
        if name.startswith(old):
            return new + name[len(old) :]
    where = f"{file}: " if file else ""
    raise CheckpointError(f"{where}the tensor {name!r} is not of an original LLaVA checkpoint")


def to_original(name: str) -> str:
    """The original name of a transformers parameter name."""
    for old, new in _PREFIXES:
        if name.startswith(new):
            return old + name[len(new) :]
    raise CheckpointError(f"unknown parameter {name!r}: not of a LLaVA model")


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of the original layout."""
    return "mm_vision_tower" in config or "mm_projector_type" in config


def tower_geometry(tensors: Tensors) -> tuple[int, int, int] | None:
    """Image size, patch size and width of the tower among the tensors; None if it is not there.

    `tensors` by transformers name.
    """
    patches = tensors.get("model.vision_tower.embeddings.patch_embedding.weight")
    positions = tensors.get("model.vision_tower.embeddings.position_embedding.weight")
    if not any(name.startswith("model.vision_tower.") for name in tensors):
        return None
    if patches is None or positions is None or patches.tensor.ndim != 4:
        return (0, 0, 0)  # incomplete; the check of all tensors says what is missing
    width, patch = patches.tensor.shape[0], patches.tensor.shape[-1]
    side = round((positions.tensor.shape[0] - 1) ** 0.5)
    return side * patch, patch, width


def transformers_config(
    config: Mapping[str, Any], vision_config: Mapping[str, Any], *, has_newline: bool
) -> LlavaConfig | LlavaNextConfig:
    """The transformers config of an original one and of its tower's.

    Raises:
        CheckpointError: a projector or a feature choice that this method does not know.
    """
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaNextConfig

    projector = config.get("mm_projector_type", "linear")
    if projector != "mlp2x_gelu":
        raise CheckpointError(
            f"unknown projector mm_projector_type={projector!r}; "
            "allowed: 'mlp2x_gelu' (LLaVA v1.5 and v1.6)"
        )
    feature = config.get("mm_vision_select_feature", "patch")
    if feature != "patch":
        raise CheckpointError(f"mm_vision_select_feature={feature!r}; this method needs 'patch'")
    vision = {k: v for k, v in vision_config.items() if k not in ("model_type", "architectures")}
    text = _text_config(config)
    common: dict[str, Any] = {
        "vision_config": CLIPVisionConfig(**vision),
        "text_config": text,
        "vision_feature_layer": config.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "image_token_index": text.vocab_size,  # never in a prompt: we place the image ourselves
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
    }
    if has_newline:
        pinpoints = config.get("image_grid_pinpoints")
        return LlavaNextConfig(**common, image_grid_pinpoints=pinpoints)
    return LlavaConfig(**common)


def _text_config(config: Mapping[str, Any]) -> Any:
    from transformers import LlamaConfig, MistralConfig

    said = [str(config.get("model_type", "")), *map(str, config.get("architectures") or [])]
    mistral = any("mistral" in name.lower() for name in said)
    missing = [key for key in _SIZES if config.get(key) is None]
    if missing:
        raise CheckpointError(f"it lacks {', '.join(missing)}")
    own = ("sliding_window",) if mistral else ("attention_bias", "mlp_bias")
    values = {key: config[key] for key in (*_SIZES, *_OPTIONAL, *own) if key in config}
    values["rope_parameters"] = _rope(config)
    values["tie_word_embeddings"] = bool(config.get("tie_word_embeddings", False))
    return MistralConfig(**values) if mistral else LlamaConfig(**values)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Today's form of `rope_theta` and `rope_scaling`."""
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("type", None) or scaling.pop("rope_type", None) or "default"
    theta = float(config.get("rope_theta") or 10_000.0)
    return {**scaling, "rope_type": kind, "rope_theta": theta}
