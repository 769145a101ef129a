"""A run's folder, `outputs/artifacts/SET/NAME/`: its configuration, its rows, its judgements.

Files: `run.json` (what was run, written before the first row), `results.jsonl` (a row for each
question), `results.shard-i-of-n.jsonl` (the same of a run in parts), `judge-….jsonl`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.jsonl import lock, read_lines, write_whole
from free_video_llm.evaluation.row import Identity, Row
from free_video_llm.evaluation.units import Shard

_SHARD_FILE = re.compile(r"results\.shard-(\d+)-of-(\d+)\.jsonl")
#: What may differ between the parts of one run: it does not reach the answers.
_FREE = ("created", "device", "versions", "full_config", "paths", "resumed")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run over one question set."""

    path: Path

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    def results_file(self, shard: Shard | None = None) -> Path:
        """Where the rows go."""
        if shard is None:
            return self.path / "results.jsonl"
        return self.path / f"results.shard-{shard.number}-of-{shard.count}.jsonl"

    def results_files(self) -> list[Path]:
        """All files of rows, whole and in parts."""
        return sorted(self.path.glob("results*.jsonl"))

    # --- what was run ---------------------------------------------------------------------

    def read_run(self) -> dict[str, Any] | None:
        """`run.json`, None where there is none yet.

        Raises:
            ConfigError: it is damaged.
        """
        try:
            data = json.loads(self.run_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.run_file} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{self.run_file} is not a JSON object")
        return data

    def check_same(self, run: dict[str, Any]) -> bool:
        """Whether a run was begun here with the same configuration; False where none was.

        Raises:
            ConfigError: another configuration was run here; names every difference.
        """
        before = self.read_run()
        if before is None:
            if any(file.stat().st_size for file in self.results_files()):
                raise ConfigError(
                    f"{self.path} has rows but no run.json: give the run another name"
                )
            return False
        differences = describe_differences(before, run)
        if differences:
            raise ConfigError(
                f"{self.path} holds a run with another configuration ({'; '.join(differences)}): "
                "undo the change, give the run another name, or delete that folder"
            )
        return True

    def write_run(self, run: dict[str, Any]) -> None:
        write_whole(self.run_file, json.dumps(run, ensure_ascii=False, indent=1) + "\n")

    # --- rows -----------------------------------------------------------------------------

    def rows(self) -> Iterator[Row]:
        """Every row once, of all files.

        Raises:
            ConfigError: a file is damaged; names it and the line.
        """
        seen: set[Identity] = set()
        for file in self.results_files():
            for row in _rows_of(file):
                if row.identity not in seen:
                    seen.add(row.identity)
                    yield row

    def drop_failed(self, shard: Shard | None = None) -> int:
        """Take the failed rows out, so that they are tried again; how many there were.

        One part of several leaves the others' files alone: their processes may be writing them.
        """
        dropped = 0
        for file in self.results_files() if shard is None else [self.results_file(shard)]:
            rows = list(_rows_of(file))
            kept = [row for row in rows if row.answer is not None]
            if len(kept) < len(rows):
                dropped += len(rows) - len(kept)
                lines = (json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in kept)
                write_whole(file, "".join(lines))
        return dropped

    @contextmanager
    def held(self, shard: Shard | None) -> Iterator[None]:
        """Keep others from answering the same questions at the same time.

        Raises:
            ConfigError: another process is at it, or the run was begun in another number of parts.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from None
        try:
            lock(file, self.path, shared=shard is not None)
            if shard is not None:
                self._check_shards(shard)
            yield
        finally:
            os.close(file)

    def _check_shards(self, shard: Shard) -> None:
        for path in self.results_files():
            match = _SHARD_FILE.fullmatch(path.name)
            if match and int(match[2]) != shard.count:
                raise ConfigError(
                    f"{self.path} was begun in {match[2]} shards: go on with --shard i/{match[2]}, "
                    "or without --shard"
                )


def _rows_of(file: Path) -> Iterator[Row]:
    for number, line in enumerate(read_lines(file), start=1):
        try:
            yield Row.from_dict(line)
        except ValueError as error:
            raise ConfigError(
                f"{file}: line {number} is no row of a run: {error}; restore the file, or delete "
                "the line to have that question answered again"
            ) from None


def find_run(path: str | Path) -> RunFolder:
    """The run folder that a user named: the folder, or a file in it.

    Raises:
        ConfigError: there is no run.
    """
    path = Path(path)
    folder = RunFolder(path.parent if path.is_file() else path)
    if folder.read_run() is None:
        below = sorted(p.parent for p in folder.path.glob("**/run.json"))[:6]
        hint = f"; did you mean {' or '.join(str(p) for p in below)}?" if below else ""
        raise ConfigError(f"no run in {path}: it has no run.json{hint}")
    return folder


def describe_differences(before: Any, after: Any, where: str = "") -> list[str]:
    """What differs between two runs, apart from what does not reach the answers."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted({*before, *after}):
            if where or key not in _FREE:
                inner = f"{where}.{key}" if where else str(key)
                found += describe_differences(before.get(key), after.get(key), inner)
        return found
    if before == after:
        return []
    return [f"{where}: was {_short(before)}, now {_short(after)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"
