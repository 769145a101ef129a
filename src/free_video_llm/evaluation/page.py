"""Shows a report as one HTML page: tables, and rows with what they rest on. Computes nothing."""

from __future__ import annotations

from html import escape
from typing import Any

from free_video_llm.evaluation.html import document, frames, question, table, timeline
from free_video_llm.evaluation.page_frames import PageFrames
from free_video_llm.evaluation.render import NOTE, sections
from free_video_llm.evaluation.report import Report


def render_page(report: Report, kept: PageFrames | None = None) -> str:
    """The whole page; with `kept`, the kept frames of its rows as pictures."""
    parts = []
    for heading, content in sections(report):
        parts.append(f"<h2>{escape(heading)}</h2>{table(content, words=heading == 'Run')}")
        if heading == "Accuracy":
            parts.append(f'<p class="small">{escape(NOTE)}</p>')
    for heading, rows in (("Worst answers", report.worst), ("Random rows", report.random)):
        parts.append(f"<h2>{heading}</h2>")
        parts += [_article(row, kept) for row in rows] or ["<p>none</p>"]
    return document(f"{report.run['title']}: {report.name}", parts)


def _is_right(row: dict[str, Any]) -> bool:
    """By the first judge that had a verdict, else by containment or the letter."""
    for verdict in row["judges"].values():
        if verdict is not None and "pred" in verdict:
            return bool(verdict["pred"] == "yes")
    return bool(row["marks"].get("choice", row["marks"].get("contains", 0.0)))


def _article(row: dict[str, Any], kept: PageFrames | None) -> str:
    parts = question(row)
    if row["status"] == "answered":
        kind = "good" if _is_right(row) else "bad"
        parts.append(f'<p class="{kind}">{escape(row["prediction"]) or "(nothing)"}</p>')
    else:
        parts.append(f'<p class="bad">failed: {escape(row["reason"])}</p>')
    parts.append(f"<p>correct: {escape(row['answer'])}</p>")
    told = [f"row {row['row']}", f"video {row['video']}"] + ([row["kind"]] if row["kind"] else [])
    for judge, verdict in row["judges"].items():
        if verdict is not None:
            said = (
                f"{verdict['pred']}, {verdict['score']:g}"
                if "pred" in verdict
                else verdict["status"]
            )
            told.append(f"{judge}: {said}")
    parts.append(f'<p class="small">{escape(" · ".join(told))}</p>')
    if "evidence" in row:
        parts.append(timeline(row["evidence"]))
        if kept is not None:
            parts.append(frames(kept.of(row)))
            if kept.reason(row):
                parts.append(f'<p class="small">no pictures: {escape(kept.reason(row))}</p>')
    return f"<article>{''.join(parts)}</article>"
