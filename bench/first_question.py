"""The first question on a video and those after it: as released, here, and the bare passes."""

from __future__ import annotations

import functools
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from as_released import read_full_frames, visual_tokens
from checkpoint import SCORERS, Size, random_llava
from free_video_llm import Plan, VideoLLM
from free_video_llm.video.read import read_frames
from measure import Figure, Series, alone

SECTION = "A question, and the next"
MEMORY = "Memory of a question"
PLAN = Plan.preset("paper", rules="released")
FRAMES = 50
NEW_TOKENS = 16
QUESTIONS = tuple(
    f"What is the {who} {doing}?"
    for who in ("man", "woman", "child", "dog", "other one")
    for doing in ("doing", "holding", "looking at", "wearing", "going to do next")
)
#: Seconds by what was done, a value for each repeat.
Times = defaultdict[str, list[float]]
AS_RELEASED = "as released"
HERE = "here"


def figures(size: Size, path: Path, repeats: int) -> list[Figure]:
    """Towers that are shared; that are not; and that are not, with a small scoring model.

    The released code does the same work in all three, so it is timed once in each round. A round
    of large towers takes a quarter of an hour: each is on disk when it is done, and is not done
    again by a run that goes on after one that was broken off.
    """
    unfinished = path.with_name(f"{size.name}-rounds.json")
    rounds: list[dict[str, Times]] = []
    if unfinished.exists():
        rounds = json.loads(unfinished.read_text(encoding="utf-8"))
    if len(rounds) < repeats:
        models = {
            "shared": random_llava(size, shared=True),
            "tuned": random_llava(size, shared=False),
            "small": random_llava(size, shared=False, scorer=SCORERS[size.name]),
        }
        for _ in tqdm(range(len(rounds), repeats), desc="questions", disable=None, leave=False):
            rounds.append(_round(models, path))
            unfinished.write_text(json.dumps(rounds), encoding="utf-8")
        del models
    lines = _lines(*(_joined(rounds, kind) for kind in rounds[0]))
    unfinished.unlink()
    return lines


def _round(models: dict[str, VideoLLM], path: Path) -> dict[str, Times]:
    times = {kind: Times(list) for kind in models}
    expected = _as_released(models["shared"], path, times["shared"])
    _check(expected, _ours(models["shared"], path, times["shared"]))
    _bare(models["shared"], path, expected, times["shared"])
    _check(expected, _ours(models["tuned"], path, times["tuned"]))
    _ours(models["small"], path, times["small"])
    return times


def _joined(rounds: list[dict[str, Times]], kind: str) -> Times:
    """The rounds' seconds in their order."""
    whole = Times(list)
    for times in rounds:
        for what, values in times[kind].items():
            whole[what].extend(values)
    return whole


def _lines(of_shared: Times, of_tuned: Times, of_small: Times) -> list[Figure]:
    released, count = of_shared["released"], len(QUESTIONS)
    every = [count * seconds for seconds in released]
    return [
        _pair("first question, shared towers (50 passes for 108)", released,
              of_shared["before"], 2.1),
        _pair("first question, fine-tuned tower (100 passes for 108)", released,
              of_tuned["before"], 1.07),
        _pair("first question, fine-tuned tower, small scoring model", released,
              of_small["before"], 1.8, note="other frames and regions: not the same tokens"),
        _pair("next question, shared towers", released, of_shared["next"], 50),
        _pair("next question, fine-tuned tower", released, of_tuned["next"], 50),
        _pair(f"{count} questions on one video, shared towers", every, of_shared["all"], 25,
              note=f"as released: one question's time, {count} times over"),
        Figure(
            SECTION, "whole first question ÷ bare passes of the tower and the language model",
            Series(HERE, tuple(of_shared["whole"])), Series("bare", tuple(of_shared["bare"])),
            bound=1.10, at_least=False, note=f"{NEW_TOKENS} new tokens, shared towers",
        ),
    ]  # fmt: skip


def _pair(
    what: str, released: Sequence[float], ours: Sequence[float], bound: float, note: str = ""
) -> Figure:
    return Figure(
        SECTION, what, Series(AS_RELEASED, tuple(released)), Series(HERE, tuple(ours)),
        bound=bound, note=note,
    )  # fmt: skip


def _as_released(llm: VideoLLM, path: Path, times: Times) -> torch.Tensor:
    start = time.perf_counter()
    tokens = visual_tokens(llm, read_full_frames(path, FRAMES), QUESTIONS[0], PLAN)
    times["released"].append(time.perf_counter() - start)
    return tokens


def _ours(llm: VideoLLM, path: Path, times: Times) -> torch.Tensor:
    """Watch once; then one question, the next, all, and a whole first one with its answer."""
    clock = time.perf_counter
    start = clock()
    video = llm.watch(path, frames=FRAMES, rules="released", plan=PLAN)
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
def _bare(llm: VideoLLM, path: Path, tokens: torch.Tensor, times: Times) -> None:
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


def memory(size: Size, path: Path) -> list[Figure]:
    """The most that a process holds which is asked one question."""
    peaks = [
        Series(label, (alone(job, str(path), size.name)["peak"] / 1e6,))
        for label, job in ((HERE, "question_ours"), (AS_RELEASED, "question_as_released"))
    ]
    return [
        Figure(
            MEMORY, "peak memory of a whole question, shared towers", peaks[0], peaks[1], "MB",
            bound=0.7, at_least=False, note="the whole process, weights included",
        )
    ]  # fmt: skip
