"""Time a question's steps before the language model: as released, and ours, side by side.

    python bench/cost.py                    # minutes: 576 patches, cut in depth and width
    python bench/cost.py --full             # a tower the size of CLIP ViT-L/14 at 336 px

Random weights of the real classes: cost does not depend on their values. Every figure is a ratio
from interleaved repeats in one run; the table gives medians and the spread. The baseline's visual
tokens are checked against ours first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from as_released import read_full_frames, visual_tokens
from checkpoint import random_llava
from free_video_llm import Plan
from free_video_llm.tiny.videos import sample_clip, write_clip

PLAN = Plan.preset("paper", geometry="released")
QUESTION = "What is the man doing?"


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Times of several ways of doing the same, taken in turn so that a drifting machine is fair."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in tqdm(range(repeats), desc="repeats", disable=None):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


def ratio_row(what: str, slower: list[float], faster: list[float]) -> str:
    """A table row: median seconds of both, median and range of the ratio pair by pair."""
    ratios = sorted(a / b for a, b in zip(slower, faster, strict=True))
    return (
        f"| {what} | {statistics.median(slower):.2f} | {statistics.median(faster):.3f} | "
        f"**{statistics.median(ratios):.2f}×** | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
    )


def compare(path: Path, *, shared: bool, args: argparse.Namespace) -> list[str]:
    """The rows for towers that are shared, or not."""
    llm = random_llava(layers=args.layers, width=args.width, shared=shared)

    def released() -> torch.Tensor:
        return visual_tokens(llm, read_full_frames(path, args.frames), QUESTION, PLAN)

    def ours(resize: str = "bicubic") -> torch.Tensor:
        video = llm.watch(path, frames=args.frames, resize=resize)
        return video.perceive(QUESTION, PLAN)[0].embeds

    difference = (released() - ours("pil")).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"the baseline's tokens differ by {difference:.1e}: nothing to compare")
    video = llm.watch(path, frames=args.frames)
    times = interleaved(
        {"released": released, "first": ours, "next": lambda: video.perceive("Is he alone?", PLAN)},
        args.repeats,
    )
    kind = "shared towers" if shared else "fine-tuned tower"
    return [
        ratio_row(f"first question, {kind}", times["released"], times["first"]),
        ratio_row(f"next question, {kind}", times["released"], times["next"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--full", action="store_true", help="24 layers of width 1,024")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench/cost.md"))
    args = parser.parse_args()
    if args.full:
        args.layers, args.width = 24, 1024
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        path = write_clip(
            sample_clip(rng, frames=240, fps=24), Path(folder) / "clip.mp4", rng, height=480
        )
        rows = [row for shared in (True, False) for row in compare(path, shared=shared, args=args)]
    table = [
        f"Before the language model, {args.frames} frames, plan `{PLAN}`, tower of {args.layers} "
        f"layers × {args.width} at 336 px, float32, {torch.get_num_threads()} threads, "
        f"{args.repeats} interleaved repeats.",
        "",
        "| what | as released, s | ours, s | ratio | range |",
        "|---|---|---|---|---|",
        *rows,
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(table) + "\n", encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
