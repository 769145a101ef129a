"""The comparison picture: one question under several plans, a row for each on a common timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from free_video_llm.picture import captions
from free_video_llm.picture.bar import draw_bar
from free_video_llm.picture.canvas import (
    FAINT,
    GRID,
    INK,
    MARGIN,
    MUTED,
    SMALL,
    WIDTH,
    Canvas,
)
from free_video_llm.picture.evidence_picture import INNER, draw_header, draw_rows, draw_title
from free_video_llm.picture.styles import Mark, marks_for
from free_video_llm.picture.thumbnails import (
    Scale,
    draw_thumbnail,
    heat_scale,
    proportions,
    small_size,
    spread,
)
from free_video_llm.picture.timeline import (
    LANE,
    ScoreAxis,
    TimeAxis,
    draw_count,
    draw_curve,
    draw_lane_name,
    draw_marks,
    draw_samples,
    draw_time_axis,
    draw_time_grid,
)

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, Evidence, KeptFrame, PathwayEvidence

GUTTER = 78.0
#: Right of the lanes, for frames × tokens of each.
RIGHT = 58.0
CURVE_HEIGHT = 52.0
NAME, SAID = 10.5, 10.5
METER = 74.0
METER_HEIGHT = 7.0
#: Thumbnails of one plan.
MOST_SMALL = 10
SMALL_HEIGHT = 40.0
SMALL_GAP = 4.0


def draw_plans(answers: Sequence[Answer], *, width_px: int, vector: bool, heat_map: bool) -> Figure:
    """The whole picture."""
    canvas = Canvas(width_px=width_px, vector=vector)
    evidence = answers[0].evidence
    marks = marks_for(part.name for answer in answers for part in answer.evidence.pathways)
    y = draw_header(canvas, answers[0].question, answers[0].options, MARGIN)
    axis = TimeAxis.of(evidence, MARGIN + GUTTER, WIDTH - MARGIN - RIGHT)
    y = _draw_common(canvas, evidence, axis, y + 16)
    most_tokens = max(max(a.evidence.tokens for a in answers), 1)
    most_seconds = max(max(captions.asking_seconds(a) for a in answers), 1e-9)
    parts = [part for answer in answers for part in answer.evidence.pathways]
    scale = heat_scale(parts) if heat_map else None
    for answer in answers:
        canvas.line([(MARGIN, y), (WIDTH - MARGIN, y)], color=GRID, width=0.8)
        y = _draw_head(canvas, answer, marks, (most_tokens, most_seconds), y + 11)
        y = _draw_kept(canvas, answer, marks, axis, scale, y + 6) + 13
    return canvas.finish(_draw_footer(canvas, answers, y) + MARGIN - 8)


def _draw_common(canvas: Canvas, evidence: Evidence, axis: TimeAxis, y: float) -> float:
    """What all plans share: the curve, the sampled frames, the seconds."""
    y = draw_title(
        canvas, y, "The clip", "similarity of the question with each sampled frame, for all plans"
    )
    scores = ScoreAxis.of(evidence.scores, y, y + CURVE_HEIGHT)
    lane = scores.bottom + 8 + LANE / 2
    end = lane + LANE / 2 + 2
    draw_time_grid(canvas, axis, scores.top, end)
    draw_curve(canvas, evidence, axis, scores)
    draw_lane_name(canvas, MARGIN, lane, "sampled", GUTTER - 8)
    draw_samples(canvas, evidence, axis, lane)
    draw_count(canvas, lane, f"{len(evidence.frames):,}")
    return draw_time_axis(canvas, axis, end) + 10


def _draw_head(
    canvas: Canvas,
    answer: Answer,
    marks: dict[str, Mark],
    most: tuple[int, float],
    y: float,
) -> float:
    """A plan's name, its tokens and time as bars at one scale, and the answer."""
    evidence = answer.evidence
    base = y + NAME
    right = WIDTH - MARGIN
    tokens_at, time_at = right - 2 * METER - 132, right - METER - 42
    font = canvas.letters.font(NAME, bold=True)
    name = canvas.letters.clean(captions.plan_name(answer))
    room = tokens_at - MARGIN - 12
    short = canvas.letters.fit_middle(name, font, room)
    canvas.text(MARGIN, base, short, size=NAME, bold=True, name="plan")
    top = base - METER_HEIGHT + 0.2
    x = draw_bar(canvas, evidence.pathways, marks, (tokens_at, top), height=METER_HEIGHT,
                 per_token=METER / most[0])  # fmt: skip
    canvas.text(
        x + 5,
        base,
        captions.count(evidence.tokens, captions.unit(evidence)),
        size=SMALL,
        name="cost",
    )
    spent = captions.asking_seconds(answer)
    wide = METER * spent / most[1]
    canvas.box(time_at, top, wide, METER_HEIGHT, fill=FAINT, name="seconds")
    canvas.text(time_at + wide + 5, base, captions.seconds(spent), size=SMALL, name="cost")
    if short != name:  # two long notations may differ in the middle
        base = canvas.paragraph(MARGIN, base + 4, name, width=INNER, most=3, size=SMALL,
                               color=MUTED, name="notation") - 2  # fmt: skip
    said = bool(canvas.letters.clean(answer.text))
    return canvas.paragraph(
        MARGIN, base + 6, answer.text if said else "the model said nothing", width=INNER, most=4,
        size=SAID, italic=not said, color=INK if said else MUTED, name="answer",
    )  # fmt: skip


