"""LLaVA 1.5 and 1.6: in the original layout, and as transformers' `llava` and `llava_next`.

A CLIP tower, a projector of two layers, and a language model. Names of tensors in the original
layout are `llava_layout.py`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError, first_line, shown
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.models import llava_layout
from free_video_llm.models.building import build, check_sizes, config_of
from free_video_llm.models.checkpoint import Checkpoint, finish_opening
from free_video_llm.models.family import Level, register_family
from free_video_llm.models.folder import (
    OWN_SETTINGS,
    is_hub_id,
    named_inside,
    read_config,
    read_normalisation,
)
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import ScorerFiles, build_scorer, find_scorer, open_scorer
from free_video_llm.models.weights import Stored, Tensors, read_tensors, same_weights, weight_files
from free_video_llm.small_files import read_json


class Llava:
    """See `Family`."""

    name = "llava"
    reads_words = (
        "the original LLaVA layout (with mm_vision_tower), transformers' 'llava' and 'llava_next'"
    )
    level: Level = "tokens"
    model_types: tuple[str, ...] = ("llava", "llava_next")

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        return llava_layout.is_original(config) or config.get("model_type") in self.model_types

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> Checkpoint:
        """Read and check a checkpoint of either layout without building it."""
        if llava_layout.is_original(config):
            built, tensors, clip = _open_original(folder, config, scorer)
            layout = "original"
        else:
            built, tensors, clip = _open_transformers(folder, config, scorer)
            layout = "transformers"
        in_file = llava_layout.to_original if layout == "original" else str
        check_feature_layer(built, folder)
        kind = _class_for(built)
        return finish_opening(folder, layout, kind, built, tensors, clip, name_in_file=in_file)

    def build(self, opened: Checkpoint, options: LoadOptions) -> tuple[Towers, ImageLLM]:
        """The towers, as one where their weights are the same, and the language model."""
        config = stretched(opened.config, options.rope_scaling_factor)
        model = build(opened.kind, config, opened.tensors, opened.folder, options.placement())
        for key, value in opened.token_ids.items():
            setattr(model.generation_config, key, value)
        scorer = build_scorer(opened.scorer, options)
        llm_tower = model.model.vision_tower
        if same_weights(llm_tower, scorer.tower):
            model.model.vision_tower = scorer.tower
            llm_tower = None
        towers = Towers(
            scorer=scorer,
            llm_tower=llm_tower,
            feature_layer=model.config.vision_feature_layer,
            normalisation=read_normalisation(opened.folder),
        )
        return towers, ImageLLM(model, opened.tokenizer)


register_family(Llava())


# --- opening ---------------------------------------------------------------------------------

_Opened = tuple[Any, Tensors, ScorerFiles]


def _open_original(folder: Path, config: Mapping[str, Any], scorer: str | None) -> _Opened:
    check_sizes(config, folder)
    tensors = {
        llava_layout.to_transformers(name, stored.file): stored
        for name, stored in read_tensors(weight_files(folder)).items()
        if not llava_layout.is_buffer(name)
    }
    inside = llava_layout.tower_geometry(tensors)
    name = _tower_name(folder, config, inside)
    chosen = find_scorer(scorer, relative_to=folder) if scorer else None
    if inside is None:
        try:
            own = open_scorer(named_inside(name, folder))
        except CheckpointError:
            if chosen is None:
                raise
            own = open_scorer(chosen)  # what the user names may lie anywhere
        if own.model_type != "clip":
            raise CheckpointError(f"{folder}: its vision tower is CLIP's, not {own.model_type}'s")
        clip = open_scorer(chosen) if chosen else own
        tensors |= _tower_of(own)
        vision = own.config.vision_config.to_dict()
    else:
        clip = open_scorer(chosen or named_inside(name, folder))
        vision = clip.config.vision_config.to_dict()
        alike = clip.model_type == "clip" and _geometry(clip.config.vision_config) == inside
        if chosen is not None and not alike:
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
    if is_hub_id(name) and (folder / "clip" / "config.json").is_file():
        return "clip"  # it lies beside the checkpoint: nothing need be fetched
    if name and ((folder / name).is_dir() or is_hub_id(name)):
        return name
    if inside in llava_layout.CLIP_BY_GEOMETRY:
        return llava_layout.CLIP_BY_GEOMETRY[inside]
    raise CheckpointError(
        f"{folder / 'config.json'}: mm_vision_tower={name!r} is neither a folder nor a Hub id; "
        "set it to the CLIP model that the checkpoint was made with"
    )


def _tower_of(clip: ScorerFiles) -> dict[str, Stored]:
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
    built = config_of(kind, _one_layer(config, folder), folder)
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
        clip = open_scorer(find_scorer(scorer, relative_to=folder))
    else:
        clip = open_scorer(named_inside(matching_scorer(folder, built), folder))
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


def check_feature_layer(config: Any, folder: Path) -> None:
    """Raise CheckpointError where the tower has no such hidden state; 0 is its embeddings."""
    layer, layers = config.vision_feature_layer, config.vision_config.num_hidden_layers
    whole = isinstance(layer, int) and not isinstance(layer, bool)
    if not whole or not -layers - 1 <= layer <= layers:
        raise CheckpointError(
            f"{folder / 'config.json'}: the projector reads hidden state {shown(layer)} of a tower "
            f"with {layers} layers; allowed: {-layers - 1} to {layers}"
        )


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


def _class_for(config: Any) -> Any:
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    if config.model_type == "llava":
        return LlavaForConditionalGeneration
    return LlavaNextForConditionalGeneration


def stretched(config: Any, factor: float) -> Any:
    """The config with dynamic NTK scaling of the LLM's positions (METHOD §1.9)."""
    if factor == 1:
        return config
    config = copy.deepcopy(config)
    rope = dict(config.text_config.rope_parameters or {})
    rope |= {"rope_type": "dynamic", "factor": float(factor)}
    config.text_config.rope_parameters = rope
    return config
