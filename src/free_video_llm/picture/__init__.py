"""Pictures of what an answer rests on, as PNG, SVG or PDF.

`save_picture` shows one answer, `save_comparison` the same question under several plans. They only
draw what `Evidence` holds. They may be called from several threads and leave matplotlib's settings
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from free_video_llm.errors import ConfigError
from free_video_llm.picture.canvas import check_suffix, write_figure
from free_video_llm.picture.comparison_picture import draw_plans
from free_video_llm.picture.evidence_picture import draw_evidence

if TYPE_CHECKING:
    from free_video_llm.answer import Answer

__all__ = ["check_suffix", "draw_comparison", "draw_picture", "save_comparison", "save_picture"]

NARROWEST_PX, WIDEST_PX = 300, 8_000


def draw_picture(
    answer: Answer, *, width_px: int = 1200, heat_map: bool = True, vector: bool = False
) -> Figure:
    """The evidence picture as a matplotlib figure, for notebooks and for adding to.

    Args:
        answer: what to show.
        width_px: pixels across; the height follows from the content.
        heat_map: whether to lay the patches' similarity over the frames.
        vector: whether images keep print resolution, for SVG and PDF.
    """
    _check_width(width_px)
    return draw_evidence(answer, width_px=width_px, vector=vector, heat_map=heat_map)


def save_picture(
    answer: Answer, path: str | Path, *, width_px: int = 1200, heat_map: bool = True
) -> Path:
    """Write the evidence picture of an answer; its folder is made.

    Args:
        answer: what to show.
        path: ends in .png, .svg or .pdf.
        width_px: pixels across of a PNG; SVG and PDF are 8 inches wide.
        heat_map: whether to lay the patches' similarity over the frames.

    Raises:
        ConfigError: another ending, a width that is not allowed, or the file cannot be written.
    """
    path = Path(path)
    vector = check_suffix(path) != "png"
    figure = draw_picture(answer, width_px=width_px, heat_map=heat_map, vector=vector)
    return write_figure(figure, path, title=answer.question, description=answer.text)


def draw_comparison(
    answers: Sequence[Answer],
    *,
    width_px: int = 1200,
    heat_map: bool = False,
    vector: bool = False,
) -> Figure:
    """The comparison picture as a matplotlib figure; see `save_comparison`."""
    _check_width(width_px)
    if not answers:
        raise ConfigError("a comparison needs at least one answer")
    questions = {answer.question for answer in answers}
    clips = {answer.evidence.frames.name for answer in answers}
    if len(questions) > 1 or len(clips) > 1:
        raise ConfigError(
            f"a comparison is of one question about one clip, not of {len(questions)} questions "
            f"about {len(clips)} clips; make a picture of each"
        )
    return draw_plans(answers, width_px=width_px, vector=vector, heat_map=heat_map)


def save_comparison(
    answers: Sequence[Answer],
    path: str | Path,
    *,
    width_px: int = 1200,
    heat_map: bool = False,
) -> Path:
    """Write a picture of the same question under several plans; its folder is made.

    Args:
        answers: of the same question about the same clip, in the order of their rows.
        path: ends in .png, .svg or .pdf.
        width_px: pixels across of a PNG; SVG and PDF are 8 inches wide.
        heat_map: whether to lay the patches' similarity over the frames.

    Raises:
        ConfigError: no answers, answers to different questions, another ending, a width that is
            not allowed, or the file cannot be written.
    """
    path = Path(path)
    vector = check_suffix(path) != "png"
    figure = draw_comparison(answers, width_px=width_px, heat_map=heat_map, vector=vector)
    said = "; ".join(f"{a.plan.name or a.plan}: {a.text}" for a in answers)
    return write_figure(figure, path, title=answers[0].question, description=said)


def _check_width(width_px: int) -> None:
    if isinstance(width_px, bool) or not isinstance(width_px, int):
        raise ConfigError(f"width_px is a whole number of pixels, not {width_px!r}")
    if not NARROWEST_PX <= width_px <= WIDEST_PX:
        raise ConfigError(f"width_px is from {NARROWEST_PX} to {WIDEST_PX}, not {width_px}")
