"""Measure what a question costs, as released and here, side by side; write a table and a plot.

    python bench/run.py                     # minutes: towers of the real shape, cut in size
    python bench/run.py --size full         # over an hour: towers as CLIP ViT-L/14 at 336 px
    python bench/run.py --only length       # one part, the others kept from the run before

Random weights of the real classes: cost does not depend on their values. Every figure is a ratio
of interleaved repeats in one run. After every part the results are on disk, in outputs/bench/.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

import clip_length
import first_question
import lean
import many_questions
import prompt_length
import savings
import selection
import start
from checkpoint import SIZES
from clips import make_clip
from measure import KEEPING, Curve, Figure, Results
from report import write_documents, write_picture, write_table

OUT = Path("outputs/bench")
REPEATS = {"quick": 3, "full": 3}
KEPT_BYTES = 6_000_000_000
Part = Callable[[], tuple[list[Figure], list[Curve]]]


def parts(size_name: str, repeats: int) -> dict[str, Part]:
    """What can be measured, by name."""
    size, clips = SIZES[size_name], OUT / "clips"
    clip = functools.partial(make_clip, seconds=10, gop=30)
    long = functools.partial(make_clip, seconds=600, gop=250, height=720, stretch=50)

    def plain(figures: list[Figure]) -> tuple[list[Figure], list[Curve]]:
        return figures, []

    return {
        "start": lambda: plain(start.figures(5 * repeats)),
        "selection": lambda: plain(selection.figures(5 * repeats)),
        "together": lambda: plain(many_questions.figures(3 * repeats)),
        "tokens": lambda: prompt_length.figures(repeats),
        "length": lambda: clip_length.figures(clips, repeats),
        "savings": lambda: plain(
            savings.figures(
                long(clips / "gop250.mp4"), clip(clips / "1080p.mp4", height=1080),
                2 * repeats - 1,
            )
        ),
        "lean": lambda: plain(lean.figures(size, clip(clips / "480p.mp4", height=480), repeats)),
        # Before the part whose models fill the memory of this process.
        "memory": lambda: plain(
            first_question.memory(size, clip(clips / "480p.mp4", height=480))
        ),
        "question": lambda: plain(
            first_question.figures(size, clip(clips / "480p.mp4", height=480), repeats)
        ),
    }  # fmt: skip


def machine(size_name: str) -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "models": str(SIZES[size_name]),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "type": "float32",
        "system": f"{platform.system()} {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
    }


def keep_memory() -> None:
    """Start again with an allocator that keeps what is freed.

    Given back to the system and taken again, memory costs more on some virtual machines than the
    work done in it, and never twice the same. Every way of doing a thing is timed alike; the jobs
    that measure memory do the contrary, see `measure.RETURNING`.
    """
    if sys.platform == "linux" and not KEEPING.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEPING)
    torch.ones(KEPT_BYTES // 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--only", nargs="+", metavar="PART", help="one or more of the parts")
    parser.add_argument("--repeats", type=int, help="default: 3")
    parser.add_argument("--documents", action="store_true", help="also fill in docs/cost.md")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what there is")
    options = parser.parse_args()
    every = parts(options.size, options.repeats or REPEATS[options.size])
    unknown = set(options.only or ()) - set(every)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    path = OUT / f"{options.size}.json"
    results = Results.load(path) if path.exists() else Results(options.size, {})
    results.machine = machine(options.size)
    if not options.draw:
        keep_memory()
    for name in () if options.draw else options.only or every:
        print(f"measuring: {name}", flush=True)
        results.replace(*every[name]())
        results.save(path)
    write_table(results, OUT / f"{options.size}.md")
    write_picture(results, OUT / f"{options.size}.png")
    if options.documents:
        write_documents(results)
    print((OUT / f"{options.size}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
