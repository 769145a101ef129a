"""Many videos by one command: nine clips beside a Python loop and nine commands; and a thousand
questions over a hundred clips, killed at ten points and gone on with.

    python bench/many_videos.py                      # three minutes on two cores; `tiny`
    python bench/many_videos.py --only clips         # or: kills

A kill is SIGKILL, before, within or after a row's line that was chosen beforehand; the result is
compared, byte by byte, with that of a command that nothing happened to.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks.toy import write_toy_set
from free_video_llm.evaluation.jsonl import LineWriter

QUESTION = "What color is the star?"
ROUNDS = 3
#: Rows after which the command is killed, and where in the next row's line.
POINTS = (("before", 0), ("within", 1), ("after", 7), ("within", 8), ("before", 99), ("after", 250),
          ("within", 501), ("before", 750), ("after", 998), ("within", 999))  # fmt: skip
PLAN = ["--plan", "lean", "--model", "tiny", "--quiet"]


def fvl(*words: str) -> list[str]:
    return [sys.executable, "-m", "free_video_llm", *words]


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


LOOP = """
import sys
from free_video_llm import VideoLLM

llm = VideoLLM.from_pretrained("tiny")
for video in sys.argv[2:]:
    print(llm.watch(video, plan="lean").ask(sys.argv[1], plan="lean").text)
"""


def clips(folder: Path) -> None:
    """Nine clips and a question."""
    _, videos, _ = write_toy_set(folder, videos=9, questions=1)
    paths = sorted(map(str, videos.glob("*.mp4")))
    taken: dict[str, list[float]] = {"one command": [], "a Python loop": [], "nine commands": []}
    for _ in range(ROUNDS):
        taken["one command"].append(seconds_of(fvl("ask", *paths, QUESTION, *PLAN)))
        taken["a Python loop"].append(seconds_of([sys.executable, "-c", LOOP, QUESTION, *paths]))
        nine = [seconds_of(fvl("ask", path, QUESTION, *PLAN)) for path in paths]
        taken["nine commands"].append(sum(nine))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    one = middle["one command"]
    print("| nine clips, one question | s | one command ÷ it | promised |\n|---|---:|---:|---:|")
    for name, promised in (("one command", ""), ("a Python loop", "≤ 1.15"),
                           ("nine commands", "≤ 0.45")):  # fmt: skip
        print(f"| {name} | {middle[name]:.2f} | {one / middle[name]:.2f} | {promised} |")


def kills(folder: Path) -> None:
    """A thousand questions over a hundred clips."""
    source, videos, _ = write_toy_set(folder, videos=100, questions=10)
    rows = list(csv.DictReader(source.open(encoding="utf-8")))
    while len(rows) < 1000:  # a clip with few objects has fewer than ten questions
        rows.append(rows[len(rows) % 100])
    questions = folder / "questions.csv"
    with questions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "question", "answer"))
        for row in rows[:1000]:
            path = videos / f"{row['video_name']}.mp4"
            writer.writerow((path, row["question"], row["answer"]))
    whole, broken = folder / "whole.jsonl", folder / "broken.jsonl"
    command = ["ask", "--questions", str(questions), *PLAN, "--output"]
    taken = seconds_of(fvl(*command, str(whole)))
    killed = 0
    for kind, place in POINTS:
        done = subprocess.run(
            [sys.executable, __file__, "--killed", kind, str(place), *command, str(broken)],
            capture_output=True,
        )
        killed += done.returncode == -signal.SIGKILL
    seconds_of(fvl(*command, str(broken)))
    same = whole.read_bytes() == broken.read_bytes()
    count, came = len(whole.read_text().splitlines()), "the same file" if same else "ANOTHER FILE"
    print(f"{count:,} rows of 100 clips in {taken:.1f} s; killed {killed} times: {came}")
    if not same or killed != len(POINTS):
        sys.exit(1)


def run_killed(kind: str, place: int, words: list[str]) -> None:
    """The command, which kills itself at the row of that place."""
    append = LineWriter.append_text

    def counted(self: Any, texts: Any) -> None:
        for text in texts:
            there = self.path.read_bytes().count(b"\n")
            if there == place and kind == "within":
                os.write(self._file, text.encode()[: len(text) // 2])
            if there == place and kind != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            append(self, [text])
            if there == place:
                os.kill(os.getpid(), signal.SIGKILL)

    LineWriter.append_text = counted  # type: ignore[method-assign]
    from free_video_llm.cli.main import main as command

    sys.exit(command(words))


def main() -> None:
    if sys.argv[1:2] == ["--killed"]:
        run_killed(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("clips", "kills"))
    options = parser.parse_args()
    for name, part in (("clips", clips), ("kills", kills)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
