"""A bar of tokens: a part for each pathway, in its colour and with its shape, for print in grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from free_video_llm.picture.canvas import PAPER, Canvas
from free_video_llm.picture.styles import Mark

if TYPE_CHECKING:
    from free_video_llm.answer import PathwayEvidence


def draw_bar(
    canvas: Canvas,
    parts: Sequence[PathwayEvidence],
    marks: dict[str, Mark],
    place: tuple[float, float],
    *,
    height: float,
    per_token: float,
) -> float:
    """Parts side by side from `place` (x, y), `per_token` points a token; returns their end."""
    x, y = place
    for part in parts:
        mark, wide = marks[part.name], part.tokens * per_token
        canvas.box(x, y, wide, height, fill=mark.color, name="tokens")
        if x > place[0] and wide > 0:
            canvas.line([(x, y), (x, y + height)], color=PAPER, width=0.8)
        if wide > 0.9 * height:
            canvas.marks([x + wide / 2], [y + height / 2], shape=mark.shape, color=PAPER,
                        size=0.5 * height, rim=0, name="token-mark")  # fmt: skip
        x += wide
    return x
