"""The files that visitors sent: which session holds which, and that they are deleted.

Two visitors who send the same file share it on disk, as the server files uploads by content: a file
goes when nobody holds it any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from free_video_llm.errors import VideoError

#: A file that no session has claimed after so many seconds was sent and forgotten.
ORPHAN_SECONDS = 600.0


class Uploads:
    """The folder of uploads. May be used from many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._holders: dict[Path, set[str]] = {}
        self._lock = threading.Lock()

    def claim(self, path: str | Path, session: str) -> Path:
        """Keep a file for a session; the file's true path.

        Raises:
            VideoError: it is no file in the folder.
        """
        true = Path(path).resolve()
        with self._lock:
            if not true.is_relative_to(self.folder) or not true.is_file():
                raise VideoError("this clip is no longer on the server: choose it again")
            self._holders.setdefault(true, set()).add(session)
        return true

    def release(self, path: Path, session: str) -> None:
        """A session needs a file no more; deleted unless another holds it."""
        with self._lock:
            holders = self._holders.get(path, set())
            holders.discard(session)
            if not holders:
                self._holders.pop(path, None)
                self._delete(path)

    def sweep(self, now: float | None = None) -> None:
        """Delete what nobody has claimed in time."""
        now = time.time() if now is None else now
        with self._lock:
            for path in self._files():
                with contextlib.suppress(OSError):
                    if path not in self._holders and now - path.stat().st_mtime > ORPHAN_SECONDS:
                        self._delete(path)

    def nbytes(self) -> int:
        """Bytes on disk."""
        total = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another file may lie beside it
            if path.parent != self.folder:
                path.parent.rmdir()
