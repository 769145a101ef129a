"""The first question on a video and those after it: as released, here, and the bare passes."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from as_released import read_full_frames, visual_tokens
from checkpoint import SCORERS, Size, random_llava
from free_video_llm import Plan, VideoLLM
from free_video_llm.video import read_frames
from measure import Figure, Series, alone

SECTION = "A question, and the next"
PLAN = Plan.preset("paper", geometry="released")
FRAMES = 50
NEW_TOKENS = 16
QUESTIONS = tuple(
    f"What is the {who} {doing}?"
    for who in ("man", "woman", "child", "dog", "other one")
    for doing in ("doing", "holding", "looking at", "wearing", "going to do next")
)
AS_RELEASED = "as released"
HERE = "here"


def figures(size: Size, path: Path, repeats: int) -> list[Figure]:
    """Towers that are shared; that are not; and that are not, with a small scoring model."""
    return [*_shared(size, path, repeats), *_fine_tuned(size, path, repeats), *_memory(size, path)]


def _shared(size: Size, path: Path, repeats: int) -> list[Figure]:
    llm = random_llava(size, shared=True)
    times: dict[str, list[float]] = defaultdict(list)
    for _ in tqdm(range(repeats), desc="shared towers", disable=None, leave=False):
        expected = _as_released(llm, path, times)
        tokens = _ours(llm, path, times)
        _check(expected, tokens)
        _bare(llm, path, tokens, times)
    every = [tuple(times[name]) for name in ("released", "before", "next", "all", "whole", "bare")]
    released, before, following, asked, whole, bare = every
    count = len(QUESTIONS)
    rates = [count * seconds for seconds in released]  # of a question that shares nothing
    return [
        _pair("first question, shared towers (50 passes for 108)", released, before, 2.1),
        _pair("next question, shared towers", released, following, 50),
        _pair(
            f"{count} questions on one video, shared towers", tuple(rates), asked, 25,
            note=f"as released: one question's time, {count} times over",
        ),
        Figure(
            SECTION, "whole first question ÷ bare passes of the tower and the language model",
            Series(HERE, whole), Series("bare", bare), bound=1.10, at_least=False,
            note=f"{NEW_TOKENS} new tokens, shared towers",
        ),
    ]  # fmt: skip


def _fine_tuned(size: Size, path: Path, repeats: int) -> list[Figure]:
    llm = random_llava(size, shared=False)
    small = random_llava(size, shared=False, scorer=SCORERS[size.name])
    times: dict[str, list[float]] = defaultdict(list)
    quick: dict[str, list[float]] = defaultdict(list)
    for _ in tqdm(range(repeats), desc="fine-tuned towers", disable=None, leave=False):
        expected = _as_released(llm, path, times)
        _check(expected, _ours(llm, path, times))
        _ours(small, path, quick)
    released = tuple(times["released"])
    return [
        _pair(
            "first question, fine-tuned tower (100 passes for 108)",
            released, tuple(times["before"]), 1.07,
        ),
        _pair("next question, fine-tuned tower", released, tuple(times["next"]), 50),
        _pair(
            "first question, fine-tuned tower, small scoring model",
            released, tuple(quick["before"]), 1.8, note="other frames and regions: not the same",
        ),
    ]  # fmt: skip


def _pair(
    what: str, released: tuple[float, ...], ours: tuple[float, ...], bound: float, note: str = ""
) -> Figure:
    return Figure(
        SECTION, what, Series(AS_RELEASED, released), Series(HERE, ours), bound=bound, note=note
    )


def _as_released(llm: VideoLLM, path: Path, times: dict[str, list[float]]) -> torch.Tensor:
    start = time.perf_counter()
    tokens = visual_tokens(llm, read_full_frames(path, FRAMES), QUESTIONS[0], PLAN)
    times["released"].append(time.perf_counter() - start)
    return tokens


def _ours(llm: VideoLLM, path: Path, times: dict[str, list[float]]) -> torch.Tensor:
    """Watch once; then one question, the next, all, and a whole first one with its answer."""
    clock = time.perf_counter
    start = clock()
    video = llm.watch(path, frames=FRAMES, resize="pil")
    watched = clock() - start
    start = clock()
    answer = video.ask(QUESTIONS[0], plan=PLAN, max_new_tokens=NEW_TOKENS)
    times["whole"].append(watched + clock() - start)
    video.memo.clear()  # the questions below begin as the first one did
    start = clock()
    video.perceive(QUESTIONS[0], PLAN)
    times["before"].append(watched + clock() - start)
    start = clock()
    video.perceive(QUESTIONS[1], PLAN)
    times["next"].append(clock() - start)
    video.memo.clear()
    start = clock()
    for question in QUESTIONS:
        video.perceive(question, PLAN)
    times["all"].append(watched + clock() - start)
    return answer.visual_tokens.embeds


@torch.inference_mode()
def _bare(llm: VideoLLM, path: Path, tokens: torch.Tensor, times: dict[str, list[float]]) -> None:
    """The tower over every frame, and the language model over the same tokens: nothing else."""
    towers, model = llm.towers, llm.image_llm.model
    images = towers.normalisation(torch.from_numpy(_pixels(path, towers.size)))
    ids = llm.image_llm.tokenize(f"<image> {QUESTIONS[0]}")
    embeds = llm.image_llm.embed(ids, tokens)[None]
    batch = towers.batch_size()
    start = time.perf_counter()
    for first in range(0, len(images), batch):
        towers.llm_tower(images[first : first + batch])
    cache = None
    inputs = {"inputs_embeds": embeds}
    for _ in range(NEW_TOKENS):
        out = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        inputs = {"input_ids": out.logits[:, -1:].argmax(-1)}
    times["bare"].append(time.perf_counter() - start)


@functools.cache
def _pixels(path: Path, size: int) -> np.ndarray:
    return read_frames(path, count=FRAMES, size=size).pixels


def _check(expected: torch.Tensor, found: torch.Tensor) -> None:
    difference = (expected - found).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"the baseline's tokens differ by {difference:.1e}: nothing to compare")


def _memory(size: Size, path: Path) -> list[Figure]:
    peaks = [
        Series(label, (alone(job, str(path), size.name)["peak"] / 1e6,))
        for label, job in ((HERE, "question_ours"), (AS_RELEASED, "question_as_released"))
    ]
    return [
        Figure(
            SECTION, "peak memory of a whole question, shared towers", peaks[0], peaks[1], "MB",
            bound=0.7, at_least=False, note="the whole process, weights included",
        )
    ]  # fmt: skip
