"""The clips and questions of the study: six kinds of the toy world, whose truth is known.

Each kind is a function of a random generator to a clip and its questions; equal seeds give equal
clips. `tiny` was trained on pictures of one to three objects, at least a sixth of the frame wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from free_video_llm.tiny.questions import KINDS, Question, questions_about
from free_video_llm.tiny.videos import (
    Clip,
    Motion,
    clip_questions,
    needle_question,
    sample_clip,
    sample_long,
    sample_needle,
    shot,
)
from free_video_llm.tiny.world import (
    ASPECTS,
    COLORS,
    SHAPES,
    Background,
    Scene,
    Thing,
    contrasts,
    extent,
    fit,
    overlaps,
    sample_background,
    sample_thing,
)

Drawn = tuple[Clip, list[Question]]
#: Questions of a clip, at most.
PER_CLIP = 3


def ordinary(rng: np.random.Generator) -> Drawn:
    """One to three shots with one to three objects."""
    clip = sample_clip(rng)
    return clip, _of_each_kind(clip_questions(clip, 40, rng), rng)


def needle(rng: np.random.Generator) -> Drawn:
    """What is asked about shows in 6 to 10 % of the frames."""
    clip, thing = sample_needle(rng)
    return clip, _about(clip, thing, rng)


def corner(rng: np.random.Generator) -> Drawn:
    """What is asked about is small (an eighth to a sixth of the frame wide) and near an edge, in
    one of two shots, beside something large."""
    aspect = float(rng.choice(ASPECTS))
    shape, color = str(rng.choice(SHAPES)), str(rng.choice(COLORS))
    scenes: list[Scene] = []
    for number in range(2):
        ground = sample_background(rng)
        large = _other((shape, color), ground, rng, width=(0.3, 0.45))
        large = fit(large, aspect, 0.5).at(*(float(v) for v in rng.uniform(0.4, 0.6, 2)))
        things = [large]
        if number == 0:
            small = _at_edge((shape, color), ground, aspect, rng, avoid=large)
            if small is None:
                return corner(rng)
            things.append(small)
        scenes += shot([_still(thing) for thing in things], ground, aspect, 40)
    return Clip(tuple(scenes), 12), _about(Clip(tuple(scenes), 12), small, rng)


def crowd(rng: np.random.Generator) -> Drawn:
    """Four to six objects at once, each a sixth to a quarter of the frame wide."""
    aspect = float(rng.choice(ASPECTS))
    ground = sample_background(rng)
    paths: list[Motion] = []
    for _ in range(int(rng.integers(4, 7))):
        for _ in range(60):
            thing = fit(sample_thing(rng, width=(1 / 6, 1 / 4)), aspect, 0.35)
            wide, high = extent(thing, aspect)
            thing = thing.at(
                float(rng.uniform(wide / 2, 1 - wide / 2)),
                float(rng.uniform(high / 2, 1 - high / 2)),
            )
            free = not any(overlaps(thing, path.thing, aspect, 1.0) for path in paths)
            if free and contrasts(thing, ground):
                paths.append(_still(thing))
                break
    clip = Clip(tuple(shot(paths, ground, aspect, 60)), 12)
    return clip, _of_each_kind(clip_questions(clip, 40, rng), rng)


def whole(rng: np.random.Generator) -> Drawn:
    """Five shots, and what is asked is whether something is seen anywhere, half of it nowhere."""
    aspect = float(rng.choice(ASPECTS))
    scenes: list[Scene] = []
    for _ in range(5):
        part = sample_clip(rng, frames=24)
        scenes += [replace(scene, aspect=aspect) for scene in part.scenes]
    clip = Clip(tuple(scenes), 12)
    kinds = ("is there shape", "is there pair")
    options = [q for q in questions_about(clip.things()) if q.kind in kinds]
    return clip, _balanced(options, rng)


def long(rng: np.random.Generator) -> Drawn:
    """Ten minutes, and what is asked about is seen for one second."""
    clip, thing, _ = sample_long(rng)
    return clip, _about(clip, thing, rng)


WORLDS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "ordinary": ordinary,
    "needle": needle,
    "corner": corner,
    "crowd": crowd,
    "global": whole,
    "long": long,
}


def _of_each_kind(drawn: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """One of each kind at the most; the first drawn of a kind is as often a yes as a no."""
    first: dict[str, Question] = {}
    for question in drawn:
        first.setdefault(question.kind, question)
    kinds = sorted(first)
    rng.shuffle(kinds)
    return [first[kind] for kind in kinds[:PER_CLIP]]


def _about(clip: Clip, thing: Thing, rng: np.random.Generator) -> list[Question]:
    """Questions that only the frames with a thing answer."""
    kinds = list(KINDS)
    rng.shuffle(kinds)
    found = [needle_question(clip, thing, kind, rng) for kind in kinds]
    return [question for question in found if question is not None][:PER_CLIP]


def _balanced(options: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Some questions, yes and no as likely, none twice."""
    sides = {answer: [q for q in options if q.answer == answer] for answer in ("yes", "no")}
    found: list[Question] = []
    while len(found) < PER_CLIP:
        side = sides[str(rng.choice(["yes", "no"]))]
        if side:
            found.append(side.pop(int(rng.integers(len(side)))))
    return found


def _other(
    unlike: tuple[str, str],
    ground: Background,
    rng: np.random.Generator,
    *,
    width: tuple[float, float],
) -> Thing:
    while True:
        thing = sample_thing(rng, width=width)
        if thing.shape != unlike[0] and thing.color != unlike[1] and contrasts(thing, ground):
            return thing


def _at_edge(
    named: tuple[str, str],
    ground: Background,
    aspect: float,
    rng: np.random.Generator,
    *,
    avoid: Thing,
) -> Thing | None:
    """A small thing near an edge; None where the background hides it."""
    for _ in range(200):
        thing = sample_thing(rng, shape=named[0], color=named[1], width=(1 / 8, 1 / 6))
        thing = fit(thing, aspect, 0.25)
        wide, high = extent(thing, aspect)
        x, y = (float(v) for v in rng.uniform((wide / 2, high / 2), (1 - wide / 2, 1 - high / 2)))
        if rng.random() < 0.5:
            x = float(rng.choice([wide / 2 + 0.01, 1 - wide / 2 - 0.01]))
        else:
            y = float(rng.choice([high / 2 + 0.01, 1 - high / 2 - 0.01]))
        thing = thing.at(x, y)
        if contrasts(thing, ground) and not overlaps(thing, avoid, aspect, 1.05):
            return thing
    return None


def _still(thing: Thing) -> Motion:
    return Motion(thing, (thing.x, thing.y), (thing.x, thing.y))
