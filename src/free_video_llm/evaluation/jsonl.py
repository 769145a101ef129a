"""Append-only files of one JSON object a line, safe against being killed at any moment.

A line counts once its newline is written; a torn last line is dropped when the file is opened
again. One process writes a file at a time. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from free_video_llm.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows: no locks, one process at a time is up to the user
    fcntl = None  # type: ignore[assignment]


def read_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, without a torn last line; nothing where there is no file.

    Raises:
        ConfigError: a line before the last is not a JSON object: the file was changed by hand.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield _read(line, path, number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None


def _read(line: bytes, path: str | Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: line {number} is damaged: restore the file, or delete the line")
    return value


class LineWriter:
    """Appends lines to a file that it alone writes; a context manager.

    Raises:
        ConfigError: another process writes the file, or it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from None
        try:
            lock(self._file, self.path)
            self._drop_torn_line()
        except BaseException:
            os.close(self._file)
            raise

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._file, end)

    def append(self, values: Iterable[dict[str, Any]]) -> None:
        """Write the objects, each as one whole line, and see them onto the disk.

        Raises:
            ConfigError: the disk is full or gone; what was half written is taken back.
        """
        self.append_text(
            json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values
        )

    def append_text(self, texts: Iterable[str]) -> None:
        """Write whole lines that are there as text; see `append`."""
        lines = [text.encode("utf-8", "backslashreplace") for text in texts]
        about = os.fstat(self._file)
        if about.st_nlink == 0:  # what is written now would be lost, and everything after it
            raise ConfigError(
                f"{self.path} was deleted while it was written: the same command begins again"
            )
        before = about.st_size
        try:
            for line in lines:
                written = 0
                while written < len(line):
                    written += os.write(self._file, line[written:])
                before += len(line)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def lock(file: int, path: Path, *, shared: bool = False) -> None:
    """Lock an open file until it is closed or the process ends, however it ends.

    Raises:
        ConfigError: another process has it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(f"another process is writing {path}: wait for it, or stop it") from None


def write_whole(path: str | Path, text: str) -> Path:
    """Write a file so that it is there whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return path
