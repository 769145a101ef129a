"""The original LLaVA checkpoint layout: its tensor names, its config, and their transformers forms.

Pure translation, both ways; reads no weights and runs no model. v1.5 and v1.6 on Vicuna, Mistral
and Yi (34B).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import LlavaConfig, LlavaNextConfig

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


def is_buffer(name: str) -> bool:
    """Whether a tensor of this name is a buffer that is computed, not loaded."""
    return _BUFFERS.fullmatch(name) is not None


def to_transformers(name: str) -> str:
    """The transformers name of an original tensor name. Raises CheckpointError where unknown."""
    for old, new in _PREFIXES:
        if name.startswith(old):
            return new + name[len(old) :]
    raise CheckpointError(f"unknown tensor {name!r}: not of an original LLaVA checkpoint")


def to_original(name: str) -> str:
    """The original name of a transformers parameter name."""
    for old, new in _PREFIXES:
        if name.startswith(new):
            return old + name[len(new) :]
    raise CheckpointError(f"unknown parameter {name!r}: not of a LLaVA model")


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of the original layout."""
    return "mm_vision_tower" in config or "mm_projector_type" in config


def transformers_config(
    config: Mapping[str, Any],
    vision_config: Mapping[str, Any],
    *,
    has_newline: bool,
    rope_scaling_factor: float = 1.0,
) -> LlavaConfig | LlavaNextConfig:
    """The transformers config of an original one and of its tower's.

    `rope_scaling_factor` above 1 sets dynamic NTK scaling (METHOD §1.9).

    Raises:
        CheckpointError: a projector or a feature choice that this method does not know.
    """
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaNextConfig

    projector = config.get("mm_projector_type", "linear")
    if projector != "mlp2x_gelu":
        raise CheckpointError(
            f"unknown projector mm_projector_type={projector!r} in config.json; "
            "allowed: 'mlp2x_gelu' (LLaVA v1.5 and v1.6)"
        )
    feature = config.get("mm_vision_select_feature", "patch")
    if feature != "patch":
        raise CheckpointError(
            f"mm_vision_select_feature={feature!r} in config.json; this method needs 'patch'"
        )
    vision = {k: v for k, v in vision_config.items() if k not in ("model_type", "architectures")}
    common: dict[str, Any] = {
        "vision_config": CLIPVisionConfig(**vision),
        "text_config": _text_config(config, rope_scaling_factor),
        "vision_feature_layer": config.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "image_token_index": config["vocab_size"],
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }
    if has_newline:
        pinpoints = config.get("image_grid_pinpoints")
        return LlavaNextConfig(**common, image_grid_pinpoints=pinpoints)
    return LlavaConfig(**common)


def _text_config(config: Mapping[str, Any], rope_scaling_factor: float) -> Any:
    from transformers import LlamaConfig, MistralConfig

    mistral = "mistral" in str(config.get("model_type", "")) or "mistral" in "".join(
        config.get("architectures") or []
    ).lower()
    keys = [
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "hidden_act", "max_position_embeddings",
        "rms_norm_eps", "bos_token_id", "eos_token_id", "attention_bias", "mlp_bias", "head_dim",
        "initializer_range",
    ]  # fmt: skip
    if mistral:
        keys = [k for k in keys if k not in ("attention_bias", "mlp_bias")] + ["sliding_window"]
    values = {k: config[k] for k in keys if k in config}
    missing = [k for k in ("vocab_size", "hidden_size", "num_hidden_layers") if k not in values]
    if missing:
        raise CheckpointError(f"config.json lacks {', '.join(missing)}")
    rope = config.get("rope_scaling") or {}
    parameters = {
        "rope_type": rope.get("type", rope.get("rope_type", "default")),
        "rope_theta": float(config.get("rope_theta", 10_000.0)),
    }
    if "factor" in rope:
        parameters["factor"] = float(rope["factor"])
    if rope_scaling_factor != 1:
        parameters |= {"rope_type": "dynamic", "factor": float(rope_scaling_factor)}
    values["rope_parameters"] = parameters
    values["tie_word_embeddings"] = config.get("tie_word_embeddings", False)
    return MistralConfig(**values) if mistral else LlamaConfig(**values)


def original_config(config: Any, *, vision_tower: str, finetuned: bool) -> dict[str, Any]:
    """The original config.json that says the same as a transformers one (used in tests and docs)."""
    text = config.text_config
    rope = getattr(text, "rope_parameters", None) or {}
    kind = "mistral" if text.model_type == "mistral" else "llama"
    data = {
        "architectures": [f"Llava{kind.capitalize()}ForCausalLM"],
        "model_type": f"llava_{kind}",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": config.vision_feature_layer,
        "mm_vision_tower": vision_tower,
        "unfreeze_mm_vision_tower": finetuned,
        "rope_theta": rope.get("rope_theta", 10_000.0),
    }
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads", "num_key_value_heads", "hidden_act", "rms_norm_eps",
                "max_position_embeddings", "bos_token_id", "eos_token_id"):  # fmt: skip
        data[key] = getattr(text, key)
    return data
