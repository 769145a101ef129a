"""The evidence picture: question, answer, timeline, kept frames, tokens, one below the other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from free_video_llm.picture import captions
from free_video_llm.picture.bar import draw_bar
from free_video_llm.picture.canvas import (
    BODY,
    GRID,
    INK,
    LARGE,
    MARGIN,
    MUTED,
    PANEL,
    SMALL,
    TITLE,
    WIDTH,
    Canvas,
)
from free_video_llm.picture.styles import Mark, marks_for
from free_video_llm.picture.thumbnail import heat_strip
from free_video_llm.picture.thumbnails import (
    CAPTION_LINE,
    GAP,
    Scale,
    caption_lines,
    draw_caption,
    draw_strip,
    draw_thumbnail,
    heat_scale,
    proportions,
    tile,
)
from free_video_llm.picture.timeline import (
    LANE,
    MOST_GUIDES,
    ScoreAxis,
    TimeAxis,
    draw_count,
    draw_curve,
    draw_lane_name,
    draw_marks,
    draw_samples,
    draw_time_axis,
    draw_time_grid,
    mark_size,
)

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, PathwayEvidence

INNER = WIDTH - 2 * MARGIN
SECTION = 20.0
CURVE_HEIGHT = 84.0
BAR_HEIGHT = 13.0
#: More thumbnails than this help nobody; the rest is counted.
MOST_THUMBNAILS = 120
#: So many choices of a multiple-choice question are set one below the other, more side by side.
MOST_SINGLE = 8
#: Lines of choices; the rest is counted.
MOST_LINES = 12
GUTTER = 78.0
#: Type size of an answer of several lines.
LONG_ANSWER = 10.5


def draw_evidence(answer: Answer, *, width_px: int, vector: bool, heat_map: bool) -> Figure:
    """The whole picture."""
    canvas = Canvas(width_px=width_px, vector=vector)
    marks = marks_for(part.name for part in answer.evidence.pathways)
    detailed = [p for p in answer.evidence.pathways if not captions.is_overview(answer, p)]
    overviews = [p for p in answer.evidence.pathways if captions.is_overview(answer, p)]
    y = draw_header(canvas, answer.question, answer.options, MARGIN)
    y = _draw_answer(canvas, answer.text, y + 9)
    y = _draw_timeline(canvas, answer, marks, y + SECTION)
    if any(part.kept for part in detailed):
        scale = heat_scale(detailed) if heat_map else None
        y = _draw_frames(canvas, answer, detailed, marks, scale, y + SECTION)
    for part in overviews:
        if part.kept:
            y = _draw_overview(canvas, answer, part, marks[part.name], y + SECTION)
    y = _draw_tokens(canvas, answer, marks, y + SECTION)
    y = _draw_footer(canvas, answer, y + SECTION - 4)
    return canvas.finish(y + MARGIN - 8)


def draw_header(canvas: Canvas, question: str, options: tuple[str, ...], y: float) -> float:
    """The question, and what there was to choose from; returns where they end."""
    canvas.text(MARGIN, y + SMALL, "Question", size=SMALL, color=MUTED)
    y = canvas.paragraph(
        MARGIN, y + SMALL + 5, question, width=INNER, most=9, size=12.5, name="question"
    )
    for text in _choice_lines(canvas, options):
        y = canvas.paragraph(MARGIN, y + 2, text, width=INNER, most=2, color=MUTED, name="options")
    return y


def _choice_lines(canvas: Canvas, options: tuple[str, ...]) -> list[str]:
    """The choices with their letters: side by side if they fit or are many, else one a line."""
    choices = [f"({chr(ord('A') + n)}) {text}" for n, text in enumerate(options)]
    rows: list[list[str]] = []
    for choice in choices:  # a letter stays with its choice
        together = canvas.letters.clean(" · ".join([*rows[-1], choice])) if rows else ""
        if together and canvas.measure(together, BODY) <= INNER:
            rows[-1].append(choice)
        else:
            rows.append([choice])
    if len(rows) > 1 and len(choices) <= MOST_SINGLE:
        return choices
    lines = [" · ".join(row) for row in rows[:MOST_LINES]]
    left = sum(len(row) for row in rows[MOST_LINES:])
    return [*lines, f"and {captions.count(left, 'more choice')}, not shown"] if left else lines


def _draw_answer(canvas: Canvas, text: str, y: float) -> float:
    clean = canvas.letters.clean(text)
    width, said = INNER - 28, bool(clean)
    size, most = (LARGE, 3) if said else (BODY + 1, 1)
    if said and _count_lines(canvas, clean, width) > most:
        size, most = LONG_ANSWER, 12
    # The panel lies below the text but is as high as the text becomes: it is drawn first, stretched
    # afterwards.
    panel = canvas.box(MARGIN, y, INNER, 1, fill=PANEL, name="answer-panel")
    rule = canvas.box(MARGIN, y, 3, 1, fill=INK)
    canvas.text(MARGIN + 14, y + 9 + SMALL, "Answer", size=SMALL, color=MUTED)
    end = canvas.paragraph(
        MARGIN + 14, y + 9 + SMALL + 5, clean if said else "the model said nothing", width=width,
        most=most, size=size, bold=size == LARGE, italic=not said, color=INK if said else MUTED,
        name="answer",
    ) + 7  # fmt: skip
    panel.set_height(end - y)
    rule.set_height(end - y)
    return end


def _count_lines(canvas: Canvas, clean: str, width: float) -> int:
    return len(canvas.letters.wrap(clean, canvas.letters.font(LARGE, bold=True), width, most=4))


def draw_title(canvas: Canvas, y: float, title: str, note: str = "") -> float:
    """A section's title with a note at its right; returns where the section begins."""
    used = canvas.text(MARGIN, y + TITLE, title, size=TITLE, bold=True, name="title")
    if note:
        font = canvas.letters.font(SMALL)
        short = canvas.letters.fit(note, font, INNER - used - 16)
        canvas.text(WIDTH - MARGIN, y + TITLE, short, size=SMALL, color=MUTED, align="right",
                   name="note")  # fmt: skip
    return y + TITLE + 9


