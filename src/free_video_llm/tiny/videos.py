"""Toy clips: scenes that cut, objects that move, enter and leave; written as real video files.

A clip is a `Scene` for each frame, so that its truth is known. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from free_video_llm.tiny.questions import KINDS, Question, draw_questions, questions_about
from free_video_llm.tiny.world import (
    ASPECTS,
    COLORS,
    SHAPES,
    Background,
    Scene,
    Thing,
    contrasts,
    draw,
    extent,
    fit,
    overlaps,
    sample_background,
    sample_thing,
)

#: Of an object's centre, in shares of the frame's width and height.
Place = tuple[float, float]
#: Height in pixels of the clips that are written; the width follows the aspect.
HEIGHT = 192


@dataclass(frozen=True)
class Clip:
    """A clip as drawn: one scene for each frame."""

    scenes: tuple[Scene, ...]
    fps: int

    @property
    def aspect(self) -> float:
        return self.scenes[0].aspect

    def things(self) -> list[tuple[Thing, ...]]:
        """What is to be seen, frame by frame."""
        return [scene.things for scene in self.scenes]


@dataclass(frozen=True)
class Motion:
    """How an object moves during a shot: from one place to another, eased in and out."""

    thing: Thing
    start: Place
    end: Place

    def at(self, share: float) -> Thing:
        eased = 0.5 - 0.5 * math.cos(math.pi * min(max(share, 0.0), 1.0))
        x, y = (a + (b - a) * eased for a, b in zip(self.start, self.end, strict=True))
        return self.thing.at(x, y)


def inside(thing: Thing, aspect: float, rng: np.random.Generator) -> Place:
    """A place wholly in the frame."""
    w, h = extent(thing, aspect)
    x = rng.uniform(min(w / 2, 0.5), max(1 - w / 2, 0.5))
    y = rng.uniform(min(h / 2, 0.5), max(1 - h / 2, 0.5))
    return float(x), float(y)


def _outside(near: Place, thing: Thing, aspect: float) -> Place:
    """The place just out of the frame, on the nearest side to the left or right."""
    w, _ = extent(thing, aspect)
    return (-w / 2, near[1]) if near[0] < 0.5 else (1 + w / 2, near[1])


def clear_motions(
    things: Sequence[Thing],
    aspect: float,
    way: Callable[[Thing], tuple[Place, Place]],
    *,
    largest: float,
) -> list[Motion]:
    """Ways for objects that keep clear of one another all along; who finds none is left out.

    `way` draws from where to where an object goes, `largest` is what of the frame one may take.
    """
    paths: list[Motion] = []
    for thing in things:
        fitted = fit(thing, aspect, largest)
        for _ in range(60):
            path = Motion(fitted, *way(fitted))
            steps = np.linspace(0, 1, 9)
            clear = not any(
                overlaps(path.at(s), other.at(s), aspect, 1.0) for other in paths for s in steps
            )
            if clear:
                paths.append(path)
                break
    return paths


def _motions(
    things: Sequence[Thing], aspect: float, rng: np.random.Generator, *, still: float
) -> list[Motion]:
    """Objects of which some all but stay, some cross the frame, and some come in or go out."""

    def way(thing: Thing) -> tuple[Place, Place]:
        end = inside(thing, aspect, rng)
        kind = rng.random()
        if kind < still:
            start = (end[0] + float(rng.normal(0, 0.015)), end[1] + float(rng.normal(0, 0.015)))
            return start, end
        if kind < still + (1 - still) * 0.6:
            return inside(thing, aspect, rng), end
        start = _outside(end, thing, aspect)
        return (end, start) if rng.random() < 0.5 else (start, end)

    return clear_motions(things, aspect, way, largest=0.7)


def shot(
    paths: Sequence[Motion], background: Background, aspect: float, frames: int
) -> list[Scene]:
    """One scene a frame: what is to be seen while the objects move."""
    scenes = []
    for i in range(frames):
        moved = [path.at(i / max(1, frames - 1)) for path in paths]
        seen = tuple(t for t in moved if 0 < t.x < 1 and 0 < t.y < 1)
        scenes.append(Scene(background, seen, aspect))
    return scenes


def appear(scenes: list[Scene], thing: Thing, frames: Iterable[int]) -> None:
    """Add an object to what some frames show."""
    for i in frames:
        scenes[i] = replace(scenes[i], things=(*scenes[i].things, thing))


def _fresh_things(
    count: int, background: Background, rng: np.random.Generator, avoid: Sequence[Thing] = ()
) -> list[Thing]:
    things: list[Thing] = []
    largest = (2 / 3, 0.5, 0.4)[max(count - 1, 0)]
    while len(things) < count:
        thing = sample_thing(rng, width=(1 / 6, largest))
        taken = {(t.shape, t.color) for t in (*things, *avoid)}
        if contrasts(thing, background) and (thing.shape, thing.color) not in taken:
            things.append(thing)
    return things


def sample_clip(rng: np.random.Generator, *, frames: int | None = None, fps: int = 12) -> Clip:
    """One to three shots with one to three objects each."""
    aspect = float(rng.choice(ASPECTS))
    frames = int(rng.integers(48, 97)) if frames is None else frames
    shots = int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    scenes: list[Scene] = []
    for number in range(shots):
        background = sample_background(rng)
        count = int(rng.integers(1, 4 if shots == 1 else 3))
        things = _fresh_things(count, background, rng)
        left = frames - len(scenes)
        length = left if number == shots - 1 else left // (shots - number)
        scenes += shot(_motions(things, aspect, rng, still=0.4), background, aspect, length)
    return Clip(tuple(scenes), fps)


def sample_needle(
    rng: np.random.Generator, *, frames: int = 100, fps: int = 12
) -> tuple[Clip, Thing]:
    """A clip with an object that shows in 6 to 10 % of its frames, and that object.

    It appears among the others, or in a shot of its own.
    """
    aspect = float(rng.choice(ASPECTS))
    background = sample_background(rng)
    others = _fresh_things(int(rng.integers(0, 3)), background, rng)
    paths = _motions(others, aspect, rng, still=0.5)
    scenes = shot(paths, background, aspect, frames)
    length = int(rng.integers(math.ceil(frames * 0.06), int(frames * 0.1) + 1))
    start = int(rng.integers(2, frames - length - 1))
    own_shot = rng.random() < 0.5
    ground = sample_background(rng) if own_shot else background
    while True:
        # At least a quarter of the frame wide: a rare sight, not one too small to be seen.
        shapes = [s for s in SHAPES if s not in {t.shape for t in others}]
        colors = [c for c in COLORS if c not in {t.color for t in others}]
        thing = sample_thing(
            rng, shape=str(rng.choice(shapes)), color=str(rng.choice(colors)), width=(0.25, 0.5)
        )
        thing = fit(thing, aspect, 0.6)
        thing = thing.at(*inside(thing, aspect, rng))
        shown = scenes[start : start + length]
        crowded = not own_shot and any(
            overlaps(thing, other, aspect, 1.0) for scene in shown for other in scene.things
        )
        if contrasts(thing, ground) and not crowded:
            break
        if crowded and rng.random() < 0.05:
            return sample_needle(rng, frames=frames, fps=fps)
    for i in range(start, start + length):
        seen = (thing,) if own_shot else (*scenes[i].things, thing)
        scenes[i] = replace(scenes[i], background=ground, things=seen)
    return Clip(tuple(scenes), fps), thing


def _unlike(
    needle: tuple[str, str], count: int, background: Background, rng: np.random.Generator
) -> list[Thing]:
    """Objects of other shapes and colours than the needle's."""
    shapes = [shape for shape in SHAPES if shape != needle[0]]
    colors = [color for color in COLORS if color != needle[1]]
    things: list[Thing] = []
    while len(things) < count:
        thing = sample_thing(
            rng, shape=str(rng.choice(shapes)), color=str(rng.choice(colors)), width=(1 / 6, 0.5)
        )
        if contrasts(thing, background):
            things.append(thing)
    return things


