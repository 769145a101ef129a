"""When and where what a question asks for is to be seen in a toy clip."""

from __future__ import annotations

from free_video_llm.tiny.questions import Question
from free_video_llm.tiny.videos import Clip
from free_video_llm.tiny.world import Thing, extent

Interval = tuple[float, float]
Box = tuple[float, float, float, float]


def is_about(question: Question, thing: Thing) -> bool:
    """Whether a question asks for a thing: for its shape, its colour, both, or its other shape."""
    if question.other == thing.shape:
        return True
    named = [(question.shape, thing.shape), (question.color, thing.color)]
    return any(asked for asked, _ in named) and all(asked in (None, is_) for asked, is_ in named)


def moments_of(clip: Clip, question: Question) -> list[Interval]:
    """From when to when it is seen, in seconds, ascending; none where it is never seen."""
    found: list[Interval] = []
    for index, things in enumerate(clip.things()):
        if not any(is_about(question, thing) for thing in things):
            continue
        start, end = index / clip.fps, (index + 1) / clip.fps
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def boxes_of(clip: Clip, question: Question) -> list[tuple[float, Box]]:
    """Where it is seen, frame by frame: the second, and left, top, right, bottom as shares of the
    frame, cut at its edges."""
    found = []
    for index, scene in enumerate(clip.scenes):
        for thing in scene.things:
            if is_about(question, thing):
                wide, high = extent(thing, scene.aspect)
                box = (
                    thing.x - wide / 2,
                    thing.y - high / 2,
                    thing.x + wide / 2,
                    thing.y + high / 2,
                )
                left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in box)
                found.append((index / clip.fps, (left, top, right, bottom)))
    return found