def _draw_timeline(canvas: Canvas, answer: Answer, marks: dict[str, Mark], y: float) -> float:
    evidence = answer.evidence
    y = draw_title(
        canvas, y, "When", "similarity of the question with each sampled frame, and what was kept"
    )
    axis = TimeAxis.of(evidence, MARGIN + GUTTER, WIDTH - MARGIN - 34)
    scores = ScoreAxis.of(evidence.scores, y, y + CURVE_HEIGHT)
    lanes = scores.bottom + 9 + LANE / 2
    end = lanes + len(evidence.pathways) * LANE + LANE / 2 + 3
    draw_time_grid(canvas, axis, scores.top, end)
    draw_curve(canvas, evidence, axis, scores)
    _draw_pointed(canvas, answer, marks, axis, scores, lanes)
    draw_lane_name(canvas, MARGIN, lanes, "sampled", GUTTER - 8)
    draw_samples(canvas, evidence, axis, lanes)
    draw_count(canvas, lanes, f"{len(evidence.frames):,}")
    for number, part in enumerate(evidence.pathways, 1):
        lane = lanes + number * LANE
        draw_lane_name(canvas, MARGIN, lane, part.name, GUTTER - 8, marks[part.name])
        draw_marks(canvas, part, marks[part.name], axis, lane)
        draw_count(canvas, lane, f"{len(part.kept):,}")
    return draw_time_axis(canvas, axis, end)


def _draw_pointed(
    canvas: Canvas,
    answer: Answer,
    marks: dict[str, Mark],
    axis: TimeAxis,
    scores: ScoreAxis,
    lanes: float,
) -> None:
    """The detailed pathways' frames on the curve, with lines down to their lanes if few."""
    evidence = answer.evidence
    # What was kept by several shows the first pathway's line and mark, within the others'.
    pointed = [p for p in evidence.pathways[::-1] if p.kept and not captions.is_overview(answer, p)]
    if sum(len(part.kept) for part in pointed) <= MOST_GUIDES:
        for part in pointed:
            lane = lanes + (evidence.pathways.index(part) + 1) * LANE
            for kept in part.kept:
                x = axis.x(kept.second)
                canvas.line([(x, scores.y(kept.score)), (x, lane)], color=marks[part.name].color,
                           width=0.7)  # fmt: skip
    for part in pointed:
        xs = [axis.x(kept.second) for kept in part.kept]
        size = mark_size(sorted(xs), 8.5)
        ys = [scores.y(kept.score) for kept in part.kept]
        mark = marks[part.name]
        canvas.marks(xs, ys, shape=mark.shape, color=mark.color, size=size, name="curve-marks")


