"""Very many candidates: their vectors alone are held, and what is kept is decoded again."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from free_video_llm import VideoLLM
from free_video_llm.encoder import stream
from free_video_llm.samples import find
from free_video_llm.video.late_pixels import RECENT, LatePixels
from free_video_llm.video.parts import NotInPartsError, Parts
from free_video_llm.video.read import read_frames
from media import cut, make_video
from tiny_checkpoints import own_llm

STAR = find("sample:star")
QUESTION = "What color is the star?"


@pytest.fixture(scope="module", params=["one tower", "two towers"])
def llm(request, tmp_path_factory) -> VideoLLM:
    if request.param == "one tower":
        return VideoLLM.from_pretrained("tiny")
    return own_llm(tmp_path_factory.mktemp("own"))


@pytest.fixture
def nothing_held(monkeypatch):
    monkeypatch.setattr(stream, "MOST_HELD", 0)


@pytest.mark.parametrize(
    "plan", ["paper-small", "prompt-3", "diverse", "paper", "slow=prompt:3/concat/cells:0.3"]
)
@pytest.mark.parametrize("mode", ["exact", "keyframes"])
def test_answers_are_those_of_frames_that_are_held(llm, monkeypatch, plan: str, mode: str):
    held = llm.watch(STAR, frames=40, mode=mode)
    monkeypatch.setattr(stream, "MOST_HELD", 0)
    light = llm.watch(STAR, frames=40, mode=mode)
    assert light.features.scorer_states is None
    assert isinstance(light.frames.pixels, LatePixels)
    assert np.array_equal(light.frames.indices, held.frames.indices)
    assert np.array_equal(light.frames.seconds, held.frames.seconds)
    assert np.array_equal(np.asarray(light.frames.pixels), held.frames.pixels)
    wanted = held.ask(QUESTION, plan=plan, max_new_tokens=4)
    answer = light.ask(QUESTION, plan=plan, max_new_tokens=4)
    assert answer.token_ids == wanted.token_ids
    torch.testing.assert_close(
        answer.visual_tokens.embeds, wanted.visual_tokens.embeds, atol=1e-4, rtol=1e-4
    )
    assert torch.equal(answer.visual_tokens.region, wanted.visual_tokens.region)
    assert light.frames.warnings == held.frames.warnings


def test_what_is_held_does_not_grow_with_the_frames(nothing_held, tmp_path: Path):
    llm = VideoLLM.from_pretrained("tiny")
    short, long = (make_video(tmp_path / f"{count}.mp4", frames=count) for count in (200, 800))
    held = []
    for path, count in ((short, 200), (long, 800)):
        video = llm.watch(path, frames=count)
        assert len(video.frames) == count
        video.ask(QUESTION, plan="prompt-3", max_new_tokens=1)
        assert video.frames.pixels.nbytes <= RECENT * 3 * llm.towers.size**2
        held.append(video.features.nbytes() - video.features.frame_vectors.nbytes)
        assert video.features.frame_vectors.nbytes == count * llm.towers.scorer.joined * 4
    assert held[0] == held[1]
    gc.collect()


def test_only_what_is_kept_is_decoded_again(nothing_held, llm, monkeypatch, tmp_path: Path):
    asked: list[list[int]] = []
    video = llm.watch(STAR, frames=40)
    decode = video.frames.pixels._decode
    monkeypatch.setattr(
        video.frames.pixels, "_decode", lambda some: asked.append(list(some)) or decode(some)
    )
    answer = video.ask(QUESTION, plan="slow=prompt:3/concat/crop:0.5", max_new_tokens=1)
    kept = sorted(kept.frame for kept in answer.evidence.pathways[0].kept)
    assert sorted({frame for some in asked for frame in some}) == kept
    assert sum(map(len, asked)) == 3
    assert answer.save_picture(tmp_path / "why.png").stat().st_size > 5_000  # of recent ones
    video.ask(QUESTION, plan="slow=prompt:3/concat/crop:0.5", max_new_tokens=1)
    assert sum(map(len, asked)) == 3


def test_it_is_pickled_without_what_computes(nothing_held, llm):
    video = llm.watch(STAR, frames=40)
    wanted = video.ask(QUESTION, plan="paper-small", max_new_tokens=2)
    again = llm.attach(pickle.loads(pickle.dumps(video)))
    for plan in ("paper-small", "diverse"):
        answer = again.ask(QUESTION, plan=plan, max_new_tokens=2)
        assert answer.token_ids == video.ask(QUESTION, plan=plan, max_new_tokens=2).token_ids
    assert answer.timings.decode == wanted.timings.decode


def test_a_folder_of_pictures_and_a_few_frames_at_a_time(tmp_path: Path):
    from PIL import Image

    for number in range(7):
        Image.new("RGB", (20, 10), (number * 30, 0, 0)).save(tmp_path / f"{number}.png")
    parts = Parts(str(tmp_path), count=5, size=16, at_once=2)
    assert [len(part) for part in parts] == [2, 2, 1]
    frames, wanted = parts.frames(), read_frames(tmp_path, count=5, size=16)
    assert np.array_equal(np.asarray(frames.pixels), wanted.pixels)
    assert np.array_equal(frames.seconds, wanted.seconds)
    assert np.array_equal(frames.pixels[1:3], wanted.pixels[1:3])
    assert np.array_equal(frames.pixels[np.int64(4)], wanted.pixels[4])
    assert frames.pixels[[]].shape == (0, 16, 16, 3)
    with pytest.raises(IndexError, match="frame 5 of 5"):
        frames.pixels[5]
    with pytest.raises(ValueError, match="0 of 5 frames were read"):
        Parts(str(tmp_path), count=5, size=16).frames()


def test_the_released_positions_may_repeat():
    wanted = read_frames(find("sample:star"), count=500, size=16, rules="released")
    parts = Parts(str(STAR), count=500, size=16, rules="released", at_once=50)
    joined = np.concatenate(list(parts))
    assert len(set(wanted.indices.tolist())) < len(wanted)
    assert np.array_equal(joined, wanted.pixels)
    assert np.array_equal(np.asarray(parts.frames().pixels), wanted.pixels)


def test_a_file_whose_packets_do_not_name_its_frames_is_held(nothing_held, tmp_path: Path, llm):
    """Raw H.264 keeps no times."""
    source = make_video(tmp_path / "raw.h264", frames=30)
    with pytest.raises(NotInPartsError, match="do not name its frames"):
        Parts(str(source), count=10, size=16)
    video = llm.watch(source, frames=10)
    assert isinstance(video.frames.pixels, np.ndarray)
    assert len(video.frames) == 10


def test_a_clip_that_is_shorter_than_it_says_gives_what_it_has(nothing_held, llm, tmp_path: Path):
    """Its index is at its beginning and promises frames that are cut off."""
    whole = make_video(
        tmp_path / "whole.mp4", frames=120, container_options={"movflags": "faststart"}
    )
    path = cut(whole, tmp_path / "cut.mp4", 0.6)
    wanted = read_frames(path, count=20, size=llm.towers.size)
    assert wanted.total < 120
    video = llm.watch(path, frames=20)
    assert np.array_equal(np.asarray(video.frames.pixels), wanted.pixels)
    assert video.frames.warnings == wanted.warnings


def test_a_source_that_is_gone_is_said(nothing_held, llm, tmp_path: Path):
    from free_video_llm import VideoError

    path = make_video(tmp_path / "clip.mp4", frames=60)
    video = llm.watch(path, frames=60)
    path.unlink()
    with pytest.raises(VideoError, match="no such file"):
        video.ask(QUESTION, plan="prompt-3", max_new_tokens=1)
