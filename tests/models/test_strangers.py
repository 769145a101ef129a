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


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    write_original(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    message = failure(tmp_path)
    assert "not a regular file" in message or "no config.json" in message or "no weights" in message


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str) -> None:
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
