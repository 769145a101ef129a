"""Every exact saving gives what the plain way gives, on towers of the real shape."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from as_released import answer, visual_tokens
from checkpoint import Clip, Size, random_llava
from first_question import PLAN
from free_video_llm import VideoLLM
from free_video_llm.samples import find
from free_video_llm.video.read import read_frames
from savings import last_layer_where_needed, one_pass, whole_passes

SMALL = Size("small", Clip(3, 64), llm_layers=2, llm_width=64)
QUESTION = "What is the man doing?"


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "fine-tuned"])
def llm(request) -> VideoLLM:
    return random_llava(SMALL, shared=request.param)


def some_pixels(llm: VideoLLM, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = llm.towers.size
    return torch.randint(0, 255, (count, size, size, 3), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def test_one_pass_gives_what_every_use_computed_for_itself(llm: VideoLLM):
    images = llm.towers.normalisation(some_pixels(llm, 4))
    for plain, saved in zip(
        whole_passes(llm, images, [1, 3]), one_pass(llm, images, [1, 3]), strict=True
    ):
        torch.testing.assert_close(saved, plain, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_last_layer_where_it_is_needed_gives_what_the_whole_pass_gives(llm: VideoLLM):
    pixels = some_pixels(llm, 4)
    states, pooled, patches = one_pass(llm, llm.towers.normalisation(pixels), [1, 3])
    saved = last_layer_where_needed(llm, pixels, [1, 3])
    vectors = F.normalize(llm.towers.scorer.model.visual_projection(pooled), dim=-1)
    torch.testing.assert_close(saved[0], states, rtol=0, atol=1e-4)
    torch.testing.assert_close(saved[1], vectors, rtol=0, atol=1e-4)
    torch.testing.assert_close(saved[2], patches, rtol=0, atol=1e-4)


def test_the_baseline_of_the_bench_does_the_same_work(llm: VideoLLM):
    """All savings together: the visual tokens and the answer are the released code's."""
    path = find("sample:star")
    video = llm.watch(path, frames=12, resize="pil")
    ours = video.ask(QUESTION, plan=PLAN, max_new_tokens=6)
    whole = list(read_frames(path, count=12, size=336, resize="pil").pixels)
    theirs = visual_tokens(llm, whole, QUESTION, PLAN)
    assert len(theirs) == 8 * 231 + 12 * 16
    torch.testing.assert_close(ours.visual_tokens.embeds, theirs, rtol=0, atol=1e-4)
    assert answer(llm, path, 12, QUESTION, PLAN, new=6) == ours.text


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_changes_nothing(llm: VideoLLM, batch: int):
    pixels = some_pixels(llm, 5).numpy()
    together, apart = llm.towers.encode(pixels, batch=5), llm.towers.encode(pixels, batch=batch)
    torch.testing.assert_close(apart.llm_states, together.llm_states, rtol=0, atol=1e-4)
    torch.testing.assert_close(apart.frame_vectors, together.frame_vectors, rtol=0, atol=1e-4)
