"""Videos that were watched and saved: the same answers without them, and files of strangers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from free_video_llm import ConfigError, VideoError, VideoLLM
from tiny_checkpoints import write_original

QUESTIONS = ("What color is the star?", "Where is the moon?")
PLANS = ("paper", "lean", "slowfast")


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


def other_model(folder: Path) -> VideoLLM:
    """A LLaVA whose tower is another than its scorer's."""
    (folder / "model").mkdir()
    write_original(folder / "model")
    return VideoLLM.from_pretrained(folder / "model", conv_mode="plain")


def test_the_same_answers_without_the_video(tiny, tmp_path):
    words = tmp_path / "s.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:09,000\nIt is called Vega.\n")
    video = tiny.watch("sample:star", frames=20, subtitles=words)
    again = tiny.load_video(video.save(tmp_path / "a" / "star.fvl"))
    assert again.frames.name == video.frames.name
    assert again.frames.subtitles == video.frames.subtitles
    for plan in PLANS:
        for question in QUESTIONS:
            one, other = video.ask(question, plan=plan), again.ask(question, plan=plan)
            assert (one.text, one.token_ids) == (other.text, other.token_ids)
            assert torch.equal(one.visual_tokens.embeds, other.visual_tokens.embeds)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["star.fvl"]


def test_what_was_not_looked_at_is_looked_at_when_needed(tmp_path):
    """A tower of the LLM's own: what it has seen is saved, the rest is worked out."""
    llm = other_model(tmp_path)
    video = llm.watch("sample:star", frames=12, plan="lean")
    video.ask(QUESTIONS[0], plan="lean")
    known = set(video.features.late.known)
    assert 0 < len(known) < 12
    again = llm.load_video(video.save(tmp_path / "star.fvl"))
    assert set(again.features.late.known) == known
    for question in QUESTIONS:
        one, other = video.ask(question, plan="paper"), again.ask(question, plan="paper")
        assert torch.equal(one.visual_tokens.embeds, other.visual_tokens.embeds)


def test_of_a_search_nothing_is_saved(tiny, tmp_path):
    with pytest.raises(ConfigError, match="search"):
        tiny.watch("sample:star", search=0.5).save(tmp_path / "x")


def test_another_model_s_file_is_refused(tiny, tmp_path):
    path = other_model(tmp_path).watch("sample:star", frames=4).save(tmp_path / "star.fvl")
    with pytest.raises(ConfigError, match="other towers"):
        tiny.load_video(path)


def change(path: Path, **about: object) -> None:
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"about": json.dumps(said | about)})


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "cut", "schema", "digest", "total"])
def test_files_of_strangers(kind, tiny, tmp_path):
    path = tiny.watch("sample:star", frames=4).save(tmp_path / "star.fvl")
    whole = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "digest":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        change(path, **{kind: "x"})
    with pytest.raises(VideoError) as error:
        tiny.load_video(path)
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        tiny.watch("sample:star", frames=4).save(tmp_path / "file" / "star.fvl")
