"""The server's own folder: for this user only, deleted at the end, and after a server was killed.

A running server holds a lock on a file in its folder; the system lets go of it however the server
ends, so a folder whose lock is free was left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows, where a killed server's folder stays until it is cleared
    fcntl = None  # type: ignore[assignment]

_PREFIX, _LOCK = "fvl-web-", "lock"


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder, deleted with all that is in it at the end; first, those left behind are."""
    _delete_left_behind(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = _hold(folder)
    try:
        yield folder
    finally:
        if held is not None:
            held.close()
        shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path) -> IO[bytes] | None:
    if fcntl is None:
        return None
    new = folder / (_LOCK + ".new")
    held = new.open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    new.rename(folder / _LOCK)  # locked before another server can look
    return held


def _delete_left_behind(place: Path) -> None:
    if fcntl is None:
        return
    for lock in place.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # another user's, or held by a running server
            if lock.parent.stat().st_uid != os.getuid():
                continue
            with lock.open("rb") as left:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
