"""What a command has for its terminal: completion, tables, what -v and a log file say."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from free_video_llm.cli import common, progress
from free_video_llm.cli.main import main

STAR = "What color is the star?"


def completed(line: str) -> list[str]:
    """What could come next on a line, as a shell would be told."""
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9", "_ARGCOMPLETE_IFS": "\n", "ARGCOMPLETE_USE_TEMPFILES": "1",
    }  # fmt: skip
    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"fvl-completion-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-m", "free_video_llm"], capture_output=True, text=True,
        env={**environment, "_ARGCOMPLETE_STDOUT_FILENAME": str(out)},
    )  # fmt: skip
    try:
        return [word.strip() for word in out.read_text().split("\n") if word.strip()]
    except FileNotFoundError:
        raise AssertionError(done.stderr) from None
    finally:
        out.unlink(missing_ok=True)


def test_commands_options_and_values_are_completed():
    assert {"ask", "chat", "eval", "serve", "web"} <= set(completed("fvl "))
    assert completed("fvl ask --templ") == ["--template"]
    assert "paper-small" in completed("fvl ask v.mp4 q --plan pap")
    assert any("SmolVLM2" in name for name in completed("fvl ask v.mp4 q --model Hug"))
    assert "videomme" in completed("fvl prepare v")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_reads_is_a_script_of_its_own(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "fvl" in script
    if shutil.which(shell) is not None:
        assert subprocess.run([shell, "-n"], input=script, text=True).returncode == 0
    assert shutil.which("bash") is not None or shell != "bash"


def test_a_log_file_tells_what_was_done_and_what_went_wrong(tmp_path, capsys):
    file = tmp_path / "fvl.log"
    assert main(["ask", "sample:star", STAR, "--quiet", "--log-file", str(file)]) == 0
    text = file.read_text()
    for said in ("loaded VideoLLM", "watched Video", "answered Answer('red'"):
        assert said in text
    assert main(["ask", "sample:none", STAR, "--log-file", str(file)]) == 3
    assert "unknown sample" in file.read_text()
    assert "Traceback" in file.read_text()
    assert "Traceback" not in capsys.readouterr().err
    assert main(["ask", "sample:star", STAR, "--log-file", str(tmp_path)]) == 2
    assert not logging.getLogger("free_video_llm").handlers


def test_verbose_tells_on_stderr(capsys):
    assert main(["ask", "sample:star", STAR, "-v"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == "red"
    assert "watched Video" in captured.err


ROWS = [("name", "about"), ("a", "x" * 90), ("bcd", "y")]


def test_tables_are_plain_where_no_terminal_is(capsys):
    assert common.table(ROWS) == f"name  about\na     {'x' * 90}\nbcd   y"


def test_tables_fold_within_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    lines = common.table(ROWS, indent="  ").splitlines()
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
    assert plain[0].split() == ["name", "about"]
    assert "\x1b[1m" in lines[0]
    assert all(len(line) <= 40 for line in plain)
    assert sum(line.count("x") for line in plain) == 90


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """What was written, without colours and moves of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def clock(monkeypatch):
    """The seconds that progress reads, as a list of one."""
    now = [50.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return now


def test_steps_of_a_video_are_shown_once_they_take_long(monkeypatch, clock):
    monkeypatch.setattr(progress.sys, "stderr", terminal := Terminal())
    with progress.WatchBars() as bars:
        bars("decode", 1, 50)
        assert terminal.getvalue() == ""  # most are over within a second
        clock[0] += 2.0
        bars("decode", 10, 50)
        bars("encode", 5, 50)
        bars("fetch", 3_000_000, 0)  # a server that does not say how much there is
        bars._bars._live.refresh()
        shown = terminal.plain()
    for said in ("reading frames", "10/50 frames", "looking at frames", "5/50 frames", "3.0 MB"):
        assert said in shown
    assert terminal.getvalue().endswith("\x1b[2K")  # and the bars are gone


def test_steps_of_a_video_leave_a_pipe_alone(capsys, clock):
    with progress.WatchBars() as bars:
        for done in range(5):
            clock[0] += 2.0
            bars("decode", done, 5)
    assert capsys.readouterr() == ("", "")


def test_what_is_printed_beside_a_bar_stays_in_its_pipe(monkeypatch, capsys, clock):
    monkeypatch.setattr(progress.sys, "stderr", terminal := Terminal())
    with progress.Bar("videos") as bar:
        clock[0] += 2.0
        bar(1, 4)
        print("a row")
    assert capsys.readouterr().out == "a row\n"
    assert "a row" not in terminal.getvalue()
