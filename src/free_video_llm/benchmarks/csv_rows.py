"""Reads the rows of a CSV file one by one, with errors that name the line. Holds no file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from free_video_llm.errors import ConfigError, nearest


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its number, from 1. A BOM, CRLF and quoted newlines are understood.

    Raises:
        ConfigError: the file cannot be read, a needed column is missing, a row has too few or too
            many fields.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if not header:
                raise ConfigError(f"{path} is empty: a CSV file begins with its columns' names")
            _check_header(path, header, needed)
            row = 0
            for values in reader:
                if not values:
                    continue  # an empty line is no row
                row += 1
                if len(values) != len(header):
                    raise ConfigError(
                        f"{path}: row {row} (line {reader.line_num}) has {len(values)} fields, "
                        f"the header {len(header)}"
                    )
                yield row, dict(zip(header, values, strict=True))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num}: {error}") from None


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise ConfigError(f"{path}: the column {sorted(twice)[0]!r} comes twice")
    for column in needed:
        if column not in header:
            guess = nearest(column, [h for h in header if h])
            hint = f" (is it {guess!r}?)" if guess else ""
            shown = ", ".join(header)
            shown = shown if len(shown) <= 200 else shown[:199] + "…"
            raise ConfigError(f"{path} lacks the column {column!r}{hint}; it has: {shown}")
