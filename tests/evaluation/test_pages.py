"""The pages of runs with the kept frames in them, the comparison's page, judges' agreement, and
figures in experiment logs."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_runs import EVIDENCE, row, write_judge, write_run
from PIL import Image

from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError, VideoError
from free_video_llm.evaluation.agreement import agreements, cohens_kappa
from free_video_llm.evaluation.report import Report, make_report
from free_video_llm.evaluation.statistics import Share
from free_video_llm.evaluation.tracking import figures, log_report
from free_video_llm.video.stills import Moment, read_moments
from media import make_pictures, make_video, number_of


def pictures_of(page: str) -> list[int]:
    """The numbers that a page's pictures show."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]
    return [number_of(np.asarray(picture)) for picture in opened]


def evidence(seconds: Sequence[float], region: Sequence[float] | None = None):  # type: ignore[no-untyped-def]
    kept = [
        {"sampled": i, "second": s, "score": 0.1 * i} | ({"region": region} if region else {})
        for i, s in enumerate(seconds)
    ]
    pathway = {"name": "slow", "tokens": 8, "cropped": region is not None, "frames": kept}
    sampled = {"seconds": list(seconds), "scores": [0.1] * len(seconds)}
    return {"duration_seconds": 2.0, "sampled": sampled, "pathways": [pathway]}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    make_video(folder / "a.mp4", frames=60, rate=30)
    return folder


# --- frames by their seconds --------------------------------------------------------------------


def test_frames_by_seconds_are_the_nearest_ones(tmp_path, videos):
    wanted = [Moment(1.0), Moment(0.51), Moment(99.0), Moment(0.0, (0.5, 0.0, 1.0, 1.0))]
    found = read_moments(str(videos / "a.mp4"), wanted, most_pixels=10**6)
    assert [number_of(pixels) for pixels in found[:3]] == [30, 15, 59]
    assert found[3].shape == (48, 32, 3)
    pictures = make_pictures(tmp_path / "pictures", frames=5)
    found = read_moments(str(pictures), [Moment(3.0), Moment(0.4)], most_pixels=10**6)
    assert [number_of(pixels) for pixels in found] == [3, 0]


def test_a_source_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        read_moments(str(tmp_path / "bad.mp4"), [Moment(0)], most_pixels=100)


# --- the report's page --------------------------------------------------------------------------


def test_the_report_shows_the_kept_frames_with_their_regions(tmp_path, videos, capsys):
    rows = [
        row(1, "cat", video="a") | {"evidence": evidence([0.5, 1.5], [0.25, 0.5, 0.75, 1.0])},
        row(2, "dog", video="lost") | {"evidence": evidence([0.5])},
    ]
    run = write_run(tmp_path / "run", rows)
    words = ["--videos", str(videos), "--logs", str(tmp_path / "logs")]
    assert main(["report", str(run.path), "--frames", *words]) == 0
    page = (tmp_path / "logs/toy/run/report.html").read_text()
    assert pictures_of(page) == [15, 45] * 2  # of the worst, and of the random rows
    assert page.count("left:25.00%;top:50.00%;width:50.00%;height:50.00%") == 4
    assert "no pictures: no video &#x27;lost&#x27;" in page
    assert "img-src data:" in page
    assert main(["report", str(run.path), *words]) == 0
    assert pictures_of((tmp_path / "logs/toy/run/report.html").read_text()) == []


def test_of_many_frames_those_nearest_to_the_question_are_shown(tmp_path, videos):
    many = evidence([i / 30 for i in range(20)])
    run = write_run(tmp_path / "run", [row(1, "cat", video="a") | {"evidence": many}])
    words = ["--frames", "--videos", str(videos), "--logs", str(tmp_path / "logs")]
    assert main(["report", str(run.path), *words]) == 0
    page = (tmp_path / "logs/toy/run/report.html").read_text()
    assert pictures_of(page) == list(range(8, 20)) * 2


# --- the comparison's page ----------------------------------------------------------------------


def test_the_comparison_shows_the_rows_on_which_two_runs_part(tmp_path, videos, capsys):
    said = {1: ("dog", "dog"), 2: ("dog", "cat"), 3: ("cat", "<b>dog"), 4: ("cow", "dog")}
    runs = [
        write_run(
            tmp_path / name,
            [
                row(i, pair[side], video="a") | {"evidence": evidence([i / 3 + side / 10])}
                for i, pair in said.items()
            ],
        )
        for side, name in enumerate(("first", "second"))
    ]
    page = tmp_path / "page.html"
    words = ["compare", *(str(run.path) for run in runs), "--page", str(page)]
    assert main([*words, "--frames", "--videos", str(videos)]) == 0
    text = page.read_text()
    assert str(page) in capsys.readouterr().out
    worse, better = text.split("Better in toy/second")
    assert "Better in toy/first: 1 row<" in worse
    assert worse.count("<article>") == 1
    assert better.count("<article>") == 2
    assert "question 1?" not in text
    assert "<b>dog" not in text
    assert "&lt;b&gt;dog" in text
    assert pictures_of(worse) == [20, 23]
    assert pictures_of(better) == [30, 33, 40, 43]
    assert main([*words, "--sample", "1"]) == 0
    assert page.read_text().count("<article>") == 2
    assert "2 rows, 1 of them" in page.read_text()


