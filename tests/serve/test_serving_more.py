"""The server before another server, with the page on it, and as a command that is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from running import asked, serving

from faulty_server import serve as model_server
from free_video_llm import VideoLLM
from free_video_llm.cli.main import main
from media import make_video
from seeing_server import look, pictures_in

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")


def test_a_server_behind_it_learns_to_take_videos():
    """What it is sent, part by part: pictures of the kept frames with their times, the question
    last, after what was said before; and its own count of tokens comes back."""
    with model_server(answer=look) as behind:
        llm = VideoLLM.from_pretrained("openai:m", base_url=f"{behind.url}/v1", scorer="tiny")
        with serving(llm, models=("m",), plan="prompt-3") as made:
            client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
            messages = asked("What color is the star?")["messages"]
            reply = client.chat.completions.create(model="m", messages=messages)
            turns = [
                *messages,
                {"role": "assistant", "content": "red"},
                {"role": "user", "content": "And now?"},
            ]
            client.chat.completions.create(model="m", messages=turns)
            pieces = client.chat.completions.create(model="m", messages=turns, stream=True)
            streamed = "".join(c.choices[0].delta.content or "" for c in pieces)
    first, second, third = behind.seen
    assert reply.choices[0].message.content == look(first)
    assert len(pictures_in(first)) == reply.fvl["pictures"] == 3
    words = [part["text"] for part in first["messages"][0]["content"] if part["type"] == "text"]
    assert len(words) == 4
    assert words[-1].startswith("What color is the star?")
    assert (reply.usage.prompt_tokens, reply.usage.visual_tokens) == (200, 0)
    told = second["messages"][0]["content"][-1]["text"]
    assert "Question: What color is the star?\nAnswer: red\nQuestion: And now?" in told
    assert third["messages"] == second["messages"]
    assert streamed == look(third)


@pytest.mark.parametrize("what", ["500", "drop", "garbage", "empty"])
def test_a_server_behind_it_that_fails_is_said_so(what, monkeypatch):
    from free_video_llm.llm import openai_chat

    monkeypatch.setattr(openai_chat, "_RETRIES", 0)
    with model_server(lambda user, before: what) as behind:
        llm = VideoLLM.from_pretrained("openai:m", base_url=f"{behind.url}/v1", scorer="tiny")
        with serving(llm, models=("m",)) as made:
            client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
            with pytest.raises(openai.InternalServerError) as failed:
                client.chat.completions.create(model="m", messages=asked()["messages"])
    assert failed.value.status_code == 502
    assert "\n" not in failed.value.body["message"]


def test_the_page_on_the_same_server(tiny):
    pytest.importorskip("gradio", reason="the extra web is not installed")
    from free_video_llm.web.server import Settings, mounted

    with mounted(Settings(), lambda name: tiny) as page, serving(tiny, page=page) as made:
        with urllib.request.urlopen(f"{made.url}/") as reply:
            assert b"gradio" in reply.read()
        with urllib.request.urlopen(f"{made.url}/v1/models") as reply:
            assert json.loads(reply.read())["data"][0]["id"] == "tiny"


def begin(*options: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and its address once it can be called."""
    server = subprocess.Popen(
        [sys.executable, "-m", "free_video_llm", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert server.stdout is not None
    return server, server.stdout.readline().split()[2]


def test_the_command_answers_and_stops_when_told(tmp_path: Path):
    make_video(tmp_path / "v.mp4", frames=8)
    server, url = begin(
        "--folder", str(tmp_path), "--log", "json", FVL_API_KEYS="first-key,second-key"
    )
    for key in ("first-key", "second-key"):
        client = openai.OpenAI(base_url=url, api_key=key)
        messages = asked(video="v.mp4")["messages"]
        reply = client.chat.completions.create(model="tiny", messages=messages)
        assert reply.choices
    server.send_signal(signal.SIGTERM)
    out, log = server.communicate(timeout=60)
    assert "stopping" in out
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines if line["event"] == "request"] == [200, 200]
    assert "first-key" not in out + log
    assert "v.mp4" not in log  # what it watched is nobody's affair
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        (["--host", "0.0.0.0"], "", "lets other machines in"),
        (["--no-key"], "long-enough", "choose one"),
        ([], "short", "at least 8"),
        (["--folder", "/no/such"], "", "no such folder"),
        (["--memory-gb", "0"], "", "more than 0"),
        (["--plan", "papr"], "", "paper"),
        (["--port", "70000"], "", "cannot listen"),
    ],
)
def test_wrong_options(options, keys, said, monkeypatch, capsys):
    monkeypatch.setenv("FVL_API_KEYS", keys)
    assert main(["serve", *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_without_a_video_the_model_is_asked_in_words_alone():
    """As chat programs do, for a title say; options that say something of a video want one."""
    with model_server(script=lambda user, before: f"ok:{user[-5:]}") as behind:
        llm = VideoLLM.from_pretrained("openai:m", base_url=f"{behind.url}/v1", scorer="tiny")
        with serving(llm, models=("m",)) as made:
            client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
            messages = [{"role": "user", "content": "A title?"}]
            reply = client.chat.completions.create(model="m", messages=messages)
            pieces = client.chat.completions.create(model="m", messages=messages, stream=True)
            streamed = "".join(c.choices[0].delta.content or "" for c in pieces)
            with pytest.raises(openai.BadRequestError, match="there is no video"):
                client.chat.completions.create(
                    model="m", messages=messages, extra_body={"fvl": {"fps": 1}}
                )
    assert reply.choices[0].message.content == streamed == "itle?"
    assert (reply.fvl["pictures"], reply.fvl["kept_seconds"]) == (0, [])
    assert behind.seen[0]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "A title?"}]}
    ]


