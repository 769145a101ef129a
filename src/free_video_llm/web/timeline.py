"""An answer's timeline as HTML: similarity over time, the sampled frames, what each pathway kept.

Every mark is a button that names its second, for the page's script to move the player to. Colours,
shapes, axes and words are those of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from free_video_llm.picture import captions
from free_video_llm.picture.styles import Mark, marks_for
from free_video_llm.picture.timeline import ScoreAxis, TimeAxis
from free_video_llm.web.markup import glyph

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, Evidence, PathwayEvidence

#: An axis of so many points has the five or six ticks for which a telephone has room.
_POINTS = 300.0


def timeline(answer: Answer) -> str:
    """The section "When"."""
    evidence = answer.evidence
    axis = TimeAxis.of(evidence, 0.0, _POINTS)
    marks = marks_for(part.name for part in evidence.pathways)
    seconds = [float(second) for second in evidence.frames.seconds]
    similar = [float(score) for score in evidence.scores]
    sampled = "".join(
        _button(axis, "sampled", second, score, '<i class="fvl-tick"></i>', first=n == 0)
        for n, (second, score) in enumerate(zip(seconds, similar, strict=True))
    )
    lanes = [_lane("sampled", '<i class="fvl-tick"></i>', sampled, len(seconds))]
    for part in evidence.pathways:
        shape = glyph(marks[part.name])
        buttons = "".join(
            _button(axis, part.name, kept.second, kept.score, shape, first=n == 0)
            for n, kept in enumerate(sorted(part.kept, key=lambda kept: kept.second))
        )
        lanes.append(_lane(part.name, shape, buttons, len(part.kept)))
    return (
        '<section class="fvl-part"><h2>When <small>similarity of the question with each sampled '
        "frame, and what was kept; click, or use Tab, arrows and Enter, to see a frame in the "
        f'player</small></h2><div class="fvl-time" data-duration="{axis.duration:.4f}">'
        f"{_curve(answer, axis, marks)}{''.join(lanes)}{_seconds_row(axis)}"
        '<div class="fvl-now" hidden></div></div></section>'
    )


def show_at(
    second: float, axis: TimeAxis, name: str, score: float, *, time_first: bool = False
) -> str:
    """A button's label: what it stands for and what it does. Where the button has words to be seen,
    time, name and score, it begins with them in their order: people who speak to their machine say
    what they see (WCAG 2.5.3)."""
    if time_first:
        return f"{axis.stamp(second)} {name} {captions.score(score)}: show it in the player"
    return (
        f"{name}, {axis.stamp(second)}, similarity {captions.score(score)}: show it in the player"
    )


def _button(
    axis: TimeAxis, name: str, second: float, score: float, inside: str, *, first: bool
) -> str:
    label = escape(show_at(second, axis, name, score))
    # One stop of the Tab key for each lane; the arrow keys go from mark to mark.
    return (
        f'<button type="button" class="fvl-mark" style="left:{_share(axis, second):.3f}%" '
        f'data-second="{second:.4f}" tabindex="{0 if first else -1}" aria-label="{label}" '
        f'title="{escape(axis.stamp(second))}, {captions.score(score)}">{inside}</button>'
    )


def _lane(name: str, shape: str, buttons: str, count: int) -> str:
    label = escape(f"{name}: {captions.count(count, 'frame')}")
    return (
        f'<div class="fvl-row"><span class="fvl-name" dir="auto">{shape}<span>{escape(name)}'
        f'</span></span><div class="fvl-lane" role="group" aria-label="{label}">{buttons}</div>'
        f'<span class="fvl-count">{count:,}</span></div>'
    )


def _curve(answer: Answer, axis: TimeAxis, marks: dict[str, Mark]) -> str:
    evidence = answer.evidence
    scores = ScoreAxis.of(evidence.scores, 0.0, 100.0)
    points = [
        (_share(axis, float(second)), scores.y(float(score)))
        for second, score in zip(evidence.frames.seconds, evidence.scores, strict=True)
    ]
    line = " ".join(f"{x:.3f},{y:.3f}" for x, y in points)
    area = f"{points[0][0]:.3f},100 {line} {points[-1][0]:.3f},100"
    ticks = [(scores.y(tick), f"{tick:.{scores.digits}f}") for tick in scores.ticks]
    across = "".join(f'<path class="fvl-grid" d="M0 {y:.3f}H100"/>' for y, _ in ticks)
    down = "".join(
        f'<path class="fvl-grid" d="M{_share(axis, tick):.3f} 0V100"/>' for tick in axis.ticks()
    )
    labels = "".join(
        f'<span style="top:{y:.2f}%">{text.replace("-", "−")}</span>' for y, text in ticks
    )
    spots = "".join(_spots(answer, evidence, axis, scores, marks))
    return (
        f'<div class="fvl-row fvl-high"><div class="fvl-scale" aria-hidden="true">{labels}</div>'
        '<div class="fvl-plot"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(_summary(evidence, axis))}">{across}{down}'
        f'<polygon class="fvl-area" points="{area}"/><polyline class="fvl-line" points="{line}"/>'
        f'</svg>{spots}</div><span class="fvl-count"></span></div>'
    )


def _spots(
    answer: Answer,
    evidence: Evidence,
    axis: TimeAxis,
    scores: ScoreAxis,
    marks: dict[str, Mark],
) -> Iterable[str]:
    """The detailed pathways' marks on the curve; the lanes below have the buttons."""
    detailed: Sequence[PathwayEvidence] = [
        part for part in evidence.pathways if not captions.is_overview(answer, part)
    ]
    for part in detailed:
        for kept in part.kept:
            place = f"left:{_share(axis, kept.second):.3f}%;top:{scores.y(kept.score):.3f}%"
            yield f'<span class="fvl-spot" style="{place}">{glyph(marks[part.name])}</span>'


def _summary(evidence: Evidence, axis: TimeAxis) -> str:
    best = int(evidence.scores.argmax())
    return (
        f"Similarity of the question with {captions.count(len(evidence.frames), 'frame')}, "
        f"from {captions.score(float(evidence.scores.min()))} to "
        f"{captions.score(float(evidence.scores.max()))}, highest at "
        f"{axis.stamp(float(evidence.frames.seconds[best]))}"
    )


def _seconds_row(axis: TimeAxis) -> str:
    ticks = "".join(
        f'<span style="left:{_share(axis, tick):.3f}%">{escape(axis.label(tick))}</span>'
        for tick in axis.ticks()
    )
    return (
        '<div class="fvl-row fvl-axis" aria-hidden="true"><span></span>'
        f'<div class="fvl-ticks">{ticks}</div><span class="fvl-count"></span></div>'
    )


def _share(axis: TimeAxis, second: float) -> float:
    """Per cent of the way across."""
    return 100.0 * axis.x(second) / _POINTS
