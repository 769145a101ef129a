"""Run by the tests of jobs in a process of its own: works on a folder of jobs until all are at
their end, or ends itself without a word at a point that was chosen.

    python jobs_until.py FOLDER [before|within|after N]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from free_video_llm import VideoLLM
from free_video_llm.evaluation import jsonl
from free_video_llm.serve.server import server
from free_video_llm.serve.settings import Settings


def work(folder: Path, point: str = "never", number: int = 0) -> None:
    """Until every job is at its end, or that many lines into a result file."""
    append, count = jsonl.LineWriter.append, 0

    def killed(self: Any, values: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            if point == "after":
                append(self, values)
            elif point == "within":
                line = json.dumps(values[0])
                os.write(self._file, line[: len(line) // 2].encode())
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, values)

    jsonl.LineWriter.append = killed
    tiny = VideoLLM.from_pretrained("tiny")
    with server(Settings(port=0, jobs=folder, frames=8), lambda name: tiny):
        while any(
            json.loads(path.read_text())["status"] == "in_progress"
            for path in (folder / "batches").glob("*.json")
        ):
            time.sleep(0.02)


if __name__ == "__main__":
    work(Path(sys.argv[1]), *sys.argv[2:3], *map(int, sys.argv[3:4]))
