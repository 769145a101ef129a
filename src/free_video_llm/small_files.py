"""Reads the small files of a checkpoint, as from a stranger: their kind and size come first."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from free_video_llm.errors import CheckpointError, first_line

#: Of a JSON file; the largest tokenizers have some 30 MB.
MOST_BYTES = 200_000_000
_LFS = b"version https://git-lfs.github.com/spec/"


def check_regular(path: Path) -> None:
    """Raise CheckpointError for what is no regular file (a pipe or device would be read without an
    end), and for a Git LFS pointer in the place of one."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{path} is not a regular file")
        with path.open("rb") as file:
            start = file.read(len(_LFS))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    if start == _LFS:
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no such file. CheckpointError where it is another thing."""
    if not path.exists():
        return {}
    check_regular(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CheckpointError(f"{path} is larger than {MOST_BYTES / 1e6:.0f} MB: not read")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {first_line(error)}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return data
