"""`fvl ask` of several videos, or of a file of questions: rows as text, JSON, JSONL or CSV, to the
terminal or to a file that a stopped command goes on with."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from free_video_llm.cli.common import load_model, ranges_of, watch
from free_video_llm.errors import ConfigError, one_of
from free_video_llm.evaluation.jsonl import LineWriter

if TYPE_CHECKING:
    from free_video_llm.many.inquiry import Inquiry
    from free_video_llm.many.run import Outcome
    from free_video_llm.plans.plan import Plan

FORMATS = ("text", "json", "jsonl", "csv")
COLUMNS = (
    "video", "question", "options", "ranges", "status", "answer", "reason", "expected", "right",
    "visual_tokens", "seconds", "warnings",
)  # fmt: skip


def format_of(options: argparse.Namespace) -> str:
    """How rows are written: as asked, or by the ending of --output."""
    if options.json:
        return "json"
    if options.format is not None:
        return str(options.format)
    if options.output is None:
        return "text"
    suffix: str = options.output.suffix.lower().lstrip(".")
    one_of("ending of --output", suffix, [f for f in FORMATS if f != "text"], ConfigError)
    return suffix


def run_many(
    options: argparse.Namespace, inquiries: Sequence[Inquiry], plan: Plan, how: dict[str, Any]
) -> int:
    """Ask everything; 1 where a question failed."""
    from free_video_llm.many.run import ask_many

    form = format_of(options)
    if options.picture or options.profile or options.save_frames:
        raise ConfigError(
            "--picture, --save-frames and --profile are for one video: leave them out"
        )
    if form == "json" and options.output is not None:
        raise ConfigError("--output goes on with a file of lines: name it .jsonl or .csv")
    ranges = ranges_of(options)
    if options.output is None:
        sink: _Sink = _Terminal(form, inquiries)
    else:
        sink = _File(options.output, form, inquiries, quiet=options.quiet)
    try:
        begin = time.perf_counter()
        llm = load_model(options, [inquiry.video for inquiry in inquiries])

        def watched(inquiry: Inquiry) -> Any:
            stretches = inquiry.ranges or ranges
            return watch(llm, inquiry.video, options, plans=[plan], ranges=stretches)

        for outcomes in ask_many(
            llm, inquiries, watched, batch=options.batch, done=sink.has, plan=plan, **how
        ):
            sink.take(outcomes)
        sink.end(time.perf_counter() - begin)
    finally:
        sink.close()
    return 1 if sink.failed else 0


class _Sink(Protocol):
    """Where rows go; `failed` counts those without an answer."""

    failed: int

    def has(self, some: Sequence[Inquiry]) -> bool:
        """Whether all rows of a batch are there already, and need not be asked for again."""
        ...

    def take(self, outcomes: Sequence[Outcome]) -> None: ...

    def end(self, seconds: float) -> None:
        """When all is asked."""
        ...

    def close(self) -> None:
        """In any case."""
        ...


class _Terminal:
    """Standard output, a row as soon as it is there (of JSON one document at the end)."""

    def __init__(self, form: str, inquiries: Sequence[Inquiry]) -> None:
        self.failed, self._form = 0, form
        self._several = len({inquiry.question for inquiry in inquiries}) > 1
        self._rows: list[dict[str, Any]] = []
        if form == "csv":
            print(_csv_line(COLUMNS), end="", flush=True)

    def has(self, some: Sequence[Inquiry]) -> bool:
        return False

    def take(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            row = outcome.to_dict()
            self.failed += outcome.answer is None
            if self._form == "json":
                self._rows.append(row)
            elif self._form == "jsonl":
                print(json.dumps(row, ensure_ascii=False), flush=True)
            elif self._form == "csv":
                print(_csv_line(_cells(row)), end="", flush=True)
            elif outcome.answer is None:
                print(f"{_lead(row, self._several)}: {outcome.reason}", file=sys.stderr, flush=True)
            else:
                said = " ".join(outcome.answer.text.split()) or "(no answer)"
                print(f"{_lead(row, self._several)}: {said}", flush=True)

    def end(self, seconds: float) -> None:
        if self._form == "json":
            print(json.dumps({"schema": 1, "rows": self._rows}, ensure_ascii=False, indent=1))

    def close(self) -> None:
        pass


class _File:
    """A file of lines, to which only rows are added that are not there."""

    def __init__(self, path: Path, form: str, inquiries: Sequence[Inquiry], *, quiet: bool) -> None:
        self.failed, self._quiet = 0, quiet
        if form not in ("jsonl", "csv"):
            raise ConfigError(f"--output is a .jsonl or .csv file, not {form}")
        self._csv, self._wanted = form == "csv", Counter(map(_key, inquiries))
        self._path, self.kept, self.written = path, 0, 0
        self._there: Counter[str] = Counter()
        self._writer = LineWriter(path)
        try:
            self._take_up()
        except BaseException:
            self._writer.close()
            raise

    def _take_up(self) -> None:
        """Note the rows that are there."""
        rows = self._read()
        for row in rows:
            self._there[_key_of(row)] += 1
            self.failed += row.get("status") != "answered"
        if self._there - self._wanted:
            raise ConfigError(f"{self._path} has rows of other questions: choose another --output")
        self.kept = len(rows)
        if self._csv and not self._path.stat().st_size:
            self._writer.append_text([_csv_line(COLUMNS)])

    def _read(self) -> list[dict[str, Any]]:
        text = self._path.read_text(encoding="utf-8")
        try:
            if not self._csv:
                rows = [json.loads(line) for line in text.splitlines()]
                if any(not isinstance(row, dict) or set(row) != set(COLUMNS) for row in rows):
                    raise ValueError("its columns are others")
                return rows
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            if text and tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError("its columns are others")
            return [
                row | {name: json.loads(row[name]) for name in ("options", "ranges")}
                for row in reader
            ]
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ConfigError(
                f"{self._path} holds no rows of fvl ask ({error}): choose another --output"
            ) from None

    def has(self, some: Sequence[Inquiry]) -> bool:
        return all(self._there[key] >= n for key, n in Counter(map(_key, some)).items())

    def take(self, outcomes: Sequence[Outcome]) -> None:
        rows = []
        there = self._there.copy()
        for outcome in outcomes:  # of a batch of which a part is there, the rest
            key = _key(outcome.inquiry)
            if there[key] > 0:
                there[key] -= 1
                continue
            rows.append(outcome.to_dict())
            self.failed += outcome.answer is None
        if self._csv:
            self._writer.append_text([_csv_line(_cells(row)) for row in rows])
        else:
            self._writer.append(rows)
        self._there.update(_key_of(row) for row in rows)
        self.written += len(rows)

    def end(self, seconds: float) -> None:
        if self._quiet:
            return
        there = f", {self.kept:,} were there" if self.kept else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        print(
            f"{self._path}: {self.written:,} rows in {seconds:.1f} s{there}{failed}",
            file=sys.stderr,
        )

    def close(self) -> None:
        self._writer.close()


def _lead(row: dict[str, Any], several: bool) -> str:
    return f"{row['video']}: {row['question']}" if several else str(row["video"])


def _key(inquiry: Inquiry) -> str:
    from free_video_llm.many.run import Outcome

    return _key_of(Outcome(inquiry).to_dict())


def _key_of(row: dict[str, Any]) -> str:
    """What a row is of. A CSV cell has no line breaks."""
    named = (row["video"], " ".join(row["question"].split()), row["options"], row["ranges"])
    return json.dumps(named)


def _cells(row: dict[str, Any]) -> list[str]:
    cells = []
    for name in COLUMNS:
        value = row[name]
        if isinstance(value, list):
            value = json.dumps(value, ensure_ascii=False)
        elif isinstance(value, bool):
            value = str(value).lower()
        cells.append("" if value is None else " ".join(str(value).split()))
    return cells


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
