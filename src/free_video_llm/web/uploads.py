"""The files that visitors send: room for them, which session holds which, that they are deleted.

Two visitors who send the same file share it on disk, as the server files uploads by content: a file
goes when nobody holds it any more.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from free_video_llm.errors import VideoError

#: A file that no session has claimed after so many seconds was sent and forgotten.
ORPHAN_SECONDS = 600.0
#: A file that is being sent and has not grown for so long has lost its sender, as a request that
#: stands still ends sooner (`Limits.stall_seconds`).
PART_SECONDS = 120.0


class Uploads:
    """The folder of uploads. May be used from many threads.

    Gradio writes what arrives into files of the folder itself, and moves each to a folder of its
    own, named by content, when it is whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._holders: dict[Path, set[str]] = {}
        self._arriving: list[int] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def receiving(self, size: int, *, room: int) -> Iterator[bool]:
        """Keep room for a file while it arrives; gives whether there is enough.

        At the end, parts that were left lying are deleted.

        Args:
            size: bytes that its sender declares.
            room: bytes for all files together.
        """
        with self._lock:
            whole = sum(_size(path) for path in self._files() if path.parent != self.folder)
            fits = whole + sum(self._arriving) + size <= room
            if fits:
                self._arriving.append(size)
        try:
            yield fits
        finally:
            if fits:
                with self._lock:
                    self._arriving.remove(size)
                    self._delete_parts(time.time())

    def _delete_parts(self, now: float) -> None:
        """Delete parts without a sender: all, where nothing is arriving."""
        for path in self._files():
            if path.parent == self.folder:
                with contextlib.suppress(OSError):
                    if not self._arriving or now - path.stat().st_mtime > PART_SECONDS:
                        self._delete(path)

    def take(self, path: str | Path) -> Path:
        """Move a file of the server's own into the folder, as an upload would lie there."""
        place = self.folder / secrets.token_hex(32)
        place.mkdir()
        return Path(shutil.move(str(path), place / Path(path).name))

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
            self._delete_parts(now)
            for path in self._files():
                with contextlib.suppress(OSError):
                    if path not in self._holders and now - path.stat().st_mtime > ORPHAN_SECONDS:
                        self._delete(path)

    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(_size(path) for path in self._files())

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another file may lie beside it
            if path.parent != self.folder:
                path.parent.rmdir()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted in the meantime
        return 0