def _draw_frames(
    canvas: Canvas,
    answer: Answer,
    parts: list[PathwayEvidence],
    marks: dict[str, Mark],
    scale: Scale,
    y: float,
) -> float:
    evidence = answer.evidence
    kept = [(part, frame) for part in parts for frame in part.kept]
    cropped = any(part.cropped for part in parts)
    y = draw_title(canvas, y, "Where" if cropped else "Kept frames")
    _draw_key(canvas, y - 9, cropped=cropped, scale=scale)
    shown = kept[:MOST_THUMBNAILS]
    tiling = tile(len(shown), proportions(evidence), INNER)
    axis = TimeAxis.of(evidence, 0, 1)
    row_height = tiling.height + 4 + caption_lines(tiling.width) * CAPTION_LINE + GAP
    for number, (part, frame) in enumerate(shown):
        row, column = divmod(number, tiling.columns)
        x, top = MARGIN + column * (tiling.cell + GAP), y + row * row_height
        mark = marks[part.name]
        draw_thumbnail(
            canvas, evidence, frame, (x, top, tiling.width, tiling.height), color=mark.color,
            scale=scale, line=1.8 if tiling.width > 90 else 1.3,
        )  # fmt: skip
        draw_caption(
            canvas, x, top + tiling.height + 3, tiling.width, mark=mark,
            texts=(part.name, axis.stamp(frame.second), captions.score(frame.score)),
        )  # fmt: skip
    y += ((len(shown) - 1) // tiling.columns + 1) * row_height - GAP
    if len(kept) > len(shown):
        more = f"and {captions.count(len(kept) - len(shown), 'more frame')}, not shown"
        canvas.text(MARGIN, y + 12, more, size=SMALL, color=MUTED, name="more")
        y += 14
    return y


def _draw_key(canvas: Canvas, baseline: float, *, cropped: bool, scale: Scale) -> None:
    """What frame, dimming and colours mean, on the title's line."""
    if not cropped:
        canvas.text(WIDTH - MARGIN, baseline, "whole frames: nothing was cut away", size=SMALL,
                   color=MUTED, align="right", name="note")  # fmt: skip
        return
    x = WIDTH - MARGIN
    if scale is not None:
        low, high = (captions.score(value) for value in scale)
        x -= canvas.text(x, baseline, high, size=SMALL, color=MUTED, align="right", name="note") + 4
        canvas.image(x - 54, baseline - 6.5, 54, 7, heat_strip, name="key")
        x -= 58
        label = f"patch similarity {low}"
        x -= canvas.text(x, baseline, label, size=SMALL, color=MUTED, align="right", name="note")
        x -= 16
    label = "kept, the rest dimmed"
    x -= canvas.text(x, baseline, label, size=SMALL, color=MUTED, align="right", name="note") + 5
    canvas.box(x - 10, baseline - 6.8, 10, 7.6, edge=INK, line=1.2)


def _draw_overview(
    canvas: Canvas, answer: Answer, part: PathwayEvidence, mark: Mark, y: float
) -> float:
    evidence = answer.evidence
    axis = TimeAxis.of(evidence, 0, 1)
    stamps = [axis.stamp(kept.second) for kept in part.kept]
    font = canvas.letters.font(TITLE, bold=True)
    title = canvas.letters.fit(canvas.letters.clean(f"Overview: {part.name}"), font, INNER / 2)
    grid = captions.grid_of(answer, part)
    shown, end = draw_strip(canvas, evidence, part, grid, (MARGIN, y + TITLE + 9, INNER),
                            stamps=stamps)  # fmt: skip
    note = f"{captions.count(len(part.kept), 'frame')}, {captions.how(answer, part)}"
    if shown < len(part.kept):
        note += f"; {shown} of them shown"
    draw_title(canvas, y, title, note)
    wide = canvas.measure(title, TITLE, bold=True)
    canvas.marks(
        [MARGIN + wide + 10], [y + TITLE - 3.4], shape=mark.shape, color=mark.color, size=7
    )
    return end


def _draw_tokens(canvas: Canvas, answer: Answer, marks: dict[str, Mark], y: float) -> float:
    evidence = answer.evidence
    whole = max(evidence.all_tokens, evidence.tokens, 1)
    share = evidence.tokens / max(evidence.all_tokens, 1)
    percent = f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"
    y = draw_title(
        canvas, y, f"{evidence.tokens:,} of {evidence.all_tokens:,} {evidence.unit} ({percent})",
        f"whole bar: {_all_frames(evidence.all_tokens, len(evidence.frames))}",
    )  # fmt: skip
    canvas.box(MARGIN, y, INNER, BAR_HEIGHT, fill="#dfe4e8", name="all-tokens")
    draw_bar(canvas, evidence.pathways, marks, (MARGIN, y), height=BAR_HEIGHT,
             per_token=INNER / whole)  # fmt: skip
    y += BAR_HEIGHT + 6
    font = canvas.letters.font(SMALL)
    for part in evidence.pathways:
        mark, base = marks[part.name], y + 9
        canvas.marks([MARGIN + 4], [base - 2.7], shape=mark.shape, color=mark.color, size=7)
        name = canvas.letters.fit(canvas.letters.clean(part.name), font, 74)
        canvas.text(MARGIN + 12, base, name, size=SMALL, name="token-row")
        canvas.text(MARGIN + 130, base, f"{part.tokens:,}", size=SMALL, bold=True, align="right",
                   name="token-row")  # fmt: skip
        detail = ", ".join(filter(None, (captions.per_frame(part), captions.how(answer, part))))
        detail = canvas.letters.fit(detail, font, INNER - 142)
        canvas.text(MARGIN + 142, base, detail, size=SMALL, color=MUTED, name="token-row")
        y += 13
    return y


def _all_frames(tokens: int, frames: int) -> str:
    if frames == 1:
        return "the sampled frame at full detail"
    return f"all {frames:,} sampled frames at full detail, {tokens // max(frames, 1):,} each"


def _draw_footer(canvas: Canvas, answer: Answer, y: float) -> float:
    times = answer.timings
    clip = canvas.letters.clean(captions.clip_name(answer.evidence))
    font = canvas.letters.font(SMALL)
    clip = canvas.letters.fit_middle(clip, font, INNER * 0.5)
    name, notation = answer.plan.name, str(answer.plan)
    plan = notation if notation.startswith(name) else f"{name}: {notation}"
    watched = times.decode + times.encode
    asked = captions.seconds(captions.asking_seconds(answer))
    rows = [
        ("Clip", f"{clip} · {captions.clip_words(answer.evidence)}", 2),
        ("Model", answer.model, 2),
        ("Plan", plan, 3),
        ("Time", f"watched in {captions.seconds(watched)}, once for all questions; "
                 f"asked and answered in {asked}", 1),
    ]  # fmt: skip
    rows += [("Note", text, 2) for text in answer.warnings[:4]]
    return draw_rows(canvas, rows, y)


def draw_rows(canvas: Canvas, rows: list[tuple[str, str, int]], y: float) -> float:
    """Small print: label, text, and lines at most; then what could not be set."""
    canvas.line([(MARGIN, y), (WIDTH - MARGIN, y)], color=GRID, width=0.8)
    y += 7
    put = partial(canvas.paragraph, width=INNER - 44, size=SMALL, color=MUTED, name="footer")
    for label, text, most in rows:
        canvas.text(MARGIN, y + SMALL, label, size=SMALL, color=MUTED, name="footer-label")
        y = put(MARGIN + 44, y, text, most=most)
    missing = len(canvas.letters.missing)
    if missing:
        canvas.text(MARGIN, y + SMALL, "Note", size=SMALL, color=MUTED, name="footer-label")
        text = (f"{captions.count(missing, 'character')} stand as boxes, as no font of this "
                "machine has them (Noto fonts would)")  # fmt: skip
        y = put(MARGIN + 44, y, text, most=2)
    return y
