"""Frames chosen before Ray Data LLM: the messages of a batch's rows, and deploy/ray_llm.py whole
before a server of the tests."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faulty_server import serve
from free_video_llm.errors import ConfigError
from free_video_llm.integrations.ray_llm import ChooseFrames
from seeing_server import look, pictures_in
from test_picture_models import COLOUR, clip_of

SCRIPT = Path(__file__).parents[1] / "deploy" / "ray_llm.py"


@pytest.fixture(scope="module")
def choose() -> ChooseFrames:
    return ChooseFrames(scorer="tiny", plan="prompt-3", watch={"frames": 8})


def test_rows_get_the_messages_of_a_chat(choose, tmp_path):
    clip = str(clip_of(tmp_path, "red"))
    batch = {
        "video": [clip, clip, "nowhere.mp4"],
        "question": [COLOUR, COLOUR, "What?"],
        "options": [None, ["blue", "red"], None],
        "end": [None, 3.0, float("nan")],
    }
    found = choose(batch)
    assert list(found) == [*batch, "messages", "seconds", "error"]
    first, second = ({"messages": json.loads(text)} for text in found["messages"][:2])
    assert (look(first), look(second)) == ("red", "B")
    words = [words for words, _ in pictures_in(first)]
    seconds = json.loads(found["seconds"][0])
    assert words == [f"Frame at {second:.1f} s:" for second in seconds]
    assert len(words) == 3
    assert max(json.loads(found["seconds"][1])) < 3
    assert found["error"][:2] == ["", ""]
    assert "nowhere.mp4" in found["error"][2]
    assert found["messages"][2] == ""


def test_columns_that_are_missing_are_named(choose):
    with pytest.raises(ConfigError, match="rows need a column question, these have video"):
        choose({"video": ["a.mp4"]})


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("ray", "aiohttp")),
    reason="the extra cluster is not installed",
)
def test_the_script_asks_a_server_and_says_what_failed(tmp_path):
    rows = [{"video": str(clip_of(tmp_path, c)), "question": COLOUR} for c in ("red", "yellow")]
    rows.append({"video": "nowhere.mp4", "question": "What?"})
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serve(answer=look) as server:
        words = [str(questions), str(tmp_path / "out"), "--url", f"{server.url}/v1", "--json"]
        words += ["--scorer", "tiny", "--watch", '{"frames": 8}', "--cpu"]
        ours = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *words], capture_output=True, text=True,
            env=os.environ | ours,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "out").glob("*.json"))
        for line in path.read_text().splitlines()
    ]
    found = {Path(line["video"]).stem: line for line in lines}
    assert {name: line["answer"] for name, line in found.items()} == {
        "red": "red", "yellow": "yellow", "nowhere": "",
    }  # fmt: skip
    assert [bool(found[name]["error"]) for name in ("red", "nowhere")] == [False, True]
    assert len(json.loads(found["red"]["seconds"])) == 4
