"""Reads the questions of a set, from a CSV file or the released JSON files, and writes the latter.

The released files are `{split}_q.json` and `{split}_a.json`, or `{split}_qa.json`; what is written
from a CSV file row by row is read back as the same rows in the same order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from free_video_llm.benchmarks.base import Question, QuestionSet, as_text
from free_video_llm.benchmarks.csv_rows import read_rows
from free_video_llm.benchmarks.table import is_table, read_table
from free_video_llm.errors import ConfigError


def file_names(chosen: QuestionSet) -> tuple[str, ...]:
    """The names of a set's released files."""
    if chosen.choices:
        return (f"{chosen.split}_qa.json",)
    return f"{chosen.split}_q.json", f"{chosen.split}_a.json"


# --- writing ---------------------------------------------------------------------------------


def write_layout(
    chosen: QuestionSet, source: Path, gt: Path, *, progress: Callable[[int], None] | None = None
) -> tuple[int, list[Path]]:
    """Write a CSV file's questions in the released layout below `gt`.

    Each file appears whole or not at all.

    Returns:
        How many rows, and the files.

    Raises:
        ConfigError: the CSV file is wrong, or the folder cannot be written.
    """
    folder = gt / (chosen.folder or chosen.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    paths = [folder / name for name in file_names(chosen)]
    parts = [path.with_name(path.name + ".part") for path in paths]
    makers = [_choice_entry] if chosen.choices else [_question_entry, _answer_entry]
    rows = 0
    files: list[IO[str]] = []
    try:
        files = [part.open("w", encoding="utf-8", newline="\n") for part in parts]
        for row, fields in read_rows(source, chosen.columns):
            question = chosen.question(row, fields)
            for file, make in zip(files, makers, strict=True):
                entry = json.dumps(make(chosen, question, fields), ensure_ascii=False)
                file.write(("[\n" if row == 1 else ",\n") + entry)
            rows = row
            if progress is not None and rows % 1000 == 0:
                progress(rows)
        for file in files:
            file.write("\n]\n" if rows else "[]\n")
            file.close()
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for file in files:
            file.close()
        for part in parts:
            part.unlink(missing_ok=True)
    return rows, paths


def _question_entry(_: QuestionSet, question: Question, __: Mapping[str, str]) -> dict[str, Any]:
    return {
        "video_name": question.video,
        "question_id": question.question_id,
        "question": question.question,
    }


def _answer_entry(_: QuestionSet, question: Question, fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "answer": question.answer,
        "type": _number_or_text(fields.get("question_type", "")),
        "question_id": question.question_id,
    }


def _choice_entry(
    chosen: QuestionSet, question: Question, fields: Mapping[str, str]
) -> dict[str, Any]:
    number = None if question.letter is None else question.options.index(question.answer)
    return {
        "task_name": chosen.folder or chosen.name,
        "video_name": f"{question.video}.mp4",
        "question_id": question.question_id,
        "question": question.question,
        "answer_number": number,
        "candidates": list(question.options),
        "answer": question.answer,
        "type": fields.get("question_type", ""),
    }


def _number_or_text(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value


# --- reading ---------------------------------------------------------------------------------


def read_questions(chosen: QuestionSet, source: str | Path) -> Iterator[Question]:
    """The questions of a CSV file, or of the released JSON layout (its folder, or one above).

    A CSV file is read row by row and never held.

    Raises:
        ConfigError: the file is missing, or a row or column is wrong; names which.
    """
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".jsonl") or (chosen.tabular and is_table(path)):
        yield from _read_tables(chosen, path)
    elif path.suffix.lower() == ".csv":
        for row, fields in read_rows(path, chosen.columns):
            yield chosen.question(row, fields)
    elif path.is_dir() or path.suffix.lower() == ".json":
        yield from read_layout(chosen, path)
    elif path.exists():
        raise ConfigError(f"{path}: questions are a .csv file, a .json file or a folder")
    else:
        raise ConfigError(
            f"no question file {path}: name the set's CSV file as questions in the configuration "
            "(sets: [{set: NAME, questions: FILE.csv}]), or with --questions"
        )


def _read_tables(chosen: QuestionSet, path: Path) -> Iterator[Question]:
    number = 0
    for place, row in read_table(path):
        for entry in chosen.flatten(row):
            number += 1
            try:
                yield chosen.from_table(number, entry)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from None


def read_layout(chosen: QuestionSet, source: Path) -> Iterator[Question]:
    """The questions of the released files; `source` is their folder, the one above, or a file.

    Raises:
        ConfigError: a file is missing or not of the layout; names the file and entry.
    """
    paths = _find(chosen, source)
    lists = [_read_list(path) for path in paths]
    lengths = {len(entries) for entries in lists}
    if len(lengths) > 1:
        raise ConfigError(
            f"{paths[0]} has {len(lists[0])} entries, {paths[1].name} {len(lists[1])}: "
            "they must match row by row"
        )
    for number, entries in enumerate(zip(*lists, strict=True), start=1):
        yield _question(chosen, number, entries, paths)


def _find(chosen: QuestionSet, source: Path) -> list[Path]:
    names = file_names(chosen)
    if source.is_file():
        folder = source.parent
        if source.name not in names:
            names = (source.name,) if chosen.choices else _pair_of(source.name)
    else:
        below = source / (chosen.folder or chosen.name)
        folder = below if (below / names[0]).is_file() else source
    for name in names:
        if not (folder / name).is_file():
            raise ConfigError(
                f"no {name} in {folder}: fvl prepare {chosen.name} --csv FILE writes it"
            )
    return [folder / name for name in names]


def _pair_of(name: str) -> tuple[str, str]:
    for end in ("_q.json", "_a.json"):
        if name.endswith(end):
            stem = name.removesuffix(end)
            return f"{stem}_q.json", f"{stem}_a.json"
    raise ConfigError(f"{name}: open-ended questions are two files, …_q.json and …_a.json")


def _read_list(path: Path) -> list[Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(data, list):
        raise ConfigError(f"{path} is not a list of entries")
    return data


def _question(chosen: QuestionSet, row: int, entries: Iterable[Any], paths: list[Path]) -> Question:
    fields: dict[str, Any] = {}
    for entry, path in zip(entries, paths, strict=True):
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: entry {row} is not an object")
        if fields and entry.get("question_id") != fields.get("question_id"):
            raise ConfigError(f"{path}: entry {row} has another question_id than {paths[0].name}")
        fields |= entry
    candidates = fields.get("candidates", [])
    if not isinstance(candidates, list):
        raise ConfigError(f"{paths[0]}: entry {row}: candidates is not a list")
    for key in ("video_name", "question", "answer"):
        if key not in fields:
            raise ConfigError(f"{paths[0]}: entry {row} lacks {key!r}")
    if chosen.choices and len(candidates) < 2:
        raise ConfigError(f"{paths[0]}: entry {row} lacks 'candidates'")
    texts = {key: as_text(fields[key]) for key in ("video_name", "question", "answer")}
    texts["question_id"] = as_text(fields.get("question_id"))
    texts["question_type"] = as_text(fields.get("type"))
    return Question(
        row=row,
        video=chosen.video_of(texts["video_name"]),
        question=texts["question"].strip(),
        answer=texts["answer"].strip(),
        options=tuple(as_text(c).strip() for c in candidates),
        kind=chosen.kind_of(texts),
        question_id=texts["question_id"],
    )