def sample_long(
    rng: np.random.Generator,
    *,
    seconds: int = 600,
    fps: int = 6,
    visible: float = 1.0,
    shot_seconds: tuple[float, float] = (10, 40),
) -> tuple[Clip, Thing, tuple[float, float]]:
    """A long clip of many shots, an object that is seen in it once, for `visible` seconds, and from
    when to when. Nothing else has its shape or its colour."""
    aspect = float(rng.choice(ASPECTS))
    frames, length = round(seconds * fps), max(1, round(visible * fps))
    shape, color = str(rng.choice(SHAPES)), str(rng.choice(COLORS))
    scenes: list[Scene] = []
    while len(scenes) < frames:
        ground = sample_background(rng)
        others = _unlike((shape, color), int(rng.integers(1, 3)), ground, rng)
        scenes += shot(
            _motions(others, aspect, rng, still=0.4),
            ground,
            aspect,
            round(float(rng.uniform(*shot_seconds)) * fps),
        )
    del scenes[frames:]
    while True:
        start = int(rng.integers(0, frames - length + 1))
        shown = scenes[start : start + length]
        thing = fit(sample_thing(rng, shape=shape, color=color, width=(0.25, 0.5)), aspect, 0.6)
        thing = thing.at(*inside(thing, aspect, rng))
        crowded = any(overlaps(thing, o, aspect, 1.0) for scene in shown for o in scene.things)
        grounds = {scene.background for scene in shown}
        if len(grounds) == 1 and contrasts(thing, shown[0].background) and not crowded:
            break
    appear(scenes, thing, range(start, start + length))
    return Clip(tuple(scenes), fps), thing, (start / fps, (start + length) / fps)


