"""Settings: the command first, then the environment, then the file; and where each came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from free_video_llm import ConfigError
from free_video_llm.cli.main import main
from free_video_llm.encoder.cache import default_folder
from free_video_llm.settings import VARIABLES, all_settings, setting, settle


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch) -> Path:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("FVL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "free-video-llm.toml"


def test_the_environment_comes_before_the_file(own: Path, monkeypatch):
    assert setting("plan").value is None
    assert settle("plan", "lean") == own
    assert (setting("plan").value, setting("plan").origin) == ("lean", str(own))
    monkeypatch.setenv("FVL_PLAN", "global")
    assert (setting("plan").value, setting("plan").origin) == ("global", "$FVL_PLAN")
    settle("model", 'a "quoted" näme\\')
    assert setting("model").value == 'a "quoted" näme\\'
    settle("plan", None)
    assert "plan" not in own.read_text(encoding="utf-8")
    assert set(all_settings()) == set(VARIABLES)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("modle = 'x'", "did you mean 'model'"),
        ("model = 3", "model is a text"),
        ("model =", "cannot read"),
        ("model = ''", "model is a text"),
    ],
)
def test_a_wrong_file_is_said(text: str, what: str, own: Path):
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=what):
        setting("model")


def test_a_file_that_is_named_and_not_there_is_said(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("FVL_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigError, match="FVL_CONFIG names"):
        setting("model")
    settle("plan", "lean")  # makes it
    assert setting("plan").value == "lean"


def test_the_command(own: Path, capsys):
    assert main(["config", "set", "plan", "lean"]) == 0
    assert main(["config", "--json"]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out[out.index("{") :])
    assert shown["plan"] == {"value": "lean", "origin": str(own)}
    assert main(["config"]) == 0
    assert str(own) in capsys.readouterr().out
    for wrong in (["set", "plan"], ["set", "plna", "x"], ["unset"], ["unset", "plan", "x"]):
        assert main(["config", *wrong]) == 2
    assert main(["config", "unset", "plan"]) == 0
    assert setting("plan").value is None


def test_commands_go_by_them(own: Path, tmp_path: Path, capsys):
    settle("model", "tiny")
    settle("scorer", "tiny")
    settle("device", "cpu")
    settle("base_url", "http://127.0.0.1:1/v1")  # of servers: a model here has none
    settle("plan", "lean")
    settle("cache", str(tmp_path / "kept"))
    assert main(["ask", "sample:star", "Is there a star?", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["plan"]["name"] == "lean"
    assert main(["ask", "sample:star", "Is there a star?", "--json", "--plan", "prompt-3"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["plan"]["name"] == "prompt-3"
    assert default_folder() == tmp_path / "kept"
    settle("device", "cuda:7")
    assert main(["ask", "sample:star", "Is there a star?"]) != 0
