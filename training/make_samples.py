"""Draw the bundled sample clips and list what to ask them; `make samples` runs it.

Some are drawn on purpose, two were found by `find_contrasts.py`. The true answers are
worked out from what was drawn, not from what the model says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from find_contrasts import draw_case, write_case
from free_video_llm.samples import FOLDER
from free_video_llm.tiny.questions import questions_about, time_questions
from free_video_llm.tiny.videos import Clip, Motion, shot, write_clip
from free_video_llm.tiny.world import Background, Scene, Thing

NIGHT = Background("gradient", (0.05, 0.06, 0.12), (0.16, 0.13, 0.22), 1.2, 3.0, 0)
MOSS = Background("noise", (0.10, 0.16, 0.11), (0.24, 0.26, 0.20), 0.0, 5.0, 7)
SLATE = Background("stripes", (0.20, 0.22, 0.25), (0.27, 0.28, 0.31), 0.7, 5.0, 2)
DUSK = Background("gradient", (0.28, 0.18, 0.20), (0.10, 0.08, 0.14), 0.3, 3.0, 0)
COAL = Background("plain", (0.09, 0.09, 0.10), (0.09, 0.09, 0.10), 0.0, 3.0, 0)
RGB = {
    "red": (0.90, 0.16, 0.16), "green": (0.16, 0.70, 0.25), "blue": (0.16, 0.35, 0.90),
    "yellow": (0.98, 0.85, 0.16), "purple": (0.58, 0.22, 0.78), "orange": (0.98, 0.55, 0.10),
    "white": (0.97, 0.97, 0.97), "pink": (0.98, 0.55, 0.72),
}  # fmt: skip
ASPECT = 4 / 3


def thing(color: str, shape: str, width: float, angle: float = 0.0) -> Thing:
    """An object without a place."""
    return Thing(shape, color, 0.5, 0.5, width, angle, RGB[color])


Place = tuple[float, float]


def moving(
    color: str, shape: str, width: float, start: Place, end: Place, angle: float = 0.0
) -> Motion:
    """An object on its way from one place to another."""
    return Motion(thing(color, shape, width, angle), start, end)


def star() -> Clip:
    """A red star comes in while a blue ring crosses; then another scene."""
    first = [
        moving("red", "star", 0.26, (-0.15, 0.25), (0.28, 0.27)),
        moving("blue", "ring", 0.24, (0.80, 0.74), (0.35, 0.76)),
    ]
    second = [
        moving("green", "square", 0.22, (0.25, 0.68), (0.40, 0.68)),
        moving("white", "moon", 0.24, (0.78, 0.30), (0.76, 0.32), -0.5),
    ]
    return Clip(tuple(shot(first, NIGHT, ASPECT, 48) + shot(second, MOSS, ASPECT, 42)), 12)


def needle() -> Clip:
    """A yellow diamond shows for eight frames of a hundred and twenty."""
    calm = [
        moving("purple", "circle", 0.26, (0.30, 0.66), (0.34, 0.70)),
        moving("white", "cross", 0.22, (0.72, 0.26), (0.68, 0.28)),
    ]
    scenes = shot(calm, SLATE, ASPECT, 120)
    diamond = thing("yellow", "diamond", 0.30).at(0.74, 0.72)
    for i in range(77, 85):
        scenes[i] = Scene(SLATE, (*scenes[i].things, diamond), ASPECT)
    return Clip(tuple(scenes), 12)


def cuts() -> Clip:
    """Three scenes, an object in each."""
    scenes = shot(
        [moving("orange", "triangle", 0.36, (0.30, 0.35), (0.36, 0.30))], COAL, ASPECT, 30
    )
    scenes += shot(
        [moving("pink", "moon", 0.30, (0.30, 0.74), (0.24, 0.70), 0.8)], DUSK, ASPECT, 30
    )
    scenes += shot([moving("blue", "cross", 0.34, (0.74, 0.30), (0.70, 0.34))], SLATE, ASPECT, 30)
    return Clip(tuple(scenes), 12)


def crossing() -> Clip:
    """A green circle rolls through from left to right, a red square stays."""
    motions = [
        moving("green", "circle", 0.24, (-0.12, 0.74), (1.12, 0.74)),
        moving("red", "square", 0.24, (0.74, 0.26), (0.74, 0.26)),
    ]
    return Clip(tuple(shot(motions, MOSS, ASPECT, 72)), 12)


@dataclass(frozen=True)
class Found:
    """A clip of the search for clips on which two plans part, by its set and number."""

    set: str
    number: int
    about: str


@dataclass(frozen=True)
class Entry:
    """A clip, and what `samples.json` lists of it; see `free_video_llm.samples.Sample`."""

    clip: Callable[[], Clip] | Found
    questions: tuple[str, ...]
    contrasts: tuple[str, ...] = ()


SAMPLES = {
    "star": Entry(
        star,
        (
            "What color is the star?",
            "Where is the moon?",
            "What shape is the blue object?",
            "Is there a green square?",
            "Is there a moon?",
        ),
    ),
    "needle": Entry(
        needle,
        (
            "What color is the diamond?",
            "Where is the diamond?",
            "Is there a star?",
            "Is there a yellow diamond?",
        ),
    ),
    "cuts": Entry(
        cuts,
        (
            "What shape is the pink object?",
            "Where is the cross?",
            "What color is the triangle?",
            "Is there a star?",
            "Which comes first, the moon or the triangle?",
        ),
    ),
    "crossing": Entry(
        crossing,
        (
            "What color is the circle?",
            "Where is the square?",
            "Is there a circle?",
            "Is there a green square?",
        ),
    ),
    "glimpse": Entry(
        Found("needle", 0, "A green star shows for six frames of a hundred; plans part on it."),
        ("Is there a green star?", "Is there a triangle?"),
        ("What color is the star?",),
    ),
    "steady": Entry(
        Found("ordinary", 9, "A red moon stays while crosses come and go."),
        (
            "What color is the moon?",
            "Where is the moon?",
            "Is there a ring?",
            "What shape is the red object?",
        ),
    ),
    "edge": Entry(
        Found("ordinary", 13, "A green cross comes in over the edge; plans part on it."),
        ("What color is the cross?", "Is there a green cross?", "Is there a ring?"),
        ("What shape is the green object?",),
    ),
}


def draw_sample(name: str, path: Path) -> tuple[Clip, str]:
    """Write a sample's file; returns the clip as it was drawn, and what it is about."""
    source = SAMPLES[name].clip
    if isinstance(source, Found):
        write_case(source.set, source.number, path)
        return draw_case(source.set, source.number)[0], source.about
    clip = source()
    rng = np.random.default_rng(list(SAMPLES).index(name))
    write_clip(clip, path, rng, height=240)
    return clip, " ".join((source.__doc__ or "").split())


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    listed: dict[str, dict[str, object]] = {}
    for name, entry in SAMPLES.items():
        clip, about = draw_sample(name, FOLDER / f"{name}.mp4")
        frames = clip.things()
        truth = {q.text: q.answer for q in (*questions_about(frames), *time_questions(frames))}
        listed[name] = {"about": about, "questions": [(q, truth[q]) for q in entry.questions]}
        if entry.contrasts:
            listed[name]["contrasts"] = [(q, truth[q]) for q in entry.contrasts]
    (FOLDER / "samples.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
