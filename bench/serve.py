"""`fvl serve` under load: fifty clients at once, a thousand requests, what they wait and whether
the server's memory stays.

    python bench/serve.py                  # two minutes on two cores; `tiny`
    python bench/serve.py --requests 100   # that it runs

The server is a process of its own. Every answer is compared with the one in process. Twice: with
room in the queue for all clients, and for a third of them, where the others are told to come again
(429).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from free_video_llm import VideoLLM

CLIENTS = 50
PLAN = "lean"
VIDEOS = ("star", "needle", "cuts", "crossing", "glimpse", "steady")
QUESTIONS = ("What color is the star?", "Where is the moon?", "Is there a triangle?",
             "What shape is the pink object?")  # fmt: skip


@dataclass
class Seen:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)
    together: list[int] = field(default_factory=list)


def body_of(number: int) -> dict[str, Any]:
    video = f"sample:{VIDEOS[number % len(VIDEOS)]}"
    question = QUESTIONS[number // len(VIDEOS) % len(QUESTIONS)]
    parts = [{"type": "video_url", "video_url": {"url": video}},
             {"type": "text", "text": question}]  # fmt: skip
    return {"messages": [{"role": "user", "content": parts}]}


def answers() -> list[str]:
    """Every question's answer in process."""
    llm = VideoLLM.from_pretrained("tiny")
    videos = [llm.watch(f"sample:{name}") for name in VIDEOS]
    return [
        videos[number % len(VIDEOS)].ask(QUESTIONS[number // len(VIDEOS)], plan=PLAN).text
        for number in range(len(VIDEOS) * len(QUESTIONS))
    ]


async def ask(url: str, requests: int, right: list[str], seen: Seen) -> None:
    """Fifty clients, each of which asks again as soon as it was answered."""
    numbers = iter(range(requests))

    async def client(http: httpx.AsyncClient) -> None:
        for number in numbers:
            start = time.perf_counter()
            reply = await http.post(f"{url}/chat/completions", json=body_of(number))
            seen.statuses[reply.status_code] += 1
            if reply.status_code == 200:
                seen.seconds.append(time.perf_counter() - start)
                read = json.loads(reply.text)
                seen.together.append(read["fvl"]["answered_together"])
                text = read["choices"][0]["message"]["content"]
                seen.wrong += text != right[number % len(right)]
            else:
                await asyncio.sleep(float(reply.headers.get("retry-after", 0)) / 10)

    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(timeout=300, limits=limits) as http:
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))


def measure(requests: int, queue: int, right: list[str]) -> list[str]:
    """One row of the table."""
    command = [sys.executable, "-m", "free_video_llm", "serve", "--port", "0", "--model", "tiny",
               "--plan", PLAN, "--max-queue", str(queue), "--log", "none"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[2]
        try:
            asyncio.run(ask(url, 2 * CLIENTS, right, Seen()))  # warm
            process, seen = psutil.Process(server.pid), Seen()
            before = process.memory_info().rss
            start = time.perf_counter()
            asyncio.run(ask(url, requests, right, seen))
            whole = time.perf_counter() - start
            grown = (process.memory_info().rss - before) / 1e6
        finally:
            server.terminate()
    fiftieth, ninety_fifth = (
        statistics.quantiles(seen.seconds, n=100)[place] for place in (49, 94)
    )
    return [
        str(queue), f"{requests:,}", f"{seen.statuses[200]:,}", f"{seen.statuses[429]:,}",
        str(sum(n for status, n in seen.statuses.items() if status not in (200, 429))),
        str(seen.wrong), f"{seen.statuses[200] / whole:.0f}",
        f"{statistics.mean(seen.together):.1f}",
        f"{fiftieth:.2f}", f"{ninety_fifth:.2f}", f"{grown:+.0f}",
    ]  # fmt: skip


HEADER = ("queue", "requests", "answered", "429", "others", "wrong", "answers a second",
          "answered together", "p50, s", "p95, s", "memory, MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    right = answers()
    print("| " + " | ".join(HEADER) + " |\n" + "|---:" * len(HEADER) + "|")
    for queue in (64, CLIENTS // 3):
        print("| " + " | ".join(measure(options.requests, queue, right)) + " |", flush=True)


if __name__ == "__main__":
    main()