def _draw_kept(
    canvas: Canvas,
    answer: Answer,
    marks: dict[str, Mark],
    axis: TimeAxis,
    scale: Scale,
    y: float,
) -> float:
    """A lane per pathway, and under them the kept frames, tied to their times."""
    parts = answer.evidence.pathways
    detailed = [part for part in parts if not captions.is_overview(answer, part)]
    shown = detailed if any(part.kept for part in detailed) else parts
    kept = sorted(
        ((part, frame) for part in shown for frame in part.kept), key=lambda pair: pair[1].second
    )
    lanes = {part.name: y + LANE / 2 + n * LANE for n, part in enumerate(parts)}
    draw_time_grid(canvas, axis, y, y + len(parts) * LANE)
    chosen = [kept[n] for n in spread(len(kept), MOST_SMALL)]
    top = y + len(parts) * LANE + 9
    end = _draw_small(canvas, answer, chosen, marks, lanes, axis, scale, top) if chosen else top
    for part in parts:
        lane = lanes[part.name]
        mark = marks[part.name]
        draw_lane_name(canvas, MARGIN, lane, part.name, GUTTER - 8, mark)
        draw_marks(canvas, part, mark, axis, lane)
        draw_count(canvas, lane, captions.frames_times_tokens(part))
    if len(kept) > len(chosen):
        canvas.text(MARGIN + 12, top + SMALL, f"{len(chosen)} of {len(kept)}", size=SMALL,
                   color=MUTED, name="note")  # fmt: skip
    return end


def _draw_small(
    canvas: Canvas,
    answer: Answer,
    chosen: Sequence[tuple[PathwayEvidence, KeptFrame]],
    marks: dict[str, Mark],
    lanes: dict[str, float],
    axis: TimeAxis,
    scale: Scale,
    top: float,
) -> float:
    room = (axis.right - axis.left + SMALL_GAP) / len(chosen) - SMALL_GAP
    wide, high = small_size(proportions(answer.evidence), SMALL_HEIGHT, min(room, 110.0))
    centres = place_apart(
        [axis.x(frame.second) for _, frame in chosen], wide + SMALL_GAP,
        axis.left + wide / 2, axis.right - wide / 2,
    )  # fmt: skip
    for (part, frame), centre in zip(chosen, centres, strict=True):
        x, color = axis.x(frame.second), marks[part.name].color
        canvas.line([(x, lanes[part.name]), (x, top - 8), (centre, top - 1), (centre, top)],
                   color=color, width=0.6)  # fmt: skip
        box = (centre - wide / 2, top, wide, high)
        draw_thumbnail(canvas, answer.evidence, frame, box, color=color, scale=scale, line=1.0)
        if not part.cropped:
            canvas.box(*box, edge=color, line=0.9)
    return top + high


def place_apart(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones (ascending), at least `step` apart, from `low` to `high`.

    Examples:
        >>> place_apart([0.0, 1.0, 50.0], 10.0, 0.0, 100.0)
        [0.0, 10.0, 50.0]
    """
    forward, backward = list(wanted), list(wanted)
    for n in range(1, len(wanted)):
        forward[n] = max(forward[n], forward[n - 1] + step)
    for n in range(len(wanted) - 2, -1, -1):
        backward[n] = min(backward[n], backward[n + 1] - step)
    places = [(a + b) / 2 for a, b in zip(forward, backward, strict=True)]
    for n, place in enumerate(places):
        places[n] = max(place, low if n == 0 else places[n - 1] + step)
    for n in range(len(places) - 1, -1, -1):
        places[n] = min(places[n], high if n == len(places) - 1 else places[n + 1] - step)
    return places


def _draw_footer(canvas: Canvas, answers: Sequence[Answer], y: float) -> float:
    evidence, times = answers[0].evidence, answers[0].timings
    font = canvas.letters.font(SMALL)
    clip = canvas.letters.clean(captions.clip_name(evidence))
    clip = canvas.letters.fit_middle(clip, font, INNER * 0.5)
    watched = captions.seconds(times.decode + times.encode)
    whole = f"{evidence.all_tokens:,}"
    rows = [
        ("Clip", f"{clip} · {captions.clip_words(evidence)}", 2),
        ("Model", ", ".join(dict.fromkeys(a.model for a in answers)), 2),
        (evidence.unit.capitalize(), "bars at one scale, coloured by pathway; right of each lane, "
                   f"frames × {evidence.unit}; "
                   f"all sampled frames at full detail would be {whole}", 2),
        ("Time", f"of asking and answering, bars at one scale; watching the video took {watched}, "
                 "once for all", 2),
    ]  # fmt: skip
    notes = dict.fromkeys(note for answer in answers for note in answer.warnings)
    rows += [("Note", text, 2) for text in list(notes)[:4]]
    return draw_rows(canvas, rows, y)
