"""The same run by one process and by two Ray workers: identical rows, and a resume across both."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_run import answers, lines

from free_video_llm.config import RunConfig, print_config
from free_video_llm.errors import MissingExtraError
from free_video_llm.evaluation.run import run_task

RAY = importlib.util.find_spec("ray") is not None


def command(config: RunConfig, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = folder / f"{config.name}.yaml"
    path.write_text(print_config(config))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return subprocess.run(
        [sys.executable, "-m", "free_video_llm.cli.main", "eval", str(path), *words],
        capture_output=True, text=True, timeout=500, env=environment,
    )  # fmt: skip


@pytest.mark.skipif(not RAY, reason="the cluster extra is not installed")
def test_two_ray_workers_give_the_rows_of_one_process(config, loader, tmp_path):
    run_task(config, config.tasks[0], load=loader, limit=9)
    done = command(config, tmp_path, "--workers", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert lines(config) == 40
    whole = replace(config, name="whole")
    run_task(whole, whole.tasks[0], load=loader)
    assert answers(config) == answers(whole)


@pytest.mark.skipif(RAY, reason="Ray is installed")
def test_workers_without_ray_name_the_extra(config):
    with pytest.raises(MissingExtraError, match=r"free-video-llm\[cluster\]"):
        run_task(config, config.tasks[0], workers=2)
