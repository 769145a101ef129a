"""Question files written for a test."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

HEADER = ("", "video_id", "answer", "question", "video_name", "question_id", "question_type")


def write_csv(path: Path, rows: Iterable[tuple[str, str, str]]) -> Path:
    """A question file in IG-VLM's form, from videos, questions and answers."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, (video, question, answer) in enumerate(rows, start=1):
            writer.writerow(
                (number, video, answer, question, video, f"{video}_{number}", number % 3)
            )
    return path
