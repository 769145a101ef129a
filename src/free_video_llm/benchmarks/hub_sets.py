"""The question sets of today in the form in which the Hub has them; and a set of one's own.

Columns are those of the datasets' own files, as read by lmms-eval (MIT) and the sets' own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from free_video_llm.benchmarks.base import Hub, Question, QuestionSet, as_text
from free_video_llm.benchmarks.columns import (
    answer_of,
    column,
    options_of,
    plain_question,
    ranges_of,
    split_question,
)
from free_video_llm.benchmarks.registry import register
from free_video_llm.benchmarks.table import FILE


class _Table(QuestionSet):
    """A set whose files are tables, whatever their ending."""

    group = "multiple_choice_qa"
    tabular = True


@register
class Own(_Table):
    """A set of one's own: columns by name, no class."""

    name, title = "own", "your own questions"

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        """See `plain_question`."""
        return plain_question(number, row)


@register
class VideoMME(_Table):
    name, title, folder = "videomme", "Video-MME", "Video-MME"
    videos = "data"
    hub = Hub(
        repository="lmms-lab/Video-MME",
        questions=("videomme/*.parquet",),
        videos=("videos_chunked_*.zip", "subtitle.zip"),
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        options = options_of(row, "options")
        return Question(
            row=number,
            video=as_text(column(row, "videoID")),
            question=as_text(column(row, "question")).strip(),
            answer=answer_of(column(row, "answer"), options),
            options=options,
            kind=f"{as_text(row.get('duration'))}: {as_text(row.get('task_type'))}",
            question_id=as_text(row.get("question_id")),
            subtitles=as_text(column(row, "videoID")),
        )


@register
class MLVU(_Table):
    """The multiple-choice tasks of the development set: one file each."""

    name, title, folder = "mlvu", "MLVU (dev, multiple choice)", "MLVU"
    videos = "video"
    hub = Hub(
        repository="MLVU/MVLU",
        questions=("MLVU/json/[1-7]_*.json",),
        videos=("MLVU/video/*",),
        note="research only; access is asked for on the Hub",
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        question, within = split_question(as_text(column(row, "question")))
        options = options_of(row, "candidates") or within
        kind = row.get("question_type") or row.get("task_type") or row.get(FILE)
        return Question(
            row=number,
            video=self.video_of(as_text(column(row, "video", "video_name"))),
            question=question,
            answer=answer_of(column(row, "answer"), options),
            options=options,
            kind=as_text(kind),
            question_id=as_text(row.get("question_id")),
        )


@register
class LongVideoBench(_Table):
    name, title, folder = "longvideobench", "LongVideoBench (val)", "LongVideoBench"
    videos = "videos"
    hub = Hub(
        repository="longvideobench/LongVideoBench",
        questions=("lvb_val.json",),
        videos=("videos.tar.part.*", "subtitles.tar"),
        note="non-commercial; access is asked for on the Hub",
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        options = options_of(row, "candidates")
        return Question(
            row=number,
            video=self.video_of(as_text(column(row, "video_path", "video_id"))),
            question=as_text(column(row, "question")).strip(),
            answer=answer_of(column(row, "correct_choice"), options),
            options=options,
            kind=f"{as_text(row.get('duration_group'))} s: {as_text(row.get('question_category'))}",
            question_id=as_text(row.get("id")),
            subtitles=as_text(row.get("subtitle_path")),
            subtitles_from=float(row.get("starting_timestamp_for_subtitles") or 0),
        )


@register
class LVBench(_Table):
    """A row is a video with its questions; their options stand in the question."""

    name, title, folder = "lvbench", "LVBench", "LVBench"
    videos = "videos"
    hub = Hub(
        repository="THUDM/LVBench",
        questions=("video_info.meta.jsonl",),
        note="academic research only; the set's own scripts fetch the videos from YouTube",
    )

    def flatten(self, row: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        asked = row.get("qa")
        if not isinstance(asked, list):  # the form with a question in each row
            return [row]
        return [{"key": row.get("key"), **entry} for entry in asked]

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        question, within = split_question(as_text(column(row, "question")))
        options = options_of(row, "options") or within
        kinds = row.get("question_type") or ""
        return Question(
            row=number,
            video=self.video_of(as_text(column(row, "key", "video_path"))),
            question=question,
            answer=answer_of(column(row, "answer"), options),
            options=options,
            kind=" + ".join(map(as_text, kinds)) if isinstance(kinds, list) else as_text(kinds),
            question_id=as_text(row.get("uid")),
        )


@register
class MVBench(_Table):
    """One file for each of its twenty tasks, whose videos lie in folders of their own; some
    questions are about a stretch of theirs."""

    name, title, folder = "mvbench", "MVBench", "MVBench"
    videos = "video"
    hub = Hub(
        repository="OpenGVLab/MVBench",
        questions=("json/*.json",),
        videos=("video/*.zip",),
        note="the videos have the licences of the sets that they are from",
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        options = options_of(row, "candidates")
        return Question(
            row=number,
            video=self.video_of(as_text(column(row, "video"))),
            question=as_text(column(row, "question")).strip(),
            answer=answer_of(column(row, "answer"), options),
            options=options,
            kind=as_text(row.get("task_type") or row.get(FILE)).replace("_", " "),
            question_id=as_text(row.get("question_id")),
            ranges=ranges_of(row),
        )


@register
class TempCompass(_Table):
    """Its multiple-choice, yes/no and caption-matching questions; the options stand in the
    question, and those of a yes/no question are these."""

    name, title, folder = "tempcompass", "TempCompass", "TempCompass"
    videos = "videos"
    hub = Hub(
        repository="lmms-lab/TempCompass",
        questions=("multi-choice/*.parquet",),
        videos=("tempcompass_videos.zip",),
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        question, options = split_question(as_text(column(row, "question")))
        answer = answer_of(column(row, "answer"), options)
        if not options and answer.lower() in ("yes", "no"):
            options, answer = ("yes", "no"), answer.lower()
        return Question(
            row=number,
            video=self.video_of(as_text(column(row, "video_id"))),
            question=question,
            answer=answer,
            options=options,
            kind=as_text(row.get("dim")),
        )
