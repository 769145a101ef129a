"""The toy set, made by its command and evaluated end to end with the embedded model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from free_video_llm.benchmarks import get_set, read_questions
from free_video_llm.benchmarks.toy import COLUMNS
from free_video_llm.cli.main import main
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.config_file import print_config
from free_video_llm.models.folder import TINY

VIDEOS = 6


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    words = ["--videos", str(VIDEOS), "--questions", "4", "--seed", "3"]
    assert main(["prepare", "toy", "--out", str(folder), *words]) == 0
    return folder


def test_it_is_in_the_form_of_the_real_files(toy: Path):
    with (toy / "Toy_QA.csv").open(encoding="utf-8", newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    questions = list(read_questions(get_set("toy"), toy / "Toy_QA.csv"))
    assert len({q.video for q in questions}) == VIDEOS
    assert VIDEOS * 3 <= len(questions) <= VIDEOS * 4
    assert not [q for q in questions if q.problem]


def test_equal_seeds_give_equal_questions(toy: Path, tmp_path: Path):
    main(
        [
            "prepare",
            "toy",
            "--out",
            str(tmp_path),
            "--videos",
            "2",
            "--questions",
            "4",
            "--seed",
            "3",
        ]
    )
    again = (tmp_path / "Toy_QA.csv").read_text().splitlines()
    assert (toy / "Toy_QA.csv").read_text().splitlines()[: len(again)] == again


@pytest.mark.skipif(not (TINY / "config.json").is_file(), reason="the embedded model is not here")
def test_tiny_is_evaluated_end_to_end(toy: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Task(set="toy", questions=str(toy / "Toy_QA.csv"), videos=str(toy / "videos"))
    config = RunConfig(name="tiny", tasks=(task,), frames=24, max_new_tokens=8)
    Path("tiny.yaml").write_text(print_config(config))
    assert main(["eval", "tiny.yaml"]) == 0
    assert main(["report", "outputs/artifacts/toy/tiny"]) == 0
    capsys.readouterr()
    report = json.loads(Path("outputs/logs/toy/tiny/report.json").read_text())
    total = report["total"]
    assert total["asked"] == total["answered"] > 0
    assert total["accuracy"]["exact"]["value"] > 0.4
    assert report["per_question"]["visual_tokens"] > 0
