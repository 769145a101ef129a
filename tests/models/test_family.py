"""Families: ours by the registry, and one of another package by an entry point."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from free_video_llm.errors import CheckpointError
from free_video_llm.models.family import families, family_of, register_family
from free_video_llm.models.folder import TINY
from free_video_llm.models.llava import Llava


def test_a_checkpoint_of_no_family_is_told_what_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a model of type 'gpt2'; allowed: "):
        family_of({"model_type": "gpt2"}, tmp_path)
    with pytest.raises(CheckpointError, match="there is a family named 'llava' already"):
        register_family(Llava())
    names = [family.name for family in families()]
    assert set(names) == {
        "llava", "llava_onevision", "qwen_vl", "internvl", "smolvlm", "gemma3", "pictures"
    }  # fmt: skip
    assert names[-1] == "pictures"  # which reads what no other does


PLUGIN = """
from free_video_llm.models.family import register_family
from free_video_llm.models.llava import Llava

class Mine(Llava):
    name, reads_words, model_types = "mine", "'my_llava'", ("my_llava",)

    def open(self, folder, config, scorer):
        return super().open(folder, {**config, "model_type": "llava"}, scorer)

register_family(Mine())
"""
USE = """
import json, sys
from free_video_llm import Plan, VideoLLM
llm = VideoLLM.from_pretrained(sys.argv[1])
answer = llm.watch("sample:star").ask("What color is the star?", plan="paper")
assert answer.text == "red", answer.text
assert Plan.from_dict({k: v for k, v in answer.to_dict()["plan"].items() if k != "notation"})
assert answer.save_picture(sys.argv[2]).stat().st_size > 10_000
"""


def with_plugin(tmp_path: Path, plugin: str, use: str, model: Path) -> subprocess.CompletedProcess:
    """A Python that has a package with an entry point, and uses it."""
    (tmp_path / "my_family.py").write_text(plugin)
    about = tmp_path / "my_family-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-family\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[free_video_llm.families]\nmine = my_family\n")
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{use}",
         str(model), str(tmp_path / "why.png")],
        capture_output=True, text=True,
    )  # fmt: skip


def test_a_family_of_another_package_is_one_file(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    config = json.loads((model / "config.json").read_text()) | {"model_type": "my_llava"}
    (model / "config.json").write_text(json.dumps(config))
    done = with_plugin(tmp_path, PLUGIN, USE, model)
    assert done.returncode == 0, done.stderr


PICTURES = """
from free_video_llm.encoder.tower import Towers
from free_video_llm.llm.chat import PictureLimits
from free_video_llm.llm.generate import Generation
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.family import register_family
from free_video_llm.models.scorers import build_scorer, scorer_beside

class Counter:
    identity, limits = "counts pictures", PictureLimits()
    def reply(self, requests, decoding):
        return [Generation(f"{len(r.pictures)} pictures", (), 1, 0.0, 0.0) for r in requests]

class Counting:
    name, reads_words, level = "counting", "'counting'", "pictures"
    def reads(self, config):
        return config.get("model_type") == "counting"
    def open(self, folder, config, scorer):
        return Opened(folder=folder, layout="counting", config=config,
                      scorer=scorer_beside(folder, scorer), conv_mode="chat")
    def build(self, opened, options):
        return Towers(scorer=build_scorer(opened.scorer, options)), Counter()

register_family(Counting())
"""
USE_PICTURES = """
import sys
from free_video_llm import VideoLLM
llm = VideoLLM.from_pretrained(sys.argv[1], scorer="tiny")
answer = llm.watch("sample:star").ask("What color is the star?", plan="prompt-3")
assert answer.text == "3 pictures", answer.text
assert answer.save_picture(sys.argv[2]).stat().st_size > 10_000
"""


def test_so_is_one_that_is_shown_pictures(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "counting"}')
    done = with_plugin(tmp_path, PICTURES, USE_PICTURES, model)
    assert done.returncode == 0, done.stderr
