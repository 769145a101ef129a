"""Progress on stderr: bars by Rich on a terminal, elsewhere a line now and then or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from free_video_llm.evaluation.run import Progress

#: Seconds between two lines in a log.
LINE_EVERY = 30.0
#: Seconds before steps of a single video are shown: most are over by then.
PATIENCE = 1.0


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=1))


class _Bars:
    """Bars on a terminal, one for each step of a name; gone when they are closed."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Live

        self._live = Live(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=40),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("<", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
            get_time=lambda: time.monotonic(),  # one clock for the pace and the time left
            # Lines printed beside a bar go above it; a pipe must not end on the terminal.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._tasks: dict[str, Any] = {}
        self._live.start()

    def show(
        self, name: str, done: int, total: int | None, *, count: str, note: str, before: int = 0
    ) -> None:
        """How far a step is. What was done `before` these bars counts for no pace."""
        if name not in self._tasks:
            self._tasks[name] = self._live.add_task(
                name, total=total, completed=before, count=count, note=note
            )
        self._live.update(self._tasks[name], completed=done, total=total, count=count, note=note)

    def close(self) -> None:
        """Take the bars from the terminal."""
        self._live.stop()


class _Shown:
    """Has bars once there is something to show, and closes them."""

    def __init__(self) -> None:
        self._bars: _Bars | None = None
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.close()


class _Counted(_Shown):
    """How much is done of how much, with the pace and the time left; what was done before this
    command is not counted into the pace."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit, self._told = unit, self._begun

    def _show(self, done: int, total: int, before: int, label: str = "", note: str = "") -> None:
        now = time.monotonic()
        pace = (done - before) / (now - self._begun) if now > self._begun else 0.0
        # While bars are shown, stderr is Rich's, which before its version 15 denies a terminal.
        if self._bars is not None or sys.stderr.isatty():
            self._bars = self._bars or _Bars()
            words = [f"{pace:.2f} {self._unit}/s"] if pace else []
            words += [note] if note else []
            self._bars.show(
                label or self._unit,
                done,
                total,
                count=f"{done:,}/{total:,}",
                note=", ".join(words),
                before=before,
            )
        elif now - self._told >= LINE_EVERY:
            self._told = now
            left = f", {pace:.2f}/s, {_duration((total - done) / pace)} left" if pace else ""
            words = [label + ":"] if label else []
            words.append(f"{done:,} of {total:,} {self._unit}{left}{', ' + note if note else ''}")
            print(" ".join(words), file=sys.stderr, flush=True)


class Bar(_Counted):
    """Called with how much is done, and of how much."""

    def __call__(self, done: int, total: int) -> None:
        self._show(done, total, 0)


class RunBar(_Counted):
    """Called with a run's progress."""

    def __init__(self) -> None:
        super().__init__("questions")

    def __call__(self, progress: Progress) -> None:
        note = f"{progress.failed:,} failed" if progress.failed else ""
        before = progress.done - progress.new
        self._show(progress.done, progress.wanted, before, progress.set, note)


class WatchBars(_Shown):
    """Called with a step of watching a video, how much is done, and of how much; shown on a
    terminal where the steps take over a second."""

    def __call__(self, what: str, done: int, total: int) -> None:
        late = time.monotonic() - self._begun > PATIENCE
        if self._bars is None and (not late or not sys.stderr.isatty()):
            return
        # Frames are read while the towers look at those before them: two bars at once.
        self._bars = self._bars or _Bars()
        name, count = _STEPS.get(what, (what, _frames))
        self._bars.show(name, done, total or None, count=count(done, total), note="")


def _frames(done: int, total: int) -> str:
    return f"{done:,}/{total:,} frames" if total else f"{done:,} frames"


def _bytes(done: int, total: int) -> str:
    return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"


_STEPS: dict[str, tuple[str, Callable[[int, int], str]]] = {
    "fetch": ("fetching", _bytes),
    "decode": ("reading frames", _frames),
    "encode": ("looking at frames", _frames),
}


def _duration(seconds: float) -> str:
    """As in "2 h 05 min", "3 min", "40 s"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
