"""What is in deploy/: linted, and its commands run in a fresh folder where no builder is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from free_video_llm.cli.main import build_parser, main

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
KEY = "a-key-of-this-test"


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", "\n".join(
        line for line in path.read_text().splitlines() if not line.startswith("#")
    ))  # fmt: skip
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_hadolint_has_nothing_to_say(path):
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (the extra dev has it)")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_copies_what_there_is_and_installs_extras_that_there_are(path):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = instructions(path)
    for name, rest in found:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    runs = " ".join(rest for name, rest in found if name == "RUN")
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", runs)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines()
                  if line.startswith("torch=="))  # fmt: skip
    assert pinned in runs


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_s_command_serves_and_is_found_healthy(path, tmp_path, monkeypatch):
    """Its ENTRYPOINT with its CMD, below a folder of its own, and its HEALTHCHECK."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
    found = dict(instructions(path))
    words = [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]
    assert words[0] == "fvl"
    words = [word.replace("/data", str(tmp_path)) for word in words[1:]]
    server = subprocess.Popen(
        [sys.executable, "-m", "free_video_llm", *words, "--port", "0"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "FVL_API_KEYS": KEY},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = re.search(r":(\d+)/v1", server.stdout.readline())[1]
        (check,) = re.findall(r"CMD (\[.*\])", found["HEALTHCHECK"])
        command = json.loads(check)
        assert command[0] == "python"
        asked = [sys.executable, *(word.replace("8000", port) for word in command[1:])]
        assert subprocess.run(asked).returncode == 0
        assert (tmp_path / "jobs").is_dir()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def test_compose_starts_commands_that_there_are():
    made = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = made["services"]["fvl"]
    options = build_parser().parse_args(list(service["command"]))
    assert (options.model, options.base_url) == (
        "ollama:qwen2.5vl:3b",
        "http://ollama:11434/v1",
    )
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() in (
        DOCKERFILES
    )
    assert set(service["depends_on"]) <= set(made["services"])
    named = {volume.split(":")[0] for s in made["services"].values() for volume in s["volumes"]}
    assert {name for name in named if not name.startswith(".")} == set(made["volumes"])


def test_the_cluster_s_script_answers_its_shard(tmp_path, monkeypatch, capsys):
    """Both shards of a set, and again: nothing is left to do."""
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "toy", "--videos", "6", "--questions", "2"]) == 0
    (tmp_path / "run.yaml").write_text(
        "sets: [{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}]\n"
        "model: tiny\nplan: lean\nframes: 8\n"
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "fvl").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m free_video_llm "$@"\n'
    )
    (folder / "fvl").chmod(0o755)
    about = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_COUNT": "2"}
    said = []
    for number in ("1", "2", "1"):
        environment = {**os.environ, **about, "SLURM_ARRAY_TASK_ID": number}
        done = subprocess.run(
            ["bash", str(DEPLOY / "slurm.sh"), "run.yaml"], capture_output=True, text=True,
            env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "(0 new" in said[2]
    results = tmp_path / "outputs/artifacts/toy/run"
    rows = [line for path in results.glob("results*.jsonl") for line in path.open()]
    assert len(rows) == len({json.loads(row)["row"] for row in rows}) == 12
    lost = subprocess.run(["bash", str(DEPLOY / "slurm.sh")], capture_output=True, text=True)
    assert "name a configuration" in lost.stderr
