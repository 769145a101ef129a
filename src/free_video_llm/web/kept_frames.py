"""The kept frames as HTML: thumbnails with their region, dimmed outside, and filmstrips.

Each is a button that names its second, for the page's script to move the player to.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from free_video_llm.picture import captions
from free_video_llm.picture.styles import Mark, marks_for
from free_video_llm.picture.thumbnail import Pixels, compose, kept_mask, outline
from free_video_llm.picture.thumbnails import (
    MOST_EDGES,
    Scale,
    heat_scale,
    patches_per_side,
    proportions,
    spread,
)
from free_video_llm.picture.timeline import TimeAxis
from free_video_llm.web.markup import glyph
from free_video_llm.web.timeline import show_at

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, Evidence, KeptFrame, PathwayEvidence

#: Thumbnails, and pictures of a filmstrip; the rest is counted. The picture to download has more.
MOST_THUMBNAILS, MOST_IN_STRIP = 24, 12
#: Square pixels of a thumbnail and of a picture in a strip, on screens of two pixels to the point.
_AREA, _STRIP_AREA = 60_000, 12_000


def kept_frames(answer: Answer) -> str:
    """The section "Where", and a filmstrip for each pathway that looks coarsely."""
    evidence = answer.evidence
    marks = marks_for(part.name for part in evidence.pathways)
    axis = TimeAxis.of(evidence, 0.0, 1.0)
    detailed = [p for p in evidence.pathways if not captions.is_overview(answer, p) and p.kept]
    strips = [p for p in evidence.pathways if captions.is_overview(answer, p) and p.kept]
    parts = []
    if detailed:
        parts.append(_thumbnails(evidence, detailed, marks, axis))
    parts += [_strip(answer, part, marks[part.name], axis) for part in strips]
    return "".join(parts)


def _thumbnails(
    evidence: Evidence,
    parts: Sequence[PathwayEvidence],
    marks: dict[str, Mark],
    axis: TimeAxis,
) -> str:
    scale = heat_scale(parts)
    kept = [(part, frame) for part in parts for frame in part.kept]
    cropped = any(part.cropped for part in parts)
    title = "Where" if cropped else "Kept frames"
    note = (
        "the framed part was kept, the rest is dimmed; lines and glow show which patches are "
        "near to the question"
        if cropped
        else "whole frames: nothing was cut away"
    )
    cells = "".join(
        _thumbnail(evidence, part, frame, marks[part.name], axis, scale)
        for part, frame in kept[:MOST_THUMBNAILS]
    )
    more = ""
    if len(kept) > MOST_THUMBNAILS:
        rest = captions.count(len(kept) - MOST_THUMBNAILS, "more frame")
        more = f'<p class="fvl-facts">and {rest}, in the lanes above and in the picture</p>'
    upright = " fvl-upright" if proportions(evidence) < 1 else ""
    return (
        f'<section class="fvl-part"><h2>{title} <small>{note}</small></h2>'
        f'<div class="fvl-thumbs{upright}">{cells}</div>{more}</section>'
    )


def _thumbnail(
    evidence: Evidence,
    part: PathwayEvidence,
    kept: KeptFrame,
    mark: Mark,
    axis: TimeAxis,
    scale: Scale,
) -> str:
    mask = kept_mask(kept.cells, patches_per_side(evidence)) if len(kept.cells) else None
    wide, high = _size(evidence, _AREA)
    pixels = compose(
        evidence.frames.pixels[kept.frame], wide, high, mask=mask, heat=kept.similarity, scale=scale
    )
    frame = ""
    if mask is not None and not mask.all():
        edges = outline(mask)
        path = "".join(f"M{a:.4f} {b:.4f}L{c:.4f} {d:.4f}" for (a, b), (c, d) in edges)
        thick = 2.5 if len(edges) <= MOST_EDGES else 1.0
        frame = (
            '<svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
            f'<path d="{path}" stroke="#fff" stroke-width="{thick + 2}"/>'
            f'<path d="{path}" stroke="{mark.color}" stroke-width="{thick}"/></svg>'
        )
    label = escape(show_at(kept.second, axis, part.name, kept.score, time_first=True))
    return (
        f'<button type="button" class="fvl-thumb" data-second="{kept.second:.4f}" '
        f'aria-label="{label}"><span class="fvl-image" style="aspect-ratio:{wide}/{high}">'
        f'<img src="{data_uri(pixels)}" alt="">{frame}</span>'
        f'<span class="fvl-caption">{glyph(mark)}<b>{escape(axis.stamp(kept.second))}</b>'
        f'<span class="fvl-of" dir="auto">{escape(part.name)}</span>'
        f'<span class="fvl-score">{captions.score(kept.score)}</span></span></button>'
    )


def _strip(answer: Answer, part: PathwayEvidence, mark: Mark, axis: TimeAxis) -> str:
    evidence = answer.evidence
    wide, high = _size(evidence, _STRIP_AREA)
    cells = []
    shown = spread(len(part.kept), MOST_IN_STRIP)
    for number in shown:
        kept = part.kept[number]
        label = escape(show_at(kept.second, axis, part.name, kept.score, time_first=True))
        image = data_uri(compose(evidence.frames.pixels[kept.frame], wide, high))
        cells.append(
            f'<button type="button" class="fvl-small" data-second="{kept.second:.4f}" '
            f'aria-label="{label}"><img src="{image}" alt="" '
            f'style="aspect-ratio:{wide}/{high}"><span>{escape(axis.stamp(kept.second))}</span>'
            "</button>"
        )
    note = f"{captions.count(len(part.kept), 'frame')}, {captions.how(answer, part)}"
    if len(shown) < len(part.kept):
        note += f"; {len(shown)} of them shown"
    return (
        f'<section class="fvl-part"><h2>{glyph(mark)} Overview: <span dir="auto">'
        f"{escape(part.name)}</span> <small>{escape(note)}</small></h2>"
        f'<div class="fvl-strip">{"".join(cells)}</div></section>'
    )


def _size(evidence: Evidence, area: int) -> tuple[int, int]:
    """Width and height in pixels of the clip's proportions."""
    aspect = proportions(evidence)
    high = (area / aspect) ** 0.5
    return round(high * aspect), round(high)


def data_uri(pixels: Pixels) -> str:
    """An image [H,W,3] as a JPEG within the page, so that no file of it is kept."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
