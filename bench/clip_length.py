"""What 50 frames cost of clips of ten seconds to an hour."""

from __future__ import annotations

from pathlib import Path

from checkpoint import QUICK, random_llava
from clips import make_clip
from free_video_llm.video.read import read_frames
from measure import Curve, Figure, interleaved

SECTION = "Cost against the clip's length"
LENGTHS = {"10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3600}
FRAMES = 50


def figures(folder: Path, repeats: int) -> tuple[list[Figure], list[Curve]]:
    """The hour against the ten seconds; keyframes against exact seeking in a long GOP."""
    paths = {
        name: make_clip(folder / f"gop30-{seconds}.mp4", seconds=seconds, gop=30, height=720)
        for name, seconds in LENGTHS.items()
    }
    llm = random_llava(QUICK, shared=True)

    def ask(path: Path) -> object:
        return llm.watch(path, frames=FRAMES, plan="paper").ask("What is it?", max_new_tokens=16)

    whole = interleaved(
        {name: lambda path=path: ask(path) for name, path in paths.items()},
        repeats, what="questions by length",
    )  # fmt: skip
    decoded = interleaved(
        {name: lambda path=path: read_frames(path, count=FRAMES) for name, path in paths.items()},
        repeats, what="decoding by length",
    )  # fmt: skip
    long = make_clip(folder / "gop250.mp4", seconds=600, gop=250, height=720, stretch=50)
    modes = interleaved(
        {
            "keyframes": lambda: read_frames(long, count=FRAMES, mode="keyframes"),
            "exact": lambda: read_frames(long, count=FRAMES),
        },
        repeats, what="keyframes",
    )  # fmt: skip
    lines = [
        Figure(
            SECTION, "a whole question: an hour ÷ ten seconds", whole["1 h"], whole["10 s"],
            bound=1.5, at_least=False, note="the quick bench's small towers: larger ones hide more",
        ),
        Figure(
            SECTION, "decoding alone: an hour ÷ ten seconds", decoded["1 h"], decoded["10 s"],
            note="a pass over 108,000 packets, and 50 seeks instead of none",
        ),
        Figure(
            SECTION, "GOP 250, ten minutes: keyframes ÷ exact frames", modes["keyframes"],
            modes["exact"], bound=1 / 3, at_least=False,
        ),
    ]  # fmt: skip
    curves = [
        Curve(
            SECTION, name, "s",
            tuple((float(LENGTHS[length]), series.median) for length, series in times.items()),
        )
        for name, times in (("whole question", whole), ("decoding alone", decoded))
    ]  # fmt: skip
    return lines, curves
