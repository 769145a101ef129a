"""Ask everything: each world's clips under every plan, into one line of JSON for each clip.

    python study/run.py --out outputs/study --jobs 2        # an hour on two cores; resumes
    python study/report.py outputs/study                    # docs/study.md and its pictures

A clip that has its line is not asked about again, so that a run can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from free_video_llm.evaluation.answering import short_evidence
from free_video_llm.evaluation.evidence_score import Truth, score_evidence
from free_video_llm.evaluation.jsonl import LineWriter, read_lines
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.tiny.questions import Question, vary
from free_video_llm.tiny.truth import boxes_of, moments_of
from free_video_llm.tiny.videos import Clip, write_clip
from methods import CANDIDATES, LONG, METHODS, Method
from worlds import WORLDS

#: Methods were chosen on seeds of other forms (training/score_tiny.py); these are only reported.
SEED = 20_261_128
#: Questions of each world.
QUESTIONS = {
    "ordinary": 1002, "needle": 1002, "corner": 600, "crowd": 600, "global": 600, "long": 240,
    "order": 600,
}  # fmt: skip


def ask_clip(llm: VideoLLM, world: str, number: int, seed: int) -> dict[str, Any]:
    """One clip of a world, drawn, encoded and asked about under every plan."""
    rng = np.random.default_rng([seed, list(WORLDS).index(world), number])
    clip, questions = WORLDS[world](rng)
    texts = [vary(question.text, rng) for question in questions]
    height = 96 if world == "long" else 192
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(clip, Path(folder) / "clip.mp4", rng, height=height)
        rows, watching = [], {}
        for candidates, how in CANDIDATES.items() if world == "long" else [("", {"frames": 50})]:
            start = time.perf_counter()
            video = llm.watch(path, **how)  # type: ignore[arg-type]
            watching[candidates] = time.perf_counter() - start
            methods = LONG if world == "long" else METHODS
            rows += _ask(llm, video, clip, questions, texts, methods, candidates)
    return {
        "clip": number,
        "questions": [
            {"kind": q.kind, "text": text, "answer": q.answer}
            for q, text in zip(questions, texts, strict=True)
        ],
        "watching": watching,
        "rows": rows,
    }


def _ask(
    llm: VideoLLM,
    video: Video,
    clip: Clip,
    questions: Sequence[Question],
    texts: Sequence[str],
    methods: Sequence[Method],
    candidates: str,
) -> list[dict[str, Any]]:
    truths = [Truth(tuple(moments_of(clip, q)), tuple(boxes_of(clip, q))) for q in questions]
    rows = []
    for method in methods:
        plan = resolve_plan(method.plan)
        answers = llm.ask([(video, text) for text in texts], plan=plan, max_new_tokens=6)
        scores = []
        for answer, truth in zip(answers, truths, strict=True):
            evidence = short_evidence(answer.to_dict()["evidence"])
            score = score_evidence(evidence, truth) if truth.moments else None
            scores.append(None if score is None else vars(score))
        rows.append(
            {
                "group": method.group,
                "name": method.name,
                "plan": method.plan,
                "candidates": candidates,
                "scored": [len(answer.evidence.frames) for answer in answers],
                "tokens": [len(answer.visual_tokens) for answer in answers],
                "said": [answer.text.strip().lower() for answer in answers],
                "evidence": scores,
            }
        )
    return rows


def run_world(world: str, out: Path, *, questions: int, seed: int, job: int, jobs: int) -> None:
    """The clips of one job of a world: every `jobs`-th one."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    path = out / f"{world}-{job}of{jobs}.jsonl"
    done = {line["clip"]: len(line["questions"]) for line in read_lines(path)}
    llm = VideoLLM.from_pretrained("tiny")
    share, number, asked = -(-questions // jobs), job, 0
    with LineWriter(path) as writer:
        while asked < share:
            if number not in done:
                line = ask_clip(llm, world, number, seed)
                writer.append([line])
                done[number] = len(line["questions"])
            asked += done[number]
            number += jobs
            print(f"\r{world} {job + 1}/{jobs}: {asked} of {share}  ", end="", file=sys.stderr)
    print(file=sys.stderr)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/study"))
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--questions", type=int, help="of each world (default: as published)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    about = {"seed": options.seed, "questions": options.questions or QUESTIONS}
    described = options.out / "study.json"
    if described.exists() and json.loads(described.read_text(encoding="utf-8")) != about:
        sys.exit(f"{options.out} holds another study: choose another --out")
    described.write_text(json.dumps(about) + "\n", encoding="utf-8")
    begin = time.perf_counter()
    for world in options.worlds:
        count = options.questions or QUESTIONS[world]
        started = [
            multiprocessing.get_context("spawn").Process(
                target=run_world,
                args=(world, options.out),
                kwargs={
                    "questions": count,
                    "seed": options.seed,
                    "job": job,
                    "jobs": options.jobs,
                },
            )
            for job in range(options.jobs)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        if any(process.exitcode for process in started):
            sys.exit(f"{world}: a process failed; what was asked is kept, run it again")
    print(f"asked in {time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
