"""What a checkpoint says is a stranger's word: where it leads, how large it claims to be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from free_video_llm.errors import CheckpointError, ConfigError
from free_video_llm.models.folder import TINY
from free_video_llm.models.load import LoadOptions, load
from tiny_checkpoints import write_clip, write_json, write_original


def failure(folder: Path, **options: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder, LoadOptions(**options))
    message = str(caught.value)
    assert "\n" not in message
    return message


def say(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, known | values)


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """What would be fetched from the Hub, which is not reached."""
    asked: list[str] = []

    def download(name: str, *, local_files_only: bool = False, **_: object) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        if not local_files_only:
            asked.append(name)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return asked


@pytest.mark.parametrize("outside", ["../clip", "{absolute}", "inside-but-a-link"])
@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_no_path_leads_out_of_a_checkpoint(tmp_path: Path, fetched, layout, outside) -> None:
    clip = write_clip(tmp_path / "clip")
    llava = tmp_path / "llava"
    name = outside.format(absolute=clip)
    if layout == "original":
        write_original(llava, tower=name)
    else:
        shutil.copytree(TINY, llava)
        shutil.rmtree(clip)
        (llava / "clip").rename(clip)
        say(llava, "free_video_llm.json", scorer=name)
    if "link" in name:
        (llava / name).symlink_to(clip)
    opened = failure(llava)
    assert "leads out of it" in opened or "neither a folder" in opened
    assert fetched == []
    assert load(llava, LoadOptions(scorer=str(clip))).towers is not None  # the user's own word


def test_what_lies_beside_is_taken_before_the_hub_is_asked(tmp_path: Path, fetched) -> None:
    write_original(tmp_path / "llava", tower="clip")
    say(tmp_path / "llava", "config.json", mm_vision_tower="openai/clip-vit-large-patch14-336")
    assert load(tmp_path / "llava").towers is not None
    shutil.copytree(TINY, tmp_path / "other")
    say(tmp_path / "other", "free_video_llm.json", scorer="org/name")
    assert load(tmp_path / "other").towers is not None
    assert fetched == []


def test_a_fetch_that_the_user_did_not_name_is_announced(tmp_path: Path, fetched) -> None:
    write_original(tmp_path / "llava", tower="org/some-clip")
    with pytest.warns(UserWarning, match="llava names org/some-clip for its vision: it is fetched"):
        failure(tmp_path / "llava")
    assert fetched == ["org/some-clip"]


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_more_layers_than_tensors_are_not_built(tmp_path: Path, part: str) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config[part]["num_hidden_layers"] = 20_000_000
    write_json(tmp_path / "config.json", config)
    assert "num_hidden_layers is 20,000,000, but the files hold" in failure(tmp_path)


def test_an_over_long_name_in_the_index(tmp_path: Path) -> None:
    write_original(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": {"x": "n" * 5000}})
    assert "which is not in" in failure(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["config.json", "preprocessor_config.json", "model.safetensors", "clip/tokenizer.json"],
)
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert f"{name} is not a regular file" in failure(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"eos_token_id": "x"}, "eos_token_id is a whole number from 0 to 448, or a list of them"),
        ({"eos_token_id": [1, "a"]}, "not [1, 'a']"),
        ({"eos_token_id": []}, "not []"),
        ({"eos_token_id": True}, "not True"),
        ({"eos_token_id": 1.5}, "not 1.5"),
        ({"eos_token_id": 10**9}, "not 1000000000"),
        ({"eos_token_id": -1}, "not -1"),
        ({"bos_token_id": {}}, "bos_token_id is a whole number from 0 to 448, not {}"),
        ({"bos_token_id": [1]}, "not [1]"),
        ({"pad_token_id": -5}, "pad_token_id is a whole number from 0 to 448, not -5"),
    ],
)
def test_special_tokens_are_in_the_vocabulary(tmp_path: Path, values, words) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    say(tmp_path, "generation_config.json", **values)
    message = failure(tmp_path)
    assert "generation_config.json: " in message
    assert words in message


def test_a_padding_token_of_minus_one_is_none(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    say(tmp_path, "generation_config.json", pad_token_id=-1, eos_token_id=[2, 5])
    kept = load(tmp_path).llm.model.generation_config
    assert (kept.pad_token_id, kept.eos_token_id) != (-1, 2)
    assert kept.eos_token_id == [2, 5]


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_the_projector_reads_a_hidden_state_that_there_is(tmp_path: Path, layout: str) -> None:
    if layout == "original":
        write_original(tmp_path / "llava", tower="clip")
        key, layers = "mm_vision_select_layer", 3
    else:
        shutil.copytree(TINY, tmp_path / "llava")
        key = "vision_feature_layer"
        config = json.loads((TINY / "config.json").read_text())
        layers = config["vision_config"]["num_hidden_layers"]
    for layer in (layers + 1, -layers - 2, 99, 10**30):
        say(tmp_path / "llava", "config.json", **{key: layer})
        message = failure(tmp_path / "llava")
        assert f"of a tower with {layers} layers; allowed: {-layers - 1} to {layers}" in message
    for layer in (0, layers, -layers - 1, -2):
        say(tmp_path / "llava", "config.json", **{key: layer})
        assert load(tmp_path / "llava").towers.own.layer == layer


@pytest.mark.parametrize(
    ("part", "name", "size"),
    [
        ("vision_config", "patch_size", 0),
        ("vision_config", "num_attention_heads", 0),
        ("text_config", "num_hidden_layers", -1),
        ("text_config", "num_attention_heads", 0),
        ("text_config", "vocab_size", 0),
    ],
)
def test_sizes_are_whole_numbers_above_zero(tmp_path: Path, part: str, name: str, size) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config[part][name] = size
    write_json(tmp_path / "config.json", config)
    assert f"config.json: {name} is a whole number of 1 or more, not {size}" in failure(tmp_path)


@pytest.mark.parametrize(
    "values", [[0.5, 0.5], [0.5, 0.5, "x"], [0.5, 0.5, float("nan")], [0.5, 0.5, True], 0.5]
)
@pytest.mark.parametrize("key", ["image_mean", "image_std"])
def test_mean_and_deviation_are_numbers(tmp_path: Path, key: str, values) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    known = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    say(tmp_path, "preprocessor_config.json", **known | {key: values})
    assert "image_mean and image_std are three numbers each" in failure(tmp_path)


@pytest.mark.parametrize("values", [[0.5, 0.5, 0], [0.5, -1, 0.5]])
def test_a_deviation_is_above_zero(tmp_path: Path, values) -> None:
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    say(tmp_path, "preprocessor_config.json", image_mean=[0, 0, 0], image_std=values)
    assert "those of image_std above 0" in failure(tmp_path)


def test_a_revision_is_of_a_hub_id(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def download(name: str, *, revision: str | None = None, **_: object) -> str:
        asked.append((name, revision))
        return str(TINY)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load("org/llava", LoadOptions(revision="v1")).towers is not None
    assert asked == [("org/llava", "v1")]
    for local in ("tiny", str(TINY)):
        with pytest.raises(CheckpointError, match="has no revision 'v1'"):
            load(local, LoadOptions(revision="v1"))
    with pytest.raises(ConfigError, match="revision is a commit, tag or branch, not 1"):
        LoadOptions(revision=1)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.model", "clip/tokenizer.json"]
)
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str) -> None:
    if "clip" in name:
        shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    else:
        write_original(tmp_path)
    (tmp_path / name).write_text(POINTER)
    message = failure(tmp_path)
    assert "Git LFS pointer" in message
    assert name in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"load_in_4bit": "yes"}, "load_in_4bit is True or False, not 'yes'"),
        ({"rope_scaling_factor": float("nan")}, "rope_scaling_factor is 1 or more, not nan"),
        ({"rope_scaling_factor": "2"}, "rope_scaling_factor is 1 or more, not '2'"),
        ({"scorer": 3}, "scorer is a Hub id or a folder, not 3"),
    ],
)
def test_wrong_load_options(options, words) -> None:
    with pytest.raises(ConfigError) as caught:
        LoadOptions(**options)
    assert words in str(caught.value)


def test_a_model_is_fetched_with_its_scorer_and_not_built(tmp_path: Path, monkeypatch, capsys):
    from free_video_llm.cli.main import main

    asked = []
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    scorer = Path(shutil.move(folder / "clip", tmp_path / "scorer"))
    say(folder, "free_video_llm.json", scorer="org/clip")

    def download(name: str, *, local_files_only: bool = False, **_: object) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        asked.append(name)
        return str({"org/model": folder, "org/clip": scorer}[name])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("transformers.LlavaForConditionalGeneration.from_pretrained", None)
    assert main(["pull", "org/model"]) == 0
    assert asked == ["org/model", "org/clip"]
    said = capsys.readouterr()
    assert said.out == f"org/model  {folder}\n"
    assert "names org/clip for its vision: it is fetched from the Hub" in said.err
    assert main(["pull", "ollama:qwen3-vl"]) == 2
    assert "is the affair of Ollama: fetch it there" in capsys.readouterr().err
