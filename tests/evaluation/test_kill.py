"""Runs and judgings killed by SIGKILL at chosen points, over and over: nothing lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from kill_runs import POINTS
from made_runs import row, write_run
from test_run import answers, lines

from faulty_server import serve
from free_video_llm.evaluation.config import RunConfig
from free_video_llm.evaluation.config_file import print_config
from free_video_llm.evaluation.judge_server import Judge
from free_video_llm.evaluation.run import run_task
from free_video_llm.evaluation.run_dir import RunFolder

SCRIPT = Path(__file__).with_name("kill_runs.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def start(*words: str) -> dict[str, int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def write_config(config: RunConfig, folder: Path) -> str:
    path = folder / "run.yaml"
    path.write_text(print_config(config))
    return str(path)


def test_a_run_killed_at_chosen_points_ends_as_one_that_was_not(config, loader, tmp_path):
    config = replace(config, batch=1)
    outcome = start("run", write_config(config, tmp_path))
    assert outcome == {"killed": len(POINTS), "status": 0}
    assert lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert answers(config) == answers(whole)


def test_the_command_itself_killed_and_given_again(config, loader, tmp_path):
    config = replace(config, batch=1)
    words = ["eval", write_config(config, tmp_path)]
    script = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import kill_runs; "
        "kill_runs.jsonl.os = kill_runs.DyingSystem(4, 'middle'); "
        "from free_video_llm.cli.main import main; main(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", script, *words], capture_output=True)
    assert killed.returncode == -9
    results = Path(config.outputs) / "toy" / "run" / "results.jsonl"
    assert len(results.read_bytes().splitlines()) == 4  # three rows and half of one
    words = [sys.executable, "-m", "free_video_llm", *words]
    assert subprocess.run([*words, "--json"], capture_output=True, check=True).returncode == 0
    assert lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert answers(config) == answers(whole)


def test_a_judging_killed_at_chosen_points_loses_and_repeats_nothing(config, tmp_path):
    pytest.importorskip("openai", reason="the judge extra is not installed")
    count = 60
    folder = Path(config.outputs) / "toy" / "run"
    write_run(folder, [row(i, f"prediction {i} end") for i in range(1, count + 1)])

    def script(user: str, before: int) -> str:
        number = int(user.split("prediction ")[1].split(" end")[0])
        return f"ok:{{'pred': 'yes', 'score': {number % 6}}}"

    with serve(script) as server:
        outcome = start("judge", write_config(config, tmp_path), server.url)
        slug = Judge(model="judge-1", base_url=server.url).slug
    assert outcome == {"killed": len(POINTS), "status": 0}
    kept = [
        json.loads(x) for x in (Path(config.replies) / f"{slug}.jsonl").read_text().splitlines()
    ]
    assert len(kept) == len({reply["key"] for reply in kept}) == count
    judged = [
        json.loads(x)
        for x in (RunFolder(folder).path / f"judge-{slug}.jsonl").read_text().splitlines()
    ]
    assert {line["row"]: line["score"] for line in judged} == {
        i: i % 6 for i in range(1, count + 1)
    }
    # Only a request that was under way when the process died can have been sent twice.
    assert len(server.seen) <= count + 2 * len(POINTS)