def test_words_alone_by_a_model_here():
    with serving(VideoLLM.from_pretrained("tiny"), models=("tiny",)) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
        turns = [
            {"role": "user", "content": "What color is the star?"},
            {"role": "assistant", "content": "red"},
            {"role": "user", "content": "And the moon?"},
        ]
        reply = client.chat.completions.create(model="tiny", messages=turns)
    assert reply.choices[0].message.content
    assert reply.usage.visual_tokens == 0
    assert reply.usage.prompt_tokens > 0


@pytest.mark.skipif(
    "FVL_JUDGE_URL" not in os.environ,
    reason="set FVL_JUDGE_URL to a real llama.cpp server (tests/evaluation/real_judge_server.py)",
)
def test_before_a_real_llama_cpp():
    """SmolLM2 behind llama.cpp's own server: words go through and come back, whole and in pieces;
    that it sees no pictures is said in one line."""
    name, url = os.environ.get("FVL_JUDGE_MODEL", "smollm2"), os.environ["FVL_JUDGE_URL"]
    llm = VideoLLM.from_pretrained(f"openai:{name}", base_url=url, scorer="tiny")
    with serving(llm, models=("m",), plan="prompt-3") as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        how = {"model": "m", "messages": messages, "max_tokens": 12, "seed": 1}
        reply = client.chat.completions.create(**how)
        pieces = client.chat.completions.create(**how, stream=True)
        streamed = "".join(c.choices[0].delta.content or "" for c in pieces)
        with pytest.raises(openai.APIStatusError, match=r"image|multimodal|mmproj") as refused:
            client.chat.completions.create(**{**asked("What color?"), "model": "m"})
    direct = openai.OpenAI(base_url=url, api_key="none").chat.completions.create(
        **{**how, "model": name}, temperature=0
    )
    assert reply.choices[0].message.content == direct.choices[0].message.content.strip()
    assert streamed == reply.choices[0].message.content
    assert reply.usage.completion_tokens > 1
    assert "\n" not in refused.value.body["message"]
