"""vLLM in the process that builds the tokens, alone and in a Ray worker; run by `make test-vllm` in
the environment that has vLLM."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from free_video_llm import VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.evaluation.run_dir import find_run

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")
WORDS = ["--videos", "5", "--questions", "4", "--seed", "12"]
CONFIG = """
plan: paper
frames: 20
max_new_tokens: 8
model: tiny
{more}
sets: [{{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}}]
"""


def test_the_same_ids_as_by_transformers(tmp_path: Path):
    assert main(["prepare", "toy", "--out", str(tmp_path), *WORDS]) == 0
    rows = list(csv.DictReader((tmp_path / "Toy_QA.csv").open(encoding="utf-8")))
    answers = []
    for engine in (None, "vllm"):
        llm = VideoLLM.from_pretrained("tiny", engine=engine)
        names = {row["video_name"] for row in rows}
        videos = {n: llm.watch(tmp_path / "videos" / f"{n}.mp4", frames=20) for n in names}
        pairs = [(videos[row["video_name"]], row["question"]) for row in rows]
        answers.append(llm.ask(pairs, plan="paper", max_new_tokens=8))
    ids = [[answer.token_ids for answer in some] for some in answers]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 20


def test_a_run_s_ray_workers_may_decode_by_it(tmp_path: Path, monkeypatch):
    """`engine: vllm` in a configuration, `--workers` on the command line."""
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "toy", "--out", "toy", *WORDS]) == 0
    said = []
    for name, more, words in (("here", "", []), ("vllm", "engine: vllm", ["--workers", "1"])):
        Path(f"{name}.yaml").write_text(CONFIG.format(more=more))
        ours = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        command = [sys.executable, "-m", "free_video_llm", "eval", f"{name}.yaml", *words]
        done = subprocess.run(command, env=os.environ | ours, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        run = find_run(f"outputs/artifacts/toy/{name}")
        rows = sorted(run.rows(), key=lambda row: row.question.row)
        said.append([row.answer and row.answer.prediction for row in rows])
    assert said[0] == said[1]
    assert len(said[0]) == 20
