"""What does not fit is one line naming tensor and file; what is hostile is never run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import CLIPVisionModel

from free_video_llm.errors import CheckpointError, ConfigError
from free_video_llm.models.load import LoadOptions, load
from tiny_checkpoints import (
    clip_model,
    write_clip,
    write_json,
    write_original,
    write_tensors,
    write_transformers,
)

Damage = Callable[[Path], object]
PROJECTOR = "model.mm_projector.0.weight"


def failure(folder: Path, **options: object) -> str:
    """The message of the error, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        load(folder, LoadOptions(**options))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + 2 * len(str(folder))
    return message


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | values
    write_json(folder / "config.json", {k: v for k, v in config.items() if v is not None})


# --- tensors that do not fit ---------------------------------------------------------------------

TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], tuple[str, ...]]] = {
    "missing": (lambda t: t.pop(PROJECTOR), (PROJECTOR, "[24, 32]", "missing")),
    "missing layer": (
        lambda t: [t.pop(name) for name in list(t) if name.startswith("model.layers.1.mlp")],
        ("model.layers.1.mlp.gate_proj.weight", "missing"),
    ),
    "missing in the tower": (
        lambda t: t.pop("model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias"),
        ("vision_model.pre_layrnorm.bias", "missing"),
    ),
    "missing geometry": (
        lambda t: t.pop(
            "model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight"
        ),
        ("embeddings.patch_embedding.weight", "missing"),
    ),
    "shape": (
        lambda t: t.update({PROJECTOR: torch.zeros(24, 31)}),
        (PROJECTOR, "[24, 31]", "[24, 32]"),
    ),
    "left over": (
        lambda t: t.update({"model.layers.7.input_layernorm.weight": torch.ones(24)}),
        ("model.layers.7.input_layernorm.weight", "no place"),
    ),
    "unknown": (
        lambda t: t.update({"model.mm_projector.4.weight": torch.zeros(24, 24)}),
        ("model.mm_projector.4.weight", "not of an original LLaVA checkpoint"),
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit(tmp_path: Path, case: str) -> None:
    change, parts = TENSORS[case]
    write_original(tmp_path)
    change_tensors(tmp_path, change)
    message = failure(tmp_path)
    for part in (str(tmp_path / "model.safetensors"), *parts):
        assert part in message


def test_a_missing_tensor_of_a_sharded_checkpoint(tmp_path: Path) -> None:
    tensors = write_original(tmp_path)
    tensors.pop(PROJECTOR)
    (tmp_path / "model.safetensors").unlink()
    write_tensors(tmp_path, tensors, shards=2)
    message = failure(tmp_path)
    assert f"{tmp_path} (2 files)" in message
    assert PROJECTOR in message


def test_transformers_layout_names_tensor_and_file(tmp_path: Path) -> None:
    tensors = write_original(tmp_path / "o")
    tensors[PROJECTOR] = torch.zeros(24, 31)
    write_transformers(tmp_path / "t", tensors, clip=clip_model())
    message = failure(tmp_path / "t")
    assert str(tmp_path / "t" / "model.safetensors") in message
    assert "multi_modal_projector.linear_1.weight" in message
    tensors.pop(PROJECTOR)
    write_transformers(tmp_path / "t", tensors)
    assert "multi_modal_projector.linear_1.weight' (shape [24, 32]) is missing" in failure(
        tmp_path / "t"
    )


def test_the_scorers_tensors_are_checked_too(tmp_path: Path) -> None:
    write_original(tmp_path)
    change_tensors(tmp_path / "clip", lambda t: t.pop("text_projection.weight"))
    message = failure(tmp_path)
    assert str(tmp_path / "clip" / "model.safetensors") in message
    assert "'text_projection.weight'" in message


# --- files that do not fit -----------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def as_pickle(folder: Path, values: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(values, folder / "pytorch_model.bin")


def write_index(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_text(text)


def vision_only(folder: Path) -> None:
    CLIPVisionModel(clip_model().config.vision_config).save_pretrained(folder / "clip")


FILES: dict[str, tuple[Damage, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "config cut off": (
        lambda f: (f / "config.json").write_text('{"mm_'),
        "config.json cannot be read as JSON",
    ),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    "config deep": (
        lambda f: (f / "config.json").write_text("[" * 100_000),
        "config.json cannot be read as JSON",
    ),
    "other model": (
        lambda f: write_json(f / "config.json", {"model_type": "bert"}),
        "a model of type 'bert'; allowed",
    ),
    "sizes missing": (
        lambda f: change_config(f, hidden_size=None, num_attention_heads=None),
        "config.json: it lacks hidden_size, num_attention_heads",
    ),
    "sizes wrong": (
        lambda f: change_config(f, hidden_size="many"),
        "config.json: hidden_size is a whole number of 1 or more, not 'many'",
    ),
    "heads that do not divide": (
        lambda f: change_config(f, num_attention_heads=0),
        "config.json: ",
    ),
    "linear projector": (
        lambda f: change_config(f, mm_projector_type=None),
        "unknown projector mm_projector_type='linear'",
    ),
    "unknown projector": (
        lambda f: change_config(f, mm_projector_type="ldpnet"),
        "unknown projector mm_projector_type='ldpnet'",
    ),
    "class token kept": (
        lambda f: change_config(f, mm_vision_select_feature="cls_patch"),
        "mm_vision_select_feature='cls_patch'",
    ),
    "quantised": (
        lambda f: change_config(f, quantization_config={"load_in_4bit": True}),
        "quantised already",
    ),
    "no tower named": (
        lambda f: change_config(f, mm_vision_tower=None),
        "config.json: mm_vision_tower='' is neither a folder nor a Hub id",
    ),
    "tower elsewhere": (
        lambda f: change_config(f, mm_vision_tower="/data/clip"),
        "config.json: mm_vision_tower='/data/clip' is neither a folder nor a Hub id",
    ),
    "tower without text": (
        vision_only,
        "a scorer is a 'clip' or 'siglip' model, with its text encoder",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "weights cut off": (
        lambda f: cut(f / "model.safetensors"),
        "model.safetensors: Error while deserializing header",
    ),
    "weights not weights": (
        lambda f: (f / "model.safetensors").write_bytes(b"<html>not found</html>"),
        "model.safetensors: Error while deserializing header",
    ),
    "pickle cut off": (
        lambda f: (as_pickle(f, {"a": torch.zeros(9999)}), cut(f / "pytorch_model.bin")),
        "pytorch_model.bin",
    ),
    "pickle of a list": (
        lambda f: as_pickle(f, [torch.zeros(1)]),
        "no table of tensors but a list",
    ),
    "pickle of numbers": (lambda f: as_pickle(f, {"a": 1}), "'a' is not a tensor"),
    "index without files": (
        lambda f: write_index(f, '{"weight_map": {"a": "model-1.safetensors"}}'),
        "names 'model-1.safetensors', which is not in",
    ),
    "index to elsewhere": (
        lambda f: write_index(f, '{"weight_map": {"a": "../x.safetensors"}}'),
        "names '../x.safetensors', which is not in",
    ),
    "index without map": (lambda f: write_index(f, "{}"), "has no weight_map"),
    "index cut off": (lambda f: write_index(f, "{"), "cannot be read as JSON"),
    "no tokenizer": (lambda f: (f / "tokenizer.model").unlink(), "has no tokenizer"),
    "tokenizer damaged": (
        lambda f: (f / "tokenizer.model").write_bytes(b"no sentencepiece"),
        "tokenizer.model as a sentencepiece model",
    ),
    "added tokens odd": (
        lambda f: write_json(f / "tokenizer_config.json", {"added_tokens_decoder": {"x": 1}}),
        "are not a table of numbers and tokens",
    ),
    "scorer without tokenizer": (
        lambda f: (f / "clip" / "vocab.json").unlink(),
        "has no tokenizer for its text encoder",
    ),
    "normalisation odd": (
        lambda f: write_json(f / "preprocessor_config.json", {"image_mean": 1, "image_std": 2}),
        "three numbers each",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_do_not_fit(tmp_path: Path, case: str) -> None:
    damage, expected = FILES[case]
    write_original(tmp_path, tower_inside=case != "tower elsewhere")
    damage(tmp_path)
    message = failure(tmp_path)
    assert expected in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vision_feature_select_strategy": "full"}, "needs 'default' (patches only)"),
        ({"text_config": {"model_type": "no-such-model"}}, "config.json: "),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "needs a 'clip_vision_model'"),
        ({"text_config": 3}, "config.json: "),
    ],
)
def test_a_transformers_config_that_does_not_fit(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    tensors = write_original(tmp_path / "o")
    write_transformers(tmp_path / "t", tensors, clip=clip_model())
    change_config(tmp_path / "t", **changes)
    message = failure(tmp_path / "t")
    assert expected in message
    assert str(tmp_path / "t" / "config.json") in message


def test_a_tower_that_no_clip_is_known_for(tmp_path: Path) -> None:
    tensors = write_original(tmp_path / "o")
    write_transformers(tmp_path / "t", tensors)
    assert "56 px, patch 14, width 32: name one with scorer=" in failure(tmp_path / "t")


def test_an_unknown_noted_prompt_template(tmp_path: Path) -> None:
    write_original(tmp_path)
    write_json(tmp_path / "free_video_llm.json", {"conv_mode": "image_seq_v33"})
    with pytest.raises(ConfigError, match="did you mean 'image_seq_v3'"):
        load(tmp_path)


# --- hostile checkpoints -------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def plant_code(folder: Path, marker: Path) -> None:
    """Python files of every kind that transformers may import, and entries that name them."""
    body = f"import os\nos.mkdir({str(marker)!r})\n"
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (folder / f"{name}.py").write_text(body)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(body)
    auto_map = {
        "AutoConfig": "configuration_evil.Evil",
        "AutoModelForCausalLM": "modeling_evil.Evil",
        "AutoTokenizer": ["tokenization_evil.Evil", None],
    }
    change_config(folder, auto_map=auto_map, _attn_implementation="somebody/kernel")
    if (folder / "tokenizer_config.json").is_file():
        config = json.loads((folder / "tokenizer_config.json").read_text())
        write_json(folder / "tokenizer_config.json", config | {"auto_map": auto_map})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", [".", "clip"])
def test_a_pickled_object_is_not_run(tmp_path: Path, where: str, zipped: bool) -> None:
    marker = tmp_path / "marker"
    write_original(tmp_path)
    (tmp_path / where / "model.safetensors").unlink()
    file = tmp_path / where / "pytorch_model.bin"
    values = {"a": torch.zeros(1), "b": Bomb(marker)}
    torch.save(values, file, _use_new_zipfile_serialization=zipped)
    message = failure(tmp_path)
    assert str(file) in message
    assert "never run" in message
    assert not marker.exists()


def test_a_bare_pickle_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    write_original(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    assert "pytorch_model.bin" in failure(tmp_path)
    assert not marker.exists()


def test_the_bomb_would_go_off(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    torch.save(Bomb(tmp_path / "marker"), tmp_path / "x.bin")
    torch.load(tmp_path / "x.bin", weights_only=False)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, layout: str) -> None:
    """It loads, as if the code and the entries naming it were not there."""
    marker = tmp_path / "marker"
    folder = tmp_path / layout
    tensors = write_original(tmp_path / "original")
    if layout == "transformers":
        write_transformers(folder, tensors, clip=clip_model())
    plant_code(folder, marker)
    plant_code(folder / "clip", marker)
    loaded = load(folder)
    assert loaded.llm.model.generate.__module__.startswith("transformers.")
    assert not marker.exists()


def test_a_tokenizers_code_is_not_run(tmp_path: Path) -> None:
    """Where there is no tokenizer.model, transformers reads the tokenizer."""
    marker = tmp_path / "marker"
    tensors = write_original(tmp_path / "o")
    folder = tmp_path / "t"
    write_transformers(folder, tensors, clip=clip_model())
    (folder / "tokenizer.model").unlink()
    words = {"<unk>": 0, "a": 1, "b": 2}
    Tokenizer(WordLevel(words, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    values = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    write_json(folder / "tokenizer_config.json", values)
    assert load(folder).llm.tokenizer.unk_token_id == 0
    plant_code(folder, marker)
    with suppress(CheckpointError):
        load(folder)
    assert not marker.exists()


def test_a_clip_model_alone_is_no_checkpoint(tmp_path: Path) -> None:
    write_clip(tmp_path)
    assert "a model of type 'clip'; allowed" in failure(tmp_path)
