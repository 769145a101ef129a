"""What a question and a question set are: plain values, and how a set's rows become them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from free_video_llm.benchmarks.videos import without_suffix
from free_video_llm.errors import ConfigError
from free_video_llm.video.ranges import TimeRange


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a question file.

    Attributes:
        row: its place among the file's rows, from 1.
        video: the video's name, without an ending.
        question: the question's text.
        answer: the correct answer; for multiple choice, the text of the correct option.
        options: the options of a multiple-choice question, in order.
        kind: the question's type, in words.
        question_id: what the file calls it; not unique in every set.
        ranges: stretches of the video that it is about; none is the whole video.
        subtitles: the name of its subtitles' file in their folder, where the set has such files.
        subtitles_from: the second of that file at which the video begins.
    """

    row: int
    video: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    kind: str = ""
    question_id: str = ""
    ranges: tuple[TimeRange, ...] = ()
    subtitles: str = ""
    subtitles_from: float = 0.0

    @property
    def watched(self) -> tuple[str, tuple[TimeRange, ...], str, float]:
        """The same for questions that are asked of the same frames and subtitles."""
        return self.video, self.ranges, self.subtitles, self.subtitles_from

    @property
    def identity(self) -> tuple[int, str, str]:
        """What makes this row itself: question ids repeat (METHOD §4.8), this does not."""
        return self.row, self.video, self.question

    @property
    def letter(self) -> str | None:
        """The correct option's letter, None where there is none."""
        if self.answer not in self.options:
            return None
        return chr(ord("A") + self.options.index(self.answer))

    @property
    def problem(self) -> str | None:
        """Why this row cannot be asked or scored, None where it can."""
        if not self.question.strip():
            return "the question is empty"
        if not self.video.strip():
            return "the row names no video"
        if not self.answer.strip():
            return "the row has no correct answer"
        if self.options and self.letter is None:
            return "the correct answer is not among the options"
        return None


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where a set's files lie on the Hugging Face Hub.

    Attributes:
        repository: of the dataset; its card says under which licence.
        questions, videos: patterns of its files; without videos they come from elsewhere.
        note: what else is to be known.
    """

    repository: str
    questions: tuple[str, ...]
    videos: tuple[str, ...] = ()
    note: str = ""


class QuestionSet:
    """A question set: its names, and how a row of its file is read. Subclass and `register` it.

    Class attributes:
        name: as on the command line.
        title: for people.
        folder: its name in the released layout.
        videos: the videos' folder below `folder`.
        group: the folder above: "video_qa" or "multiple_choice_qa".
        split: "val" or "test": the released question files are `{split}_q.json`, `{split}_a.json`.
        option_columns: the columns of the options; empty for open-ended questions.
        kinds: the words for the file's question types; what is not in it is used as it is.
        tabular: whether its files are tables of named columns (`table.py`), which `from_table`
            reads, whatever their ending; else only Parquet and JSONL files are.
        hub: where the Hub has it, if it does.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    folder: ClassVar[str] = ""
    videos: ClassVar[str] = "videos"
    group: ClassVar[str] = "video_qa"
    split: ClassVar[str] = "val"
    option_columns: ClassVar[Sequence[str]] = ()
    kinds: ClassVar[Mapping[str, str]] = {}
    tabular: ClassVar[bool] = False
    hub: ClassVar[Hub | None] = None

    @property
    def choices(self) -> bool:
        """Whether its questions are multiple choice."""
        return bool(self.option_columns)

    @property
    def video_folder(self) -> Path:
        """The videos' folder below `data/group`, as released."""
        return Path(self.folder or self.name) / self.videos

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its CSV file must have."""
        return ("video_name", "question", "answer", *self.option_columns)

    def kind_of(self, fields: Mapping[str, str]) -> str:
        """The question's type, in words."""
        given = fields.get("question_type", "")
        return self.kinds.get(given, given)

    def video_of(self, name: str) -> str:
        """A video's name as the rows of this set are identified by it: without an ending."""
        return without_suffix(name.strip())

    def question(self, row: int, fields: Mapping[str, str]) -> Question:
        """A row of the CSV file."""
        return Question(
            row=row,
            video=self.video_of(fields["video_name"]),
            question=fields["question"].strip(),
            answer=fields["answer"].strip(),
            options=tuple(fields[column].strip() for column in self.option_columns),
            kind=self.kind_of(fields),
            question_id=fields.get("question_id", ""),
        )

    def flatten(self, row: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        """The rows that a table's row holds: itself, where it holds no others."""
        return [row]

    def from_table(self, number: int, row: Mapping[str, Any]) -> Question:
        """A row of a table. Raises ConfigError for a column that is missing or wrong."""
        raise ConfigError(f"{self.title or self.name} is read from a .csv file or its JSON files")

    def __repr__(self) -> str:
        return f"<question set {self.name}>"


def first_word_kind(fields: Mapping[str, str], words: Sequence[str]) -> str:
    """The question's type by its first word, as MSVD-QA and MSRVTT-QA report it."""
    word = fields["question"].strip().split(" ", 1)[0].lower()
    return word if word in words else "other"


def as_text(value: Any) -> str:
    """A value of a JSON file as a CSV file would hold it."""
    return "" if value is None else str(value)
