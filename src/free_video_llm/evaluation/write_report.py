"""Writes a report as JSON, Markdown and one HTML page."""

from __future__ import annotations

import json
from pathlib import Path

from free_video_llm.evaluation.jsonl import write_whole
from free_video_llm.evaluation.page import render_page
from free_video_llm.evaluation.page_frames import PageFrames
from free_video_llm.evaluation.render import render_markdown
from free_video_llm.evaluation.report import Report


def write_report(report: Report, logs: str | Path, *, kept: PageFrames | None = None) -> list[Path]:
    """Write `report.json`, `report.md` and `report.html` below `logs/SET/NAME/`.

    `kept`: the kept frames of its rows, for the page.

    Raises:
        ConfigError: they cannot be written.
    """
    folder = Path(logs) / report.run["set"] / report.name
    data = json.dumps(report.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return [
        write_whole(folder / "report.json", data),
        write_whole(folder / "report.md", render_markdown(report)),
        write_whole(folder / "report.html", render_page(report, kept)),
    ]