def test_pictures_without_a_page_are_refused(tmp_path, capsys):
    runs = [write_run(tmp_path / name, [row(1, "dog")]) for name in ("a", "b")]
    assert main(["compare", *(str(run.path) for run in runs), "--frames"]) == 2
    assert "--page" in capsys.readouterr().err


# --- judges -------------------------------------------------------------------------------------


def test_kappa_is_cohens():
    assert cohens_kappa(45, 15, 25, 15) == pytest.approx(0.1304347826)
    assert cohens_kappa(25, 35, 5, 35) == pytest.approx(0.2592592593)
    assert cohens_kappa(1, 0, 0, 1) == 1
    assert cohens_kappa(0, 1, 1, 0) == -1
    assert cohens_kappa(0, 0, 0, 0) is None


def test_judges_of_a_run_are_laid_side_by_side(tmp_path):
    run = write_run(tmp_path / "run", [row(i, "dog") for i in range(1, 7)])
    write_judge(run, {1: ("yes", 5), 2: ("yes", 4), 3: ("no", 1), 4: ("no", 0), 5: None})
    write_judge(run, {1: ("yes", 4), 2: ("no", 2), 3: ("no", 1), 5: ("yes", 5)}, name="k")
    report = make_report(run)
    (pair,) = report.agreement
    assert (pair.first, pair.second) == ("j", "k")
    assert pair.same == Share(2, 3)  # rows 1, 2 and 3 have both
    assert pair.yes == (2, 1)
    assert pair.kappa == pytest.approx(0.4)
    assert pair.score_difference == pytest.approx(-1.0)
    assert report.to_dict()["agreement"] == [pair.to_dict()]
    words = ["report", str(run.path), "--logs", str(tmp_path / "logs")]
    assert main(words) == 0
    markdown = (tmp_path / "logs/toy/run/report.md").read_text()
    assert "| j and k | 3 | 66.7 % [20.8, 93.9] | 0.40 | 2 and 1 | -1.00 |" in markdown


def test_one_judge_agrees_with_nobody(tmp_path):
    run = write_run(tmp_path / "run", [row(1, "dog")])
    write_judge(run, {1: ("yes", 5)})
    assert make_report(run).agreement == ()
    assert agreements({}) == ()


# --- experiment logs ----------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path):  # type: ignore[no-untyped-def]
    rows = [row(1, "dog"), row(2, "cat", kind="color"), row(3, None)]
    run = write_run(tmp_path / "run", [r | {"evidence": EVIDENCE} for r in rows[:2]] + rows[2:])
    write_judge(run, {1: ("yes", 5), 2: ("no", 1)})
    return make_report(run)


def test_figures_have_names_and_no_holes(judged):
    found = figures(judged)
    assert found["contains"] == pytest.approx(1 / 3)
    assert found["judge/j/accuracy"] == pytest.approx(1 / 3)
    assert found["kind/color/contains"] == 0
    assert found["visual_tokens"] == 10
    assert all(isinstance(value, float) for value in found.values())


def log(report: Report, tracker: str, folder: Path, **settings: str) -> None:
    """As a command, in a process of its own: trackers read their settings when imported."""
    pytest.importorskip(tracker, reason="the extra tracking is not installed")
    words = [sys.executable, "-m", "free_video_llm", "report", str(report.folder), "--json"]
    words += ["--logs", str(folder / "logs"), "--log", tracker, "--project", "ours"]
    done = subprocess.run(words, env=os.environ | settings, capture_output=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "run"


def test_trackio_gets_them(judged, tmp_path):
    log(judged, "trackio", tmp_path, TRACKIO_DIR=str(tmp_path / "kept"))
    (file,) = tmp_path.glob("kept/ours*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, metrics from metrics").fetchall()
    assert {name for name, _ in rows} == {"toy-run"}
    assert any('"judge/j/score":3.0' in _text(metrics) for _, metrics in rows)


def _text(value: str | bytes) -> str:
    return (value.decode() if isinstance(value, bytes) else value).replace(" ", "")


def test_wandb_gets_them_offline(judged, tmp_path):
    log(judged, "wandb", tmp_path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    held = file.read_bytes()
    assert b"toy-run" in held
    assert b"judge/j/accuracy" in held


def test_other_logs_are_refused(judged):
    with pytest.raises(ConfigError, match="trackio, wandb"):
        log_report(judged, to="mlflow", project="x")
