"""Kept frames as pictures: at the clip's own sharpness, listed, and without a language model."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from free_video_llm import ConfigError, Plan, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.samples import find
from free_video_llm.show import save_frames

QUESTION = "What color is the star?"


@pytest.fixture(scope="module")
def scorer() -> VideoLLM:
    return VideoLLM.for_frames("tiny")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    with av.open(find("sample:star")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_whole_frames_are_those_of_the_clip(scorer, pictures, tmp_path: Path):
    plan = Plan.preset("lean")
    video = scorer.watch("sample:star")
    listed = save_frames(video.find(QUESTION, plan=plan), plan, tmp_path)
    assert json.loads((tmp_path / "frames.json").read_text(encoding="utf-8")) == listed
    assert len(listed) == 4
    answer = VideoLLM.from_pretrained("tiny").watch("sample:star").ask(QUESTION, plan=plan)
    kept = answer.evidence.pathways[0].kept
    assert [entry["second"] for entry in listed] == [round(one.second, 3) for one in kept]
    for entry in listed:
        saved = np.asarray(Image.open(tmp_path / entry["file"]), int)
        assert saved.shape == pictures[0].shape
        assert abs(saved - pictures[entry["frame"]]).mean() < 6  # JPEG
        assert f"{entry['second']:.3f}s.jpg" in entry["file"]


def test_regions_are_cut_and_an_overview_is_one_grid(scorer, tmp_path: Path):
    plan = Plan.preset("paper")
    listed = save_frames(scorer.watch("sample:star").find(QUESTION, plan=plan), plan, tmp_path)
    assert listed[0]["file"] == "overview.jpg"
    assert listed[0]["second"] is None
    part = next(entry for entry in listed if entry["file"].endswith("_part.jpg"))
    left, top, right, bottom = part["region"]
    wide, high = Image.open(tmp_path / part["file"]).size
    with av.open(find("sample:star")) as container:
        stream = container.streams.video[0]
        assert wide == pytest.approx((right - left) * stream.width, abs=1.5)
        assert high == pytest.approx((bottom - top) * stream.height, abs=1.5)
    assert "the part of the frame that matters" in part["words"]


def test_a_scorer_alone_answers_nothing(scorer):
    with pytest.raises(ConfigError, match="no language model is loaded"):
        scorer.watch("sample:star", frames=4).ask(QUESTION, plan="lean")


def test_a_folder_that_cannot_be_written_is_said(scorer, tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    evidence = scorer.watch("sample:star", frames=4).find(QUESTION)
    with pytest.raises(ConfigError, match="cannot write"):
        save_frames(evidence, Plan.preset("lean"), tmp_path / "file" / "below")


def test_the_commands(tmp_path: Path, capsys):
    out = tmp_path / "out"
    assert main(["frames", "sample:star", QUESTION, "--out", str(out)]) == 0
    said, err = capsys.readouterr()
    assert len(said.splitlines()) == 4
    assert "frames.json lists them" in err
    assert main(["frames", "sample:star", "a star", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["file"]
    command = ["ask", "sample:star", QUESTION, "Is there a star?", "--plan", "lean", "--json"]
    assert main([*command, "--save-frames", str(tmp_path / "asked")]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    for number, answer in enumerate(answers, start=1):
        assert (tmp_path / "asked" / str(number) / "frames.json").is_file()
        assert all(Path(path).is_file() for path in answer["frames"])
