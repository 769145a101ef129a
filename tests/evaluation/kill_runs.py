"""Starts a run (or a judging) again and again in child processes, each of which kills itself.

Run as a script: `kill_runs.py run CONFIG.yaml` or `kill_runs.py judge CONFIG.yaml URL`. The heavy
imports are done once; every child is forked from them and dies by SIGKILL at its chosen point: at a
numbered write of a line, before it, in its middle, after it, or before it is on the disk. No point
depends on time. Prints how each child ended, and ends with one that is let live.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from free_video_llm.evaluation import jsonl
from free_video_llm.evaluation.config_file import read_config
from free_video_llm.evaluation.run_dir import RunFolder

#: Which of a child's writes it dies at, and where. Together they write fewer rows than there are.
POINTS = [
    (1, "before"), (1, "first byte"), (1, "middle"), (1, "last byte"), (1, "after"),
    (1, "unsynced"), (2, "before"), (2, "middle"), (2, "unsynced"), (3, "last byte"),
    (4, "after"), (5, "middle"), (6, "unsynced"),
]  # fmt: skip


class DyingSystem:
    """The `os` module with a `write` or `fsync` at which the process dies."""

    def __init__(self, number: int, where: str) -> None:
        self._left, self._where = number, where

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, file: int, line: bytes) -> int:
        self._left -= 1
        if self._left:
            return os.write(file, line)
        parts = {"before": 0, "first byte": 1, "middle": len(line) // 2, "last byte": len(line) - 1}
        if self._where in parts:
            os.write(file, line[: parts[self._where]])
            die()
        os.write(file, line)
        if self._where == "after":
            die()
        return len(line)

    def fsync(self, file: int) -> None:
        if self._where == "unsynced" and not self._left:
            die()
        os.fsync(file)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child(work: Callable[[], object], point: tuple[int, str] | None = None) -> int:
    """The status with which a forked child ended."""
    pid = os.fork()
    if pid == 0:
        try:
            if point is not None:
                jsonl.os = DyingSystem(*point)  # type: ignore[attr-defined]
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    kind, path = sys.argv[1:3]
    config = read_config(path)
    task = config.tasks[0]
    folder = Path(config.outputs) / task.set / config.name
    if kind == "run":
        from free_video_llm import VideoLLM
        from free_video_llm.evaluation.run import run_task

        llm = VideoLLM.from_pretrained(config.model)

        def work() -> object:
            return run_task(config, task, load=lambda _: llm)
    else:
        import openai  # noqa: F401

        from free_video_llm.evaluation.judge import Judging
        from free_video_llm.evaluation.judge_server import Judge

        judge = Judge(model="judge-1", base_url=sys.argv[3], concurrency=2)

        def work() -> object:
            with Judging(RunFolder(folder), judge, config.replies) as judging:
                return judging.ask_all()

    killed = [os.WIFSIGNALED(child(work, point)) for point in POINTS]
    print(json.dumps({"killed": sum(killed), "status": child(work)}))


if __name__ == "__main__":
    main()
