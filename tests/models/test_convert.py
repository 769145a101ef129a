"""A converted checkpoint is complete, and gives what its source gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, LlavaNextForConditionalGeneration

from free_video_llm import VideoLLM
from free_video_llm.errors import CheckpointError
from free_video_llm.models.convert import convert
from free_video_llm.video.read import Frames, read_frames
from tiny_checkpoints import (
    YI,
    clip_model,
    random_frames,
    write_clip,
    write_original,
    write_transformers,
)

FILES = {
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "free_video_llm.json",
    "clip/config.json",
    "clip/model.safetensors",
    "clip/preprocessor_config.json",
    "clip/vocab.json",
    "clip/merges.txt",
    "clip/tokenizer_config.json",
}


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def assert_same(source: Path, converted: Path, frames: Frames, **asking: object) -> None:
    """The same visual tokens, bit for bit, and the same answer."""
    answers = []
    for folder in (source, converted):
        video = VideoLLM.from_pretrained(folder, dtype="float32").watch(frames)
        answers.append(video.ask("what is he doing?", max_new_tokens=8, **asking))
    first, second = answers
    assert torch.equal(first.visual_tokens.embeds, second.visual_tokens.embeds)
    assert first.token_ids == second.token_ids
    assert first.prompt == second.prompt


@pytest.mark.parametrize("tower_inside", [True, False])
def test_original_to_transformers(tmp_path: Path, tower_inside: bool) -> None:
    source = tmp_path / "source"
    write_original(source, tower_inside=tower_inside, newline=tower_inside)
    out = convert(source, tmp_path / "new" / "out")
    assert files_in(out) == FILES
    assert_same(source, out, random_frames(), plan="paper")
    llm = VideoLLM.from_pretrained(out)
    assert llm.loaded.layout == "transformers"
    assert llm.towers.shared is not tower_inside
    assert llm.loaded.settings == {"conv_mode": "image_seq_v3", "scorer": "clip"}


def test_transformers_to_transformers(tmp_path: Path) -> None:
    tensors = write_original(tmp_path / "o")
    write_transformers(tmp_path / "t", tensors, clip=clip_model())
    out = convert(tmp_path / "t", tmp_path / "out")
    assert_same(tmp_path / "o", out, random_frames(), plan="slowfast")
    again = convert(out, tmp_path / "again")
    assert (
        load_file(again / "model.safetensors").keys() == load_file(out / "model.safetensors").keys()
    )


def test_transformers_itself_loads_it_whole(tmp_path: Path) -> None:
    tensors = write_original(tmp_path / "o")
    out = convert(tmp_path / "o", tmp_path / "out")
    model, report = LlavaNextForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not any(report.values())
    weight = model.model.multi_modal_projector.linear_1.weight
    assert torch.equal(weight, tensors["model.mm_projector.0.weight"])
    _, report = CLIPModel.from_pretrained(out / "clip", output_loading_info=True)
    assert not any(report.values())


def test_large_models_are_sharded(tmp_path: Path) -> None:
    write_original(tmp_path / "o")
    out = convert(tmp_path / "o", tmp_path / "out", shard_bytes=60_000)
    shards = sorted(out.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert sum(file.stat().st_size <= 80_000 for file in shards) >= len(shards) - 1
    assert not (out / "model.safetensors").exists()
    assert_same(tmp_path / "o", out, random_frames(), plan="paper-small")


def test_pickles_become_safetensors(tmp_path: Path) -> None:
    write_original(tmp_path / "o", ending="bin", tower="vision")
    write_clip(tmp_path / "o" / "vision", ending="bin")
    out = convert(tmp_path / "o", tmp_path / "out")
    assert files_in(out) == FILES


def test_numbers_are_kept_as_they_are_stored(tmp_path: Path) -> None:
    """Half precision stays half precision: nothing is rounded or blown up."""
    half = {"model.mm_projector.0.weight": torch.full((24, 32), 0.1, dtype=torch.float16)}
    write_original(tmp_path / "o", extra=half)
    out = convert(tmp_path / "o", tmp_path / "out")
    stored = load_file(out / "model.safetensors")
    weight = stored["model.multi_modal_projector.linear_1.weight"]
    assert weight.dtype == torch.float16
    assert torch.equal(weight, half["model.mm_projector.0.weight"])


def test_chatml_and_its_end_of_turn_are_kept(tmp_path: Path) -> None:
    write_original(tmp_path / "o", YI, chatml=True)
    out = convert(tmp_path / "o", tmp_path / "out")
    llm = VideoLLM.from_pretrained(out)
    assert llm.conv_mode == "image_seq_34b_v3"
    assert llm.image_llm.model.generation_config.eos_token_id == 7
    assert llm.image_llm.model.config.text_config.num_key_value_heads == 2


def test_a_scorer_by_hand_goes_along(tmp_path: Path) -> None:
    write_original(tmp_path / "o")
    write_clip(tmp_path / "other", clip_model(seed=9))
    out = convert(tmp_path / "o", tmp_path / "out", scorer=str(tmp_path / "other"))
    ours, theirs = (load_file(f / "model.safetensors") for f in (out / "clip", tmp_path / "other"))
    assert torch.equal(ours["visual_projection.weight"], theirs["visual_projection.weight"])


def test_code_is_left_behind(tmp_path: Path) -> None:
    write_original(tmp_path / "o")
    for name in ("config.json", "tokenizer_config.json"):
        path = tmp_path / "o" / name
        values = json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "evil.Evil"}}
        path.write_text(json.dumps(values))
    (tmp_path / "o" / "evil.py").write_text("raise SystemExit")
    out = convert(tmp_path / "o", tmp_path / "out")
    assert files_in(out) == FILES
    assert not any("evil" in path.read_text() for path in out.rglob("*.json"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    write_original(tmp_path / "o")
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"out holds something already: name a new"):
        convert(tmp_path / "o", out)
    assert (out if kind == "file" else out / "mine.txt").read_text() == "mine"
    with pytest.raises(CheckpointError, match="holds something already"):
        convert(tmp_path / "o", tmp_path / "o")


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    write_original(tmp_path / "o")
    (tmp_path / "out").mkdir()
    assert files_in(convert(tmp_path / "o", tmp_path / "out")) == FILES


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_original(tmp_path / "o")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("free_video_llm.models.convert._write_scorer", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*No space left") as caught:
        convert(tmp_path / "o", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_a_source_that_does_not_fit(tmp_path: Path) -> None:
    write_original(tmp_path / "o")
    (tmp_path / "o" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        convert(tmp_path / "o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("checkpoint", "clip", "plan"),
    [
        ("llava_finetuned_tower", "rlQ2kW-FvMk_66_79.mp4", "paper@released"),
        ("llava_frozen_tower", "QzulzuWr0Zw_20_45.mp4", "paper-small@released"),
    ],
)
def test_the_golden_checkpoints(
    golden: Path, shared: Path, tmp_path: Path, checkpoint: str, clip: str, plan: str
) -> None:
    frames = read_frames(shared / "data" / "clips" / clip, count=12, size=336, resize="pil")
    out = convert(golden / checkpoint, tmp_path / "out")
    assert_same(golden / checkpoint, out, frames, plan=plan)
