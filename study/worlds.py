"""The clips and questions of the study: seven kinds of the toy world, whose truth is known.

Each kind is a function of a random generator to a clip and its questions; equal seeds give equal
clips. `tiny` was trained on pictures of one to three objects, at least a sixth of the frame wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from free_video_llm.tiny.questions import KINDS, Question, questions_about, time_questions
from free_video_llm.tiny.videos import (
    Clip,
    Motion,
    appear,
    clear_motions,
    clip_questions,
    inside,
    needle_question,
    sample_clip,
    sample_long,
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
#: Widths of small things, shares of the frame's.
SMALL = (1 / 8, 1 / 4)


def ordinary(rng: np.random.Generator) -> Drawn:
    """One to three shots with two or three small objects that move, of which two often share a
    shape or a colour."""
    aspect = float(rng.choice(ASPECTS))
    scenes: list[Scene] = []
    for _ in range(int(rng.integers(1, 4))):
        ground = sample_background(rng)
        paths = _moving(_alike(int(rng.integers(2, 4)), ground, rng), aspect, rng)
        scenes += shot(paths, ground, aspect, 36)
    clip = Clip(tuple(scenes), 12)
    return clip, _of_each_kind(clip_questions(clip, 40, rng), rng)


def needle(rng: np.random.Generator) -> Drawn:
    """Among two or three objects that move, of which some have its shape or its colour, something
    small shows in 2 to 4 of 100 frames."""
    aspect = float(rng.choice(ASPECTS))
    ground = sample_background(rng)
    named = str(rng.choice(SHAPES)), str(rng.choice(COLORS))
    others = [_half_like(named, ground, rng) for _ in range(int(rng.integers(2, 4)))]
    scenes = shot(_moving(others, aspect, rng), ground, aspect, 100)
    length = int(rng.integers(2, 5))
    start = int(rng.integers(2, 100 - length))
    shown = scenes[start : start + length]
    for _ in range(200):
        thing = sample_thing(rng, shape=named[0], color=named[1], width=SMALL)
        thing = fit(thing, aspect, 0.4)
        thing = thing.at(*inside(thing, aspect, rng))
        free = not any(overlaps(thing, o, aspect, 1.0) for scene in shown for o in scene.things)
        if free and contrasts(thing, ground):
            break
    else:
        return needle(rng)
    appear(scenes, thing, range(start, start + length))
    clip = Clip(tuple(scenes), 12)
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
    """Seven to ten objects at once, each a tenth to a fifth of the frame wide."""
    aspect = float(rng.choice(ASPECTS))
    ground = sample_background(rng)
    wanted = int(rng.integers(7, 11))
    paths: list[Motion] = []
    for _ in range(60 * wanted):
        thing = fit(sample_thing(rng, width=(1 / 10, 1 / 5)), aspect, 0.3)
        thing = thing.at(*inside(thing, aspect, rng))
        free = not any(overlaps(thing, path.thing, aspect, 1.0) for path in paths)
        if free and contrasts(thing, ground):
            paths.append(_still(thing))
        if len(paths) == wanted:
            break
    else:
        return crowd(rng)
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


def order(rng: np.random.Generator) -> Drawn:
    """Two to four shots of two seconds with an object each, one of them now and then seen before:
    which of two shapes comes first, and how many objects there are."""
    aspect = float(rng.choice(ASPECTS))
    seen: list[Thing] = []
    scenes: list[Scene] = []
    for _ in range(int(rng.integers(2, 5))):
        ground = sample_background(rng)
        again = len(seen) > 1 and rng.random() < 0.3
        thing = seen[int(rng.integers(len(seen)))] if again else _unseen(seen, ground, rng)
        if not contrasts(thing, ground):
            return order(rng)
        thing = fit(thing, aspect, 0.6)
        seen.append(thing)
        still = _still(thing.at(*inside(thing, aspect, rng)))
        scenes += shot([still], ground, aspect, 24)
    clip = Clip(tuple(scenes), 12)
    found = time_questions(clip.things(), gap=12)
    first = [question for question in found if question.kind == "first"]
    chosen = [first[int(i)] for i in rng.permutation(len(first))[: PER_CLIP - 1]]
    return clip, chosen + [question for question in found if question.kind == "how many"]


WORLDS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "ordinary": ordinary,
    "needle": needle,
    "corner": corner,
    "crowd": crowd,
    "global": whole,
    "long": long,
    "order": order,
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


def _alike(count: int, ground: Background, rng: np.random.Generator) -> list[Thing]:
    """Small things, no two the same, of which each is as likely as not like the one before it in
    shape or in colour."""
    found: list[Thing] = []
    while len(found) < count:
        named = (found[-1].shape, found[-1].color) if found else ("", "")
        alike = found and rng.random() < 0.5
        thing = _half_like(named, ground, rng) if alike else sample_thing(rng, width=SMALL)
        if contrasts(thing, ground) and all(
            (thing.shape, thing.color) != (other.shape, other.color) for other in found
        ):
            found.append(thing)
    return found


def _half_like(named: tuple[str, str], ground: Background, rng: np.random.Generator) -> Thing:
    """A small thing of another shape or another colour than the named one, with luck both."""
    while True:
        share = rng.random()
        thing = sample_thing(
            rng,
            shape=named[0] if share < 0.3 else None,
            color=named[1] if share > 0.7 else None,
            width=SMALL,
        )
        if (thing.shape, thing.color) != named and contrasts(thing, ground):
            return thing


def _moving(things: Sequence[Thing], aspect: float, rng: np.random.Generator) -> list[Motion]:
    """Ways from place to place."""
    return clear_motions(
        things,
        aspect,
        lambda thing: (inside(thing, aspect, rng), inside(thing, aspect, rng)),
        largest=0.4,
    )


def _unseen(seen: Sequence[Thing], ground: Background, rng: np.random.Generator) -> Thing:
    """A thing of a shape that was not seen before."""
    shapes = [shape for shape in SHAPES if shape not in {thing.shape for thing in seen}]
    while True:
        thing = sample_thing(rng, shape=str(rng.choice(shapes)), width=(0.2, 0.5))
        if contrasts(thing, ground):
            return thing


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
        x, y = inside(thing, aspect, rng)
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
