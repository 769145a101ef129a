"""The questions of the toy world, and their true answers for one frame or many.

A question is only asked where its answer is beyond doubt: all stars seen have one colour, an
object stays in one quarter of the frame. Knows nothing of drawing or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from free_video_llm.tiny.world import COLORS, SHAPES, Thing

KINDS = ("color", "shape", "is there shape", "is there pair", "where")
#: Questions that no single frame answers.
TIME_KINDS = ("first", "how many")
#: Words of the counts that are asked for.
NUMBERS = ("one", "two", "three", "four")
PLACES = ("top left", "top right", "bottom left", "bottom right")

#: What an object's centre must keep from the frame's midlines for "where" to be asked.
MIDLINE_MARGIN = 0.07


@dataclass(frozen=True)
class Question:
    """A question with its true answer. `shape` and `color` are what it is about, if named; `other`
    is a second shape that it names."""

    kind: str
    text: str
    answer: str
    shape: str | None = None
    color: str | None = None
    other: str | None = None


def phrase(
    kind: str, *, shape: str | None = None, color: str | None = None, other: str | None = None
) -> str:
    """The exact wording of a question."""
    if kind == "color":
        return f"What color is the {shape}?"
    if kind == "shape":
        return f"What shape is the {color} object?"
    if kind == "is there shape":
        return f"Is there a {shape}?"
    if kind == "is there pair":
        return f"Is there a {color} {shape}?"  # "a orange star" too: the world's wording is fixed
    if kind == "where":
        return f"Where is the {shape}?"
    if kind == "first":
        return f"Which comes first, the {shape} or the {other}?"
    if kind == "how many":
        return "How many different objects appear?"
    allowed = ", ".join((*KINDS, *TIME_KINDS))
    raise ValueError(f"unknown kind of question {kind!r}: one of {allowed}")


def vary(text: str, rng: np.random.Generator) -> str:
    """One of the other ways to write a question: lower case, no question mark, "in the video"."""
    if rng.random() < 0.4:
        return text
    bare = text.rstrip("?")
    if rng.random() < 0.4:
        bare += " in the video"
    if rng.random() < 0.5:
        bare = bare.lower()
    return bare + ("?" if rng.random() < 0.5 else "")


def questions_about(
    frames: Sequence[Sequence[Thing]], *, where_margin: float = MIDLINE_MARGIN
) -> list[Question]:
    """Every question of which the frames, taken together, give one certain answer.

    `frames` holds, for each frame, the objects to be seen in it.
    """
    seen = [thing for frame in frames for thing in frame]
    pairs = {(t.shape, t.color) for t in seen}
    found: list[Question] = []
    for shape in SHAPES:
        colors = {c for s, c in pairs if s == shape}
        found.append(
            Question("is there shape", phrase("is there shape", shape=shape), _yes(colors), shape)
        )
        if len(colors) == 1:
            text = phrase("color", shape=shape)
            found.append(Question("color", text, next(iter(colors)), shape))
        spots = [t for t in seen if t.shape == shape]
        # Two of a shape in one frame make "the star" ambiguous, so do two quarters over time.
        alone = all(Counter(t.shape for t in frame)[shape] <= 1 for frame in frames)
        clear = all(t.distance_to_midlines() >= where_margin for t in spots)
        if alone and clear and len({t.quadrant for t in spots}) == 1:
            text = phrase("where", shape=shape)
            found.append(Question("where", text, spots[0].quadrant, shape))
    for color in COLORS:
        shapes = {s for s, c in pairs if c == color}
        if len(shapes) == 1:
            text = phrase("shape", color=color)
            found.append(Question("shape", text, next(iter(shapes)), None, color))
        for shape in SHAPES:
            text = phrase("is there pair", shape=shape, color=color)
            here = (shape, color) in pairs
            found.append(Question("is there pair", text, "yes" if here else "no", shape, color))
    return found


def time_questions(frames: Sequence[Sequence[Thing]], *, gap: int = 1) -> list[Question]:
    """Questions of which only the frames' order, or all of them together, give the answer.

    "Which comes first" is asked of two shapes that begin to be seen at least `gap` frames apart,
    and with either named first; "how many" counts pairs of shape and colour, where they are at
    most four.
    """
    begins: dict[str, int] = {}
    for number, things in enumerate(frames):
        for thing in things:
            begins.setdefault(thing.shape, number)
    found: list[Question] = []
    for shape, begin in begins.items():
        for other, later in begins.items():
            if abs(later - begin) >= max(1, gap):
                answer = shape if begin < later else other
                text = phrase("first", shape=shape, other=other)
                found.append(Question("first", text, answer, shape, other=other))
    count = len({(thing.shape, thing.color) for things in frames for thing in things})
    if 1 <= count <= len(NUMBERS):
        found.append(Question("how many", phrase("how many"), NUMBERS[count - 1]))
    return found


def _yes(items: object) -> str:
    return "yes" if items else "no"


def hardness(question: Question, frames: Sequence[Sequence[Thing]]) -> int:
    """How much in sight suggests a "yes": 1 for the shape, 1 for the colour."""
    seen = [thing for frame in frames for thing in frame]
    return int(any(t.shape == question.shape for t in seen)) + int(
        any(t.color == question.color for t in seen)
    )


def draw_questions(
    frames: Sequence[Sequence[Thing]],
    count: int,
    rng: np.random.Generator,
    *,
    kinds: Sequence[str] = KINDS,
) -> list[Question]:
    """`count` questions: kinds equally likely, yes and no balanced, hard "no"s preferred.

    Fewer where the frames do not give enough different ones.
    """
    pool: dict[tuple[str, str], list[Question]] = {}
    for question in questions_about(frames):
        if question.kind in kinds:
            side = question.answer if question.kind.startswith("is there") else ""
            pool.setdefault((question.kind, side), []).append(question)
    chosen: list[Question] = []
    while len(chosen) < count and pool:
        present = sorted({kind for kind, _ in pool})
        kind = str(rng.choice(present))
        sides = sorted(side for k, side in pool if k == kind)
        key = (kind, str(rng.choice(sides)))
        options = pool[key]
        if key[1] == "no" and kind == "is there pair":
            weights = np.array([(0.15, 1.0, 4.0)[hardness(q, frames)] for q in options])
            index = int(rng.choice(len(options), p=weights / weights.sum()))
        else:
            index = int(rng.integers(len(options)))
        chosen.append(options.pop(index))
        if not options:
            del pool[key]
    return chosen


def prompts_for(shape: str | None, color: str | None, rng: np.random.Generator) -> str:
    """A text about a shape, a colour or both, as a bare noun, a caption or a question."""
    if shape and color:
        forms = [f"{color} {shape}", f"a {color} {shape}", f"the {color} {shape}"]
        question = phrase("is there pair", shape=shape, color=color)
    elif shape:
        forms = [shape, f"a {shape}", f"the {shape}"]
        kind = str(rng.choice(["color", "is there shape", "where"]))
        question = phrase(kind, shape=shape)
    else:
        forms = [f"{color}", f"a {color} object", f"the {color} object", f"something {color}"]
        question = phrase("shape", color=color)
    if rng.random() < 0.65:
        return vary(question, rng)
    return forms[rng.integers(len(forms))]


def prompts_for_either(shape: str, other: str, rng: np.random.Generator) -> str:
    """A text about two shapes of which either will do: the question of which comes first, or a
    caption."""
    if rng.random() < 0.65:
        return vary(phrase("first", shape=shape, other=other), rng)
    forms = [f"{shape} or {other}", f"a {shape} or a {other}", f"the {shape} or the {other}"]
    return forms[rng.integers(len(forms))]
