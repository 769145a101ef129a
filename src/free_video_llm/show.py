"""From the evidence of a question to the pictures that a picture model is shown.

Kept frames and regions are cut at the clip's own sharpness, in time order, each after its time; an
overview pathway becomes one grid of small frames. Which frames and regions, the plan has decided.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from free_video_llm.answer import Evidence, KeptFrame, PathwayEvidence
from free_video_llm.errors import ConfigError
from free_video_llm.llm.chat import ChatPicture, FrameTimes, PictureLimits, stamp
from free_video_llm.plans.plan import Plan
from free_video_llm.video.read import Frames, Pixels
from free_video_llm.video.stills import Still, fitting, read_stills

#: How far a frame may be from where its place says that it is, in seconds; where one is further
#: off, its clip has no even rate, and places are milliseconds.
_NEAR = 0.02
#: Frames in the grid of an overview; of more, so many evenly.
MOST_IN_GRID = 16
#: Between the frames of a grid, in pixels.
_GAP = 4


@dataclass(frozen=True)
class _Detail:
    """A frame, or a part of it, that is shown as a picture of its own."""

    kept: KeptFrame
    cropped: bool


def pictures_of(
    evidence: Evidence, plan: Plan, limits: PictureLimits
) -> tuple[tuple[ChatPicture, ...], tuple[str, ...]]:
    """The pictures of a question, and notes of what did not fit.

    Where there are more than `limits.max_images`, the frames nearest to the question stay, beside
    the overview; where only one is allowed, all are put into one grid.
    """
    most, frames = limits.max_images, evidence.frames
    details = _details(evidence, plan)
    overview = _overview(evidence, plan)
    if most is not None and most < len(details) + bool(overview):
        if most == 1:
            times = sorted({*(d.kept.frame for d in details), *overview})
            note = f"the model takes one picture: {len(times)} frames were put into a grid"
            return (_grid(frames, times, limits.max_pixels),), (note,)
        room = most - bool(overview)
        dropped = len(details) - room
        nearest = sorted(details, key=lambda detail: -detail.kept.score)[:room]
        details = [detail for detail in details if detail in nearest]
        note = f"the model takes {most} pictures: {dropped} of the kept frames were left out"
        return _shown(frames, details, overview, limits.max_pixels), (note,)
    return _shown(frames, details, overview, limits.max_pixels), ()


def as_video(
    evidence: Evidence, plan: Plan, limits: PictureLimits
) -> tuple[tuple[ChatPicture, ...], FrameTimes, tuple[str, ...]]:
    """All kept frames, whole and of one size, in time order; which of the video's they are; and
    notes of what did not fit.

    A server that reads them as a video knows when each is seen (vLLM's `video/jpeg`), and its model
    has its own way with time. Regions cannot be cut there, and overviews are frames like others.
    """
    frames, notes = evidence.frames, []
    kept = {k.frame: k for part in evidence.pathways for k in part.kept}
    if any(part.cropped for part in evidence.pathways):
        notes.append("frames are sent whole, as a video: regions were not cut")
    chosen = sorted(kept)
    most = limits.max_images
    if most is not None and most < len(chosen):
        notes.append(f"the model takes {most} frames: {len(chosen) - most} were left out")
        chosen = sorted(sorted(chosen, key=lambda frame: -kept[frame].score)[:most])
    stills = read_stills(frames, [Still(f) for f in chosen], most_pixels=limits.max_pixels)
    seconds = [float(frames.seconds[frame]) for frame in chosen]
    pictures = tuple(
        ChatPicture(pixels, f"Frame at {stamp(second)}:")
        for second, pixels in zip(seconds, stills, strict=True)
    )
    times = _times(frames, chosen, seconds)
    each = max(1, limits.as_video)
    indices = tuple(place for place in times.indices for _ in range(each))
    times = replace(times, indices=indices, total=max(times.total, len(indices)))
    return tuple(p for p in pictures for _ in range(each)), times, tuple(notes)


def _times(frames: Frames, chosen: Sequence[int], seconds: Sequence[float]) -> FrameTimes:
    """Places among the clip's frames, where those are even in time; else milliseconds."""
    places = [int(frames.indices[frame]) for frame in chosen]
    duration = max(frames.duration, *seconds, 1e-3)
    fps = frames.total / duration
    even = all(abs(p / fps - s) <= _NEAR for p, s in zip(places, seconds, strict=True))
    if even and len(set(places)) == len(places):
        return FrameTimes(tuple(places), frames.total, fps)
    return FrameTimes(tuple(round(1000 * s) for s in seconds), math.ceil(1000 * duration) + 1, 1000)


def save_frames(
    evidence: Evidence, plan: Plan, folder: str | Path, *, most_pixels: int = 50_000_000
) -> list[dict[str, Any]]:
    """Write the kept frames and regions as pictures, at the clip's own sharpness, and `frames.json`
    beside them, which lists them; an overview is one grid.

    Args:
        folder: is made; files of the same names in it are written over.
        most_pixels: of one picture.

    Returns:
        What `frames.json` lists: `file`, `second` (None of a grid), `frame` in the clip, `score`,
        `region` as shares of the frame, and `words`.

    Raises:
        ConfigError: the folder cannot be written.
    """
    details, overview = _details(evidence, plan), _overview(evidence, plan)
    pictures = _shown(evidence.frames, details, overview, most_pixels)
    listed: list[dict[str, Any]] = []
    if overview:
        listed.append({"file": "overview.jpg", "second": None, "frame": None, "score": None,
                       "region": None})  # fmt: skip
    for number, detail in enumerate(details, start=1):
        kept = detail.kept
        listed.append(
            {
                "file": f"{number:02d}_{kept.second:09.3f}s{'_part' * detail.cropped}.jpg",
                "second": round(kept.second, 3),
                "frame": int(evidence.frames.indices[kept.frame]),
                "score": round(kept.score, 4),
                "region": [round(edge, 4) for edge in kept.region],
            }
        )
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry, picture in zip(listed, pictures, strict=True):
            entry["words"] = picture.words.rstrip(":")
            (folder / entry["file"]).write_bytes(picture.jpeg())
        text = json.dumps(listed, ensure_ascii=False, indent=1) + "\n"
        (folder / "frames.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror or error}") from None
    return listed


def _shown(
    frames: Frames, details: Sequence[_Detail], overview: Sequence[int], most_pixels: int
) -> tuple[ChatPicture, ...]:
    stills = read_stills(
        frames,
        [Still(detail.kept.frame, detail.kept.region) for detail in details],
        most_pixels=most_pixels,
    )
    pictures = [
        ChatPicture(pixels, _words(detail)) for detail, pixels in zip(details, stills, strict=True)
    ]
    if overview:
        pictures.insert(0, _grid(frames, overview, most_pixels))
    return tuple(pictures)


def _words(detail: _Detail) -> str:
    part = " (the part of the frame that matters)" if detail.cropped else ""
    return f"Frame at {stamp(detail.kept.second)}{part}:"


def _details(evidence: Evidence, plan: Plan) -> list[_Detail]:
    """What the detailed pathways kept, in time order; the same part of a frame once."""
    found: dict[tuple[int, tuple[float, ...]], _Detail] = {}
    for part in _parts(evidence, plan, coarse=False):
        for kept in part.kept:
            cropped = part.cropped and kept.region != (0.0, 0.0, 1.0, 1.0)
            found.setdefault((kept.frame, kept.region), _Detail(kept, cropped))
    return [found[key] for key in sorted(found)]


def _overview(evidence: Evidence, plan: Plan) -> list[int]:
    """The frames of the coarse pathways' grid, in time order."""
    parts = _parts(evidence, plan, coarse=True)
    frames = sorted({kept.frame for part in parts for kept in part.kept})
    if len(frames) <= MOST_IN_GRID:
        return frames
    evenly = np.rint(np.linspace(0, len(frames) - 1, MOST_IN_GRID)).astype(int)
    return [frames[place] for place in evenly]


def _parts(evidence: Evidence, plan: Plan, *, coarse: bool) -> list[PathwayEvidence]:
    names = {p.name for p in plan.pathways if p.pool.method.coarse == coarse}
    return [part for part in evidence.pathways if part.name in names]


def _grid(frames: Frames, which: Sequence[int], most_pixels: int) -> ChatPicture:
    """Frames side by side, row by row, as one picture."""
    columns = math.ceil(math.sqrt(len(which)))
    rows = math.ceil(len(which) / columns)
    each = max(1, most_pixels // (rows * columns))
    wide, high = fitting(frames.width, frames.height, each)
    gaps = _GAP * ((rows - 1) * columns * wide + (columns - 1) * rows * high)
    each = max(1, (most_pixels - gaps - _GAP**2 * rows * columns) // (rows * columns))
    stills = read_stills(frames, [Still(frame) for frame in which], most_pixels=each)
    times = ", ".join(stamp(float(frames.seconds[frame])) for frame in which)
    words = f"Overview, {len(which)} frames from left to right and top to bottom, at {times}:"
    return ChatPicture(_joined(stills, rows, columns), words)


def _joined(stills: Sequence[Pixels], rows: int, columns: int) -> Pixels:
    high, wide = max(s.shape[0] for s in stills), max(s.shape[1] for s in stills)
    whole = np.full(
        (rows * high + (rows - 1) * _GAP, columns * wide + (columns - 1) * _GAP, 3), 255, np.uint8
    )
    for number, still in enumerate(stills):
        row, column = divmod(number, columns)
        top, left = row * (high + _GAP), column * (wide + _GAP)
        whole[top : top + still.shape[0], left : left + still.shape[1]] = still
    return whole
