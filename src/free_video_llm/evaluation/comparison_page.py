"""Shows comparisons of runs as one HTML page: their figures, and the rows on which two runs part,
side by side with what each answer rests on. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import chain

from free_video_llm.evaluation.compare import Comparison, Pair, describe
from free_video_llm.evaluation.html import document, frames, question, table, timeline
from free_video_llm.evaluation.page_frames import PageFrames
from free_video_llm.evaluation.row import Row


def shown_pairs(comparison: Comparison, sample: int) -> list[Pair]:
    """The pairs that the page shows of a comparison."""
    return list(chain(comparison.worse[:sample], comparison.better[:sample]))


def render_comparison(
    comparisons: Sequence[Comparison], *, sample: int, kept: PageFrames | None = None
) -> str:
    """The whole page; with `kept`, the kept frames of its rows as pictures."""
    parts: list[str] = []
    for comparison in comparisons:
        first, second = comparison.first, comparison.second
        parts.append(f"<h2>{escape(first)} and {escape(second)}</h2>")
        parts.append(table((("what", "figure"), list(describe(comparison))), words=True))
        for better, pairs in ((first, comparison.worse), (second, comparison.better)):
            told = f"{len(pairs):,} rows" if len(pairs) != 1 else "1 row"
            some = f", {sample:,} of them" if len(pairs) > sample else ""
            parts.append(f"<h2>Better in {escape(better)}: {told}{some}</h2>")
            parts += [_article(comparison, pair, kept) for pair in pairs[:sample]]
    names = dict.fromkeys(name for c in comparisons for name in (c.first, c.second))
    return document("Compared: " + ", ".join(names), parts)


def _article(comparison: Comparison, pair: Pair, kept: PageFrames | None) -> str:
    asked = pair.first.question
    parts = question(pair.first.to_dict())
    told = [f"row {asked.row}", f"video {asked.video}"] + ([asked.kind] if asked.kind else [])
    parts.append(f"<p>correct: {escape(asked.answer)}</p>")
    parts.append(f'<p class="small">{escape(" · ".join(told))}</p><div class="both">')
    ours, theirs = pair.values
    parts.append(_side(comparison.first, pair.first, better=ours > theirs, kept=kept))
    parts.append(_side(comparison.second, pair.second, better=theirs > ours, kept=kept))
    return f"<article>{''.join(parts)}</div></article>"


def _side(name: str, row: Row, *, better: bool, kept: PageFrames | None) -> str:
    assert row.answer is not None  # pairs are rows that both answered
    said = escape(row.answer.prediction) or "(nothing)"
    tokens = row.answer.tokens["visual"]
    parts = [
        f'<div><p class="small">{escape(name)}, {tokens:,} visual tokens</p>'
        f'<p class="{"good" if better else "bad"}">{said}</p>'
    ]
    plain = row.to_dict()
    parts.append(timeline(plain["evidence"]))
    if kept is not None:
        parts.append(frames(kept.of(plain)))
        if kept.reason(plain):
            parts.append(f'<p class="small">no pictures: {escape(kept.reason(plain))}</p>')
    return "".join(parts) + "</div>"
