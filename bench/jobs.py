"""What is measured in a process of its own, for its peak of memory: `python jobs.py JOB ARGUMENTS`.

Prints one line of JSON: `peak` bytes of the process, `before` bytes when the work began.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from free_video_llm.profiling.memory import peak_bytes


def decode_as_released(path: str) -> Callable[[], object]:
    """50 frames held whole, then resized by PIL."""
    from as_released import read_full_frames, resize

    return lambda: resize(read_full_frames(Path(path), 50), 336)


def decode_ours(path: str) -> Callable[[], object]:
    """50 frames decoded to the tower's size."""
    from free_video_llm.video.read import read_frames

    return lambda: read_frames(path, count=50, size=336)


def question_as_released(path: str, size: str) -> Callable[[], object]:
    """A whole first question, with the towers in LLaVA's own way."""
    from as_released import answer
    from checkpoint import SIZES, random_llava
    from first_question import FRAMES, NEW_TOKENS, PLAN, QUESTIONS

    llm = random_llava(SIZES[size], shared=True)
    return lambda: answer(llm, Path(path), FRAMES, QUESTIONS[0], PLAN, new=NEW_TOKENS)


def question_ours(path: str, size: str) -> Callable[[], object]:
    """The same through the library."""
    from checkpoint import SIZES, random_llava
    from first_question import FRAMES, NEW_TOKENS, PLAN, QUESTIONS

    llm = random_llava(SIZES[size], shared=True)

    def ask() -> object:
        video = llm.watch(path, frames=FRAMES, rules="released", plan=PLAN)
        return video.ask(QUESTIONS[0], plan=PLAN, max_new_tokens=NEW_TOKENS)

    return ask


def encode(size: str, frames: str, batch: str) -> Callable[[], object]:
    """So many frames through the towers, so many a pass."""
    import numpy as np

    from checkpoint import SIZES, random_llava

    towers = random_llava(SIZES[size], shared=True).towers
    pixels = np.zeros((int(frames), towers.size, towers.size, 3), np.uint8)
    return lambda: towers.encode(pixels, batch=int(batch))


def prefill(tokens: str) -> Callable[[], object]:
    """A prompt of so many tokens through the bench's language model."""
    from prompt_length import first_token, random_llm

    llm = random_llm()
    return lambda: first_token(llm, int(tokens))


JOBS = {
    job.__name__: job
    for job in (
        decode_as_released, decode_ours, encode, question_as_released, question_ours, prefill
    )
}  # fmt: skip


def _forget_peak() -> None:
    """What putting the models together took at its most is not what is asked (Linux only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    work = JOBS[sys.argv[1]](*sys.argv[2:])
    before = psutil.Process().memory_info().rss
    _forget_peak()
    work()
    print(json.dumps({"peak": peak_bytes(), "before": before}))


if __name__ == "__main__":
    main()
