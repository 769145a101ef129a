"""Asked blind: nothing of the video reaches the model, whatever kind it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faulty_server import serve
from free_video_llm import VideoLLM
from free_video_llm.cli.main import main

STAR = "What color is the star?"


def test_a_model_that_is_given_tokens_is_given_none():
    llm = VideoLLM.from_pretrained("tiny")
    video, other = llm.watch("sample:star", frames=8), llm.watch("sample:steady", frames=8)
    answers = [v.ask(STAR, plan=p, blind=True) for v in (video, other) for p in ("paper", "lean")]
    assert len({a.token_ids for a in answers}) == 1  # whatever there was to be seen
    assert {len(a.visual_tokens) for a in answers} == {0}
    assert answers[0].evidence.tokens == 0
    assert answers[0].to_dict()["tokens"]["visual"] == 0
    seeing = video.ask(STAR, plan="lean")
    assert answers[0].prompt_tokens == seeing.prompt_tokens - 144
    both = llm.ask([(video, STAR), (other, "Where is the moon?")], plan="lean", blind=True)
    assert both[0].token_ids == answers[0].token_ids


def test_a_model_that_is_shown_pictures_is_shown_none():
    pytest.importorskip("openai", reason="the extra server is not installed")
    with serve(lambda user, before: "ok:red") as server:
        llm = VideoLLM.from_pretrained("openai:m", base_url=f"{server.url}/v1", scorer="tiny")
        llm.watch("sample:star", frames=8).ask(STAR, plan="paper", blind=True)
    (message,) = server.seen[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["text"]


def test_baselines_of_a_set_are_a_sweep(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "toy", "--videos", "3", "--questions", "3"]) == 0
    (tmp_path / "base.yaml").write_text(
        "sets: [{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}]\n"
        "model: tiny\nframes: 8\nplan: [single-frame, lean]\nblind: [true, false]\n"
    )
    assert main(["eval", "base.yaml"]) == 0
    tokens = {}
    for folder in (tmp_path / "outputs/artifacts/toy").iterdir():
        rows = [json.loads(line) for line in (folder / "results.jsonl").open()]
        tokens[folder.name] = {row["tokens"]["visual"] for row in rows}
    assert tokens == {
        "base-single-frame-True": {0}, "base-single-frame-False": {144},
        "base-lean-True": {0}, "base-lean-False": {144},
    }  # fmt: skip
    capsys.readouterr()
    runs = sorted(map(str, (tmp_path / "outputs/artifacts/toy").iterdir()))
    assert main(["report", *runs]) == 0
    assert "base-lean-True" in capsys.readouterr().out


def test_choices_by_likelihood_in_a_run(tmp_path: Path, monkeypatch):
    """Never an answer that names no option."""
    monkeypatch.chdir(tmp_path)
    rows = [{"video": "star", "question": STAR, "options": ["blue", "red"], "answer": "red"}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from free_video_llm.samples import find

    (tmp_path / "star.mp4").write_bytes(Path(find("sample:star")).read_bytes())
    (tmp_path / "r.yaml").write_text(
        "sets: [{set: own, questions: q.jsonl, videos: .}]\nmodel: tiny\nplan: lean\n"
        "choose: options\n"
    )
    assert main(["eval", "r.yaml"]) == 0
    (row,) = map(json.loads, (tmp_path / "outputs/artifacts/own/r/results.jsonl").open())
    assert row["prediction"] == "red"
