"""The same run by one process and by two Ray workers: identical rows, and a resume across both."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_rows
from test_run import lines

from free_video_llm.cli.main import main
from free_video_llm.errors import MissingExtraError
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.config_file import print_config
from free_video_llm.evaluation.run import run_task
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.models.folder import TINY

RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not RAY, reason="the cluster extra is not installed")


def environment() -> dict[str, str]:
    return os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


def start(config: RunConfig, folder: Path, *words: str) -> subprocess.Popen[str]:
    path = folder / f"{config.name}.yaml"
    path.write_text(print_config(config))
    return subprocess.Popen(
        [sys.executable, "-m", "free_video_llm.cli.main", "eval", str(path), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def finish(running: subprocess.Popen[str]) -> str:
    out, error = running.communicate(timeout=500)
    assert running.returncode == 0, error[-3000:]
    return out


def rows(config: RunConfig) -> list[dict[str, Any]]:
    """All that a run says, apart from how long it took."""
    folder = RunFolder(Path(config.outputs) / "toy" / config.name)
    found = made_rows(folder)
    return [{key: value for key, value in row.items() if key != "timings"} for row in found]


@needs_ray
@pytest.mark.skipif(not (TINY / "config.json").is_file(), reason="the embedded model is not here")
def test_two_ray_workers_give_the_rows_of_one_process(tmp_path):
    words = ["--videos", "6", "--questions", "4", "--seed", "5"]
    assert main(["prepare", "toy", "--out", str(tmp_path / "toy"), *words]) == 0
    task = Task(
        set="toy",
        questions=str(tmp_path / "toy" / "Toy_QA.csv"),
        videos=str(tmp_path / "toy" / "videos"),
    )
    alone = RunConfig(
        name="alone", tasks=(task,), frames=16, max_new_tokens=8, batch=4,
        outputs=str(tmp_path / "artifacts"),
    )  # fmt: skip
    both = replace(alone, name="both")
    finish(start(alone, tmp_path))
    cache = tmp_path / "features"
    told = json.loads(
        finish(start(both, tmp_path, "--workers", "2", "--json", "--cache", str(cache)))
    )
    assert told[0]["answered"] == told[0]["new"] == len(rows(alone)) > 20
    assert rows(both) == rows(alone)
    assert len(list(cache.iterdir())) == 6


@needs_ray
def test_a_run_whose_ray_driver_was_killed_is_finished_by_one_process(config, loader, tmp_path):
    path = tmp_path / "killed.yaml"
    path.write_text(print_config(config))
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import kill_runs; "
        "kill_runs.jsonl.os = kill_runs.DyingSystem(3, 'middle'); "
        "from free_video_llm.cli.main import main; main(sys.argv[1:])"
    )
    words = ["eval", str(path), "--workers", "2"]
    killed = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, env=environment()
    )
    assert killed.returncode == -signal.SIGKILL
    assert 0 < lines(config) < 40
    run_task(config, config.tasks[0], load=loader)
    assert lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert rows(config) == rows(whole)


@needs_ray
def test_a_worker_that_cannot_start_is_one_line(config, tmp_path):
    running = start(replace(config, model=str(tmp_path)), tmp_path, "--workers", "1")
    _, error = running.communicate(timeout=500)
    assert running.returncode == 2
    assert "a worker could not start: " in error
    assert "Traceback" not in error


@pytest.mark.skipif(RAY, reason="Ray is installed")
def test_workers_without_ray_name_the_extra(config):
    with pytest.raises(MissingExtraError, match=r"free-video-llm\[cluster\]"):
        run_task(config, config.tasks[0], workers=2)