def clip_questions(clip: Clip, count: int, rng: np.random.Generator) -> list[Question]:
    """Questions on a clip, of different kinds, yes and no balanced."""
    return draw_questions(clip.things(), count, rng)


def needle_question(
    clip: Clip, needle: Thing, kind: str, rng: np.random.Generator
) -> Question | None:
    """A question of one kind that only the frames with the needle answer.

    For "is there" half ask for the needle (yes) and half for something never there (no). None
    where the clip does not give this kind a certain answer.
    """
    options = [q for q in questions_about(clip.things()) if q.kind == kind]
    about = [
        q for q in options if q.shape in (None, needle.shape) and q.color in (None, needle.color)
    ]
    if kind.startswith("is there") and rng.random() < 0.5:
        about = [q for q in options if q.answer == "no"]
    return about[int(rng.integers(len(about)))] if about else None


def render(clip: Clip, rng: np.random.Generator, *, height: int = HEIGHT) -> Iterator[np.ndarray]:
    """The clip's frames, uint8 [H,W,3], with grain, some blur and slow changes of brightness."""
    width = max(2, round(height * clip.aspect / 2) * 2)
    grain = float(rng.uniform(0, 0.03))
    blur = bool(rng.random() < 0.3)
    level, swing = float(rng.uniform(0.85, 1.05)), float(rng.uniform(0, 0.08))
    for start in range(0, len(clip.scenes), 16):
        part = clip.scenes[start : start + 16]
        images, _ = draw(part, height, width)
        if blur:
            images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        waves = level + swing * np.sin(2 * np.pi * (start + np.arange(len(part))) / 40)
        images = images * torch.tensor(waves, dtype=torch.float32)[:, None, None, None]
        noise = rng.standard_normal(tuple(images.shape), dtype=np.float32) * grain
        pixels = ((images + torch.from_numpy(noise)).clamp(0, 1) * 255).round().byte()
        yield from pixels.permute(0, 2, 3, 1).numpy()


def write_clip(
    clip: Clip, path: str | Path, rng: np.random.Generator, *, height: int = HEIGHT, crf: int = 26
) -> Path:
    """Encode a clip as H.264 (or as the ending of `path` says: .gif, .webm, …)."""
    path = Path(path)
    codec = {".gif": "gif", ".webm": "libvpx-vp9"}.get(path.suffix.lower(), "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(clip.fps))
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if codec == "libx264":
            # With its tree of macroblocks x264 writes another file each time, and answers near a
            # tie change with it.
            stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        for index, pixels in enumerate(render(clip, rng, height=height)):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            frame.time_base = Fraction(1, clip.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


__all__ = [
    "HEIGHT", "KINDS", "Clip", "Motion", "Place", "appear", "clear_motions", "clip_questions",
    "inside", "needle_question", "render", "sample_clip", "sample_long", "sample_needle", "shot",
    "write_clip",
]  # fmt: skip
