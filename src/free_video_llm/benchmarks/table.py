"""Rows of named columns: a CSV, JSON, JSONL or Parquet file, or a folder of such files. Holds no
Parquet file whole; Parquet is read by pyarrow (extra `sets`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError, MissingExtraError, first_line
from free_video_llm.video.source import natural_key

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
#: Of a JSON file, which is read whole.
MOST_BYTES = 500_000_000
#: A row's file, by its name without the ending, among its columns: some sets say in it what their
#: questions are about.
FILE = "__file__"


def is_table(path: Path) -> bool:
    """Whether a path is a file of rows, or a folder of them."""
    if path.is_dir():
        return any(is_table(inner) for inner in path.iterdir() if inner.is_file())
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file, or of a folder's files in natural order, with where it stands.

    Raises:
        ConfigError: a file cannot be read, or is not of rows.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    files = [path]
    if path.is_dir():
        inside = [p for p in path.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES]
        files = sorted(inside, key=lambda p: natural_key(p.name))
        if not files:
            raise ConfigError(f"{path} has no file of questions ({', '.join(SUFFIXES)})")
    for file in files:
        if not file.is_file():
            raise ConfigError(f"no question file {file}: check the path")
        for number, row in enumerate(_rows(file), start=1):
            if not isinstance(row, Mapping):
                raise ConfigError(f"{file}: row {number} is no object with named values")
            yield f"{file}: row {number}", {**row, FILE: file.stem}


def _rows(path: Path) -> Iterator[Any]:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        elif kind == ".jsonl":
            with path.open(encoding="utf-8-sig") as file:
                yield from (json.loads(line) for line in file if line.strip())
        elif kind == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, strict=True)
        elif path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than any file of questions")
        else:
            data = json.loads(path.read_text(encoding="utf-8-sig"))
            yield from _list_of(data, path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except (ValueError, RecursionError, csv.Error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is no {kind[1:].upper()}: {first_line(error)}") from None


def _list_of(data: Any, path: Path) -> list[Any]:
    """A JSON file's rows: a list, or an object whose one list they are."""
    if isinstance(data, Mapping):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if len(lists) == 1 else data
    if not isinstance(data, list):
        raise ConfigError(f"{path} is not a list of rows")
    return data


def _parquet(path: Path) -> Iterator[Any]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet files are read by pyarrow: pip install 'free-video-llm[sets]'"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise ConfigError(f"{path} is no Parquet file: {first_line(error)}") from None
