"""The question sets that the field reports, one small class each, and the toy set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from free_video_llm.benchmarks.base import Hub, Question, QuestionSet, as_text, first_word_kind
from free_video_llm.benchmarks.columns import column, plain_question
from free_video_llm.benchmarks.registry import register

_CAUSAL_TEMPORAL = {
    "CW": "causal: why",
    "CH": "causal: how",
    "TN": "temporal: next",
    "TC": "temporal: at the same time",
    "TP": "temporal: previous",
    "DC": "descriptive: count",
    "DL": "descriptive: place",
    "DO": "descriptive: other",
}
_FIVE = ("a0", "a1", "a2", "a3", "a4")


class _FirstWord(QuestionSet):
    """A set whose CSV column says something else (a category of videos) or nothing."""

    def kind_of(self, fields: Mapping[str, str]) -> str:
        return first_word_kind(fields, ("what", "who", "how", "when", "where"))


@register
class MSVD(_FirstWord):
    name, title, folder = "msvd", "MSVD-QA", "MSVD_Zero_Shot_QA"


@register
class MSRVTT(_FirstWord):
    name, title, folder = "msrvtt", "MSRVTT-QA", "MSRVTT_Zero_Shot_QA"
    videos = "videos/all"


@register
class TGIF(QuestionSet):
    """FrameQA: its question ids are the videos' numbers, so rows are told apart by more."""

    name, title, folder = "tgif", "TGIF-QA (FrameQA)", "TGIF_Zero_Shot_QA"
    videos = "mp4"
    kinds: ClassVar = {"0": "object", "1": "number", "2": "color", "3": "location"}


@register
class ActivityNet(QuestionSet):
    name, title, folder = "activitynet", "ActivityNet-QA", "Activitynet_Zero_Shot_QA"
    videos = "all_test"
    split = "test"
    kinds: ClassVar = {
        "0": "motion",
        "1": "spatial relation",
        "2": "temporal relation",
        "3": "yes/no",
        "4": "color",
        "5": "object",
        "6": "location",
        "7": "number",
        "8": "other",
    }

    def video_of(self, name: str) -> str:
        """The released question files write the names without the `v_` of the CSV file."""
        return super().video_of(name).removeprefix("v_")


@register
class NExTQA(QuestionSet):
    name, title, folder = "nextqa", "NExT-QA", "NExTQA"
    videos, group = "video", "multiple_choice_qa"
    option_columns = _FIVE
    kinds: ClassVar = _CAUSAL_TEMPORAL
    hub = Hub(repository="lmms-lab/NExTQA", questions=("MC/*.parquet",), videos=("videos.zip",))

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        """The Hub's multiple choice: options a0 to a4, the answer their number."""
        found = plain_question(number, row)
        kind = self.kinds.get(found.kind, found.kind)
        return replace(found, kind=kind, question_id=as_text(row.get("qid")))


@register
class IntentQA(QuestionSet):
    name, title, folder = "intentqa", "IntentQA", "IntentQA"
    videos, group = "video", "multiple_choice_qa"
    option_columns = _FIVE
    kinds: ClassVar = _CAUSAL_TEMPORAL


@register
class EgoSchema(QuestionSet):
    name, title, folder = "egoschema", "EgoSchema (subset)", "EgoSchema"
    videos, group = "video", "multiple_choice_qa"
    option_columns = _FIVE
    hub = Hub(
        repository="lmms-lab/egoschema",
        questions=("Subset/*.parquet",),
        videos=("videos_chunked_*.zip",),
        note="the videos are Ego4D's, under its licence",
    )

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        """The Hub's subset with answers: the answer is an option's number."""
        named = {**row, "video": column(row, "video_idx"), "options": column(row, "option")}
        return replace(plain_question(number, named), question_id=as_text(row.get("question_idx")))


@register
class STAR(QuestionSet):
    name, title, folder = "star", "STAR", "STAR"
    videos, group = "video", "multiple_choice_qa"
    option_columns = ("a0", "a1", "a2", "a3")

    def kind_of(self, fields: Mapping[str, str]) -> str:
        """Interaction, Sequence, Prediction or Feasibility."""
        return fields.get("question_type", "").partition("_")[0].lower()


@register
class Toy(QuestionSet):
    """The world of the embedded model (`fvl prepare toy` makes its questions and videos)."""

    name, title, folder = "toy", "Toy world", "Toy"
