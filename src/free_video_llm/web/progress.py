"""Runs work in a thread and gives, while it runs, how far it is, for a page to show."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from free_video_llm.web.service import Progress

Result = TypeVar("Result")
#: Seconds between two reports: more often, a browser would draw what nobody can read.
_EVERY = 0.1


class Running(Generic[Result]):
    """Work that reports its steps. Iterate over it for the steps so far, then take `result()`.

    Iterating ends when the work does; what the work raised is raised by `result`.
    """

    def __init__(self, work: Callable[[Progress], Result]) -> None:
        self._work = work
        self._news: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fvl-answer", daemon=True)

    def _run(self) -> None:
        try:
            self._result.append(self._work(self._report))
        except BaseException as error:  # raised again in the thread that waits
            self._error = error
        finally:
            self._news.put(None)

    def _report(self, step: str, done: int, total: int) -> None:
        self._news.put((step, done, total))

    def __iter__(self) -> Iterator[dict[str, tuple[int, int]]]:
        self._thread.start()
        steps: dict[str, tuple[int, int]] = {}
        shown = 0.0
        while (news := self._news.get()) is not None:
            step, done, total = news
            new = step not in steps
            steps[step] = (done, total)
            if new or time.monotonic() - shown >= _EVERY:
                shown = time.monotonic()
                yield dict(steps)
        self._thread.join()

    def result(self) -> Result:
        """What the work gave. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]
