"""Progress of the evaluation on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from free_video_llm.evaluation.run import Progress

#: Seconds between two lines in a log.
LINE_EVERY = 30.0
#: As tqdm's own, but a slow pace too is so many a second.
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=1))


class _Shown:
    """How much is done of how much, with the pace and the time left; what was done before this
    command is not counted into the pace."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show(self, done: int, total: int, before: int, label: str = "", note: str = "") -> None:
        if sys.stderr.isatty():
            self._show_bar(done, total, before, label, note)
        elif time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            pace = (done - before) / (self._told - self._begun)
            left = f", {pace:.2f}/s, {_duration((total - done) / pace)} left" if pace else ""
            words = [label + ":"] if label else []
            words.append(f"{done:,} of {total:,} {self._unit}{left}{', ' + note if note else ''}")
            print(" ".join(words), file=sys.stderr, flush=True)

    def _show_bar(self, done: int, total: int, before: int, label: str, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=before,
                unit=f" {self._unit}",
                leave=False,
                file=sys.stderr,
                bar_format=_BAR,
            )
        self._bar.set_description(label or None, refresh=False)
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)


class Bar(_Shown):
    """Called with how much is done, and of how much."""

    def __call__(self, done: int, total: int) -> None:
        self._show(done, total, 0)


class RunBar(_Shown):
    """Called with a run's progress."""

    def __init__(self) -> None:
        super().__init__("questions")

    def __call__(self, progress: Progress) -> None:
        note = f"{progress.failed:,} failed" if progress.failed else ""
        before = progress.done - progress.new
        self._show(progress.done, progress.wanted, before, progress.set, note)


def _duration(seconds: float) -> str:
    """As in "2 h 05 min", "3 min", "40 s"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
