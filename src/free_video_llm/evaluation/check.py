"""Looks over a question set before a run: rows, problems, videos found, missing, unreadable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks import QuestionSet, read_questions
from free_video_llm.benchmarks.videos import VideoFolder
from free_video_llm.errors import VideoError


@dataclass(frozen=True)
class Check:
    """What a run over a set would meet.

    Attributes:
        problems: why rows cannot be asked, with counts.
        missing, unreadable: names of videos with the reason.
        opened: whether the videos were opened; else none is unreadable.
        rows_without_video: rows that would fail for want of a video.
    """

    set: str
    rows: int
    videos: int
    found: int
    problems: dict[str, int]
    missing: dict[str, str]
    unreadable: dict[str, str]
    opened: bool
    rows_without_video: int

    @property
    def good(self) -> bool:
        """Whether every row can be asked."""
        return self.rows > 0 and not (self.problems or self.missing or self.unreadable)

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "good": self.good}


def check_set(
    chosen: QuestionSet,
    questions: str | Path,
    videos: str | Path,
    *,
    open_videos: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Read the questions, find every video and decode its first frame.

    Raises:
        ConfigError: the questions cannot be read, or there is no folder of videos.
    """
    rows = 0
    problems: Counter[str] = Counter()
    per_video: Counter[str] = Counter()
    for question in read_questions(chosen, questions):
        rows += 1
        if question.problem is not None:
            problems[question.problem] += 1
        if question.video:
            per_video[question.video] += 1
    folder = VideoFolder(videos)
    missing: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for number, name in enumerate(per_video, start=1):
        try:
            path = folder.find(name)
        except VideoError as error:
            missing[name] = str(error)
        else:
            reason = _open(path) if open_videos else None
            if reason is not None:
                unreadable[name] = reason
        if progress is not None:
            progress(number, len(per_video))
    return Check(
        set=chosen.name,
        rows=rows,
        videos=len(per_video),
        found=len(per_video) - len(missing),
        problems=dict(problems),
        missing=missing,
        unreadable=unreadable,
        opened=open_videos,
        rows_without_video=sum(per_video[name] for name in (*missing, *unreadable)),
    )


def _open(path: Path) -> str | None:
    """Why a video's first frame cannot be decoded, None where it can."""
    import warnings

    from free_video_llm.video.read import read_frames

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_frames(path, indices=[0], size=32)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
    return None
