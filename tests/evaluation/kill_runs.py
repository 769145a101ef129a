"""Starts a run (or a judging) again and again in child processes and kills each by SIGKILL.

Run as a script: `kill_runs.py run CONFIG.yaml KILLS SEED` or `kill_runs.py judge CONFIG.yaml KILLS
SEED URL`. The heavy imports are done once; every child is forked from them. Prints how many
children were killed in the act, and ends with a child that is let live.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from free_video_llm.evaluation.config import read_config
from free_video_llm.evaluation.run_dir import RunFolder


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("**/*.jsonl")) if folder.exists() else 0


def child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return pid


def kill_often(work: Callable[[], object], watched: Path, kills: int, rng: random.Random) -> int:
    """Kill `work` so many times while it is at it: once some bytes are written, a moment later."""
    killed = 0
    while killed < kills:
        goal = size_of(watched) + rng.randint(0, 1200)
        pid = child(work)
        while size_of(watched) < goal:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                if status:
                    raise SystemExit(f"a child failed with status {status}")
                return killed  # it came to its end
            time.sleep(0.0005)
        time.sleep(rng.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
    return killed


def main() -> None:
    kind, path, kills, seed = sys.argv[1:5]
    config, rng = read_config(path), random.Random(int(seed))
    task = config.tasks[0]
    folder = Path(config.outputs) / task.set / config.name
    if kind == "run":
        from free_video_llm import VideoLLM
        from free_video_llm.evaluation.run import run_task

        llm = VideoLLM.from_pretrained(config.model)
        watched = folder

        def work() -> object:
            return run_task(config, task, load=lambda _: llm)
    else:
        import openai  # noqa: F401

        from free_video_llm.evaluation.judge import Judging
        from free_video_llm.evaluation.judge_server import Judge

        judge = Judge(model="judge-1", base_url=sys.argv[5], concurrency=2)
        watched = Path(config.replies)

        def work() -> object:
            with Judging(RunFolder(folder), judge, config.replies) as judging:
                return judging.ask_all()

    killed = kill_often(work, watched, int(kills), rng)
    _, status = os.waitpid(child(work), 0)
    print(json.dumps({"killed": killed, "status": status}))


if __name__ == "__main__":
    main()
