"""The subcommands of evaluation: one way through them, their exit codes, their one-line errors."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import row, write_run

from faulty_server import GOOD, serve
from free_video_llm import VideoLLM
from free_video_llm.cli.main import build_parser, main
from free_video_llm.evaluation.config_file import print_config
from free_video_llm.evaluation.run import run_task

COMMANDS = ("prepare", "check", "eval", "judge", "report", "compare")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"fvl {command}" in text


def test_from_questions_to_a_report(config, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(print_config(config))
    assert main(["check", str(path), "--json"]) == 0
    (check,) = json.loads(capsys.readouterr().out)
    assert (check["rows"], check["videos"], check["found"], check["missing"]) == (40, 8, 8, {})
    cache = tmp_path / "features"
    assert main(["eval", str(path), "--limit", "6", "--json", "--cache", str(cache)]) == 0
    assert len(list(cache.iterdir())) == 6  # the first six rows are on six videos
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["answered"], outcome["not_reached"]) == (6, 34)
    folder = outcome["folder"]
    assert main(["report", folder, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["total"]["answered"] == 6
    assert (Path(config.logs) / "toy" / "run" / "report.html").is_file()
    assert main(["compare", folder, folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["difference"]["value"] == 0


def test_one_model_is_loaded_for_all_sets_and_none_where_all_is_done(
    config, model, tmp_path, monkeypatch, capsys
):
    loaded: list[str] = []

    def load(name: str, **_: object) -> VideoLLM:
        loaded.append(name)
        return model

    monkeypatch.setattr(VideoLLM, "from_pretrained", load)
    tasks = (config.tasks[0], replace(config.tasks[0], set="tgif"))
    path = tmp_path / "run.yaml"
    path.write_text(print_config(replace(config, tasks=tasks)))
    assert main(["eval", str(path)]) == 0
    assert loaded == [config.model]
    capsys.readouterr()
    assert main(["eval", str(path), "--json"]) == 0
    assert loaded == [config.model]
    outcomes = json.loads(capsys.readouterr().out)
    assert [(o["answered"], o["new"]) for o in outcomes] == [(40, 0), (40, 0)]


def test_judging_shows_tokens_and_cost_before_and_after(tmp_path, capsys, monkeypatch):
    pytest.importorskip("openai", reason="the judge extra is not installed")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run = write_run(tmp_path / "run", [row(1, "dog"), row(2, "cat")])
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        words = ["judge", str(run.path), "--judge", "openai:judge-1", "--base-url", server.url]
        words += ["--replies", str(tmp_path / "replies"), "--price", "10/20"]
        assert main([*words, "--dry-run"]) == 0
        assert "2 requests to make" in (text := capsys.readouterr().out)
        assert "(at $10 in and $20 out a million)" in text
        assert not server.seen
        assert main(words) == 0
        told = capsys.readouterr()
        assert "2 requests to make" in told.err
        assert "2 judged" in told.out
        assert "$0.0045" in told.out  # 400 tokens in, 24 out
        assert "judge-1-exact-0613" in told.out
        server.script = lambda user, before: "ok:no"
        assert main([*words, "--seed", "5", "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["judge_failed"] == 2


def test_check_names_what_is_missing_and_unreadable(config, clips, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    for clip in sorted(clips.iterdir())[:6]:
        (tmp_path / "videos" / clip.name).symlink_to(clip)
    (tmp_path / "videos" / "clip6.mp4").write_text("not a video")
    words = ["check", "toy", "--questions", config.tasks[0].questions or ""]
    words += ["--videos", str(tmp_path / "videos")]
    assert main(words) == 1
    text = capsys.readouterr().out
    assert "link out of" in text  # the links lead out of this folder
    for clip in sorted(clips.iterdir())[:6]:
        target = tmp_path / "videos" / clip.name
        target.unlink()
        target.write_bytes(clip.read_bytes())
    assert main([*words, "--json"]) == 1
    (check,) = json.loads(capsys.readouterr().out)
    assert list(check["missing"]) == ["clip7"]
    assert list(check["unreadable"]) == ["clip6"]
    assert check["rows_without_video"] == 10
    assert main([*words, "--no-open"]) == 1


def test_prepare_writes_the_layout(config, tmp_path, capsys):
    words = [
        "prepare",
        "toy",
        "--csv",
        config.tasks[0].questions or "",
        "--gt",
        str(tmp_path / "gt"),
    ]
    assert main([*words, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["rows"] == 40
    assert [Path(f).name for f in written["files"]] == ["val_q.json", "val_a.json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval", "none.yaml"], "cannot read none.yaml"),
        (["check", "mvsd"], "did you mean 'msvd'?"),
        (["check", "toy", "--questions", "none.csv"], "cannot read none.csv"),
        (["prepare", "msvd"], "--csv"),
        (["prepare", "msvd", "--csv", "none.csv"], "cannot read none.csv"),
        (["report", "none"], "no run in none"),
        (["compare", "none"], "no run in none"),
        (["judge", "none", "--judge", "openai:x"], "no run in none"),
        (["judge", "none", "--judge", "x"], "openai:MODEL"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_run_with_failures_exits_with_1(config, clips, tmp_path, loader, capsys):
    (tmp_path / "empty").mkdir()
    task = config.tasks[0]
    path = tmp_path / "run.yaml"
    path.write_text(print_config(config).replace(str(clips), str(tmp_path / "empty")))
    assert task.videos == str(clips)
    assert main(["eval", str(path)]) == 1
    assert "40 failed" in capsys.readouterr().out
    assert run_task(config, task, load=loader).failed == 40


def test_a_terminal_gets_a_bar_with_questions_a_second_and_time_left(monkeypatch):
    from free_video_llm.cli import progress
    from free_video_llm.evaluation.run import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.RunBar() as bar:
        for step in range(4):
            now[0] += 2.0
            bar(Progress("msvd", wanted=40, done=11 + step, failed=step // 3, new=1 + step))
        bar._bars._live.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"msvd .*14/40 0:00:06 < 0:00:5\d 0\.50 questions/s, 1 failed", shown), (
        shown
    )  # a slow pace too is shown as so many a second


def test_a_log_gets_a_line_now_and_then_with_pace_and_time_left(capsys, monkeypatch):
    from free_video_llm.cli import progress
    from free_video_llm.evaluation.run import Progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.RunBar() as bar:
        for step in range(9):
            now[0] = 100.0 + 10 * step
            bar(Progress("msvd", wanted=6415, done=400 + 20 * step, failed=step, new=20 * step))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "msvd: 460 of 6,415 questions, 2.00/s, 50 min left, 3 failed"
    assert second.startswith("msvd: 520 of 6,415 questions, 2.00/s")
