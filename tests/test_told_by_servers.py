"""Answers of servers as they are made: pieces, reasoning that is kept back, stops, and failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from faulty_server import serve
from free_video_llm import ConfigError, VideoLLM

pytest.importorskip("openai", reason="the extra server is not installed")
QUESTION = "What color is the star?"


def chat_with(script: Callable[[str, int], str]) -> Any:
    """A server, and a conversation about a clip by its model."""

    class Both:
        def __enter__(self) -> Any:
            self.held = serve(script)
            server = self.held.__enter__()
            llm = VideoLLM.from_pretrained("openai:m", base_url=f"{server.url}/v1", scorer="tiny")
            return server, llm.watch("sample:star", frames=8)

        def __exit__(self, *error: object) -> None:
            self.held.__exit__(*error)

    return Both()


def test_pieces_come_as_they_are_made_and_make_the_answer():
    with chat_with(lambda user, before: "ok:it is bright red") as (server, video):
        pieces: list[str] = []
        answer = video.chat(plan="prompt-3").ask(QUESTION, on_text=pieces.append)
        assert len(pieces) > 3
        assert "".join(pieces) == answer.text == "it is bright red"
        assert (answer.prompt_tokens, answer.answer_tokens, answer.cost) == (200, 12, 0.0015)
        assert "".join(video.stream(QUESTION, plan="prompt-3")) == "it is bright red"
        assert video.ask(QUESTION, plan="prompt-3").text == "it is bright red"
    assert [bool(body.get("stream")) for body in server.seen] == [True, True, False]
    assert server.seen[0]["messages"] == server.seen[2]["messages"]


def test_reasoning_is_kept_back():
    with chat_with(lambda user, before: "ok:<think>red? blue?</think>\n\nred") as (_, video):
        pieces: list[str] = []
        answer = video.chat(plan="prompt-3").ask(QUESTION, on_text=pieces.append)
        assert "".join(pieces) == answer.text == "red"


def test_what_is_stopped_is_read_no_further():
    with chat_with(lambda user, before: "ok:" + "red " * 50) as (_, video):
        chat = video.chat(plan="prompt-3")
        pieces: list[str] = []

        def heard(text: str) -> None:
            pieces.append(text)
            chat.stop()

        answer = chat.ask(QUESTION, on_text=heard)
        assert len(pieces) == 1
        assert len(answer.text) < 10


def test_a_server_that_knows_no_such_option_is_asked_without():
    def script(user: str, before: int) -> str:
        return "ok:red" if before else "refuse:unsupported parameter: stream_options"

    with chat_with(script) as (server, video):
        pieces: list[str] = []
        video.chat(plan="prompt-3").ask(QUESTION, on_text=pieces.append)
        assert "".join(pieces) == "red"
    assert ["stream_options" in body for body in server.seen] == [True, False]


@pytest.mark.parametrize("what", ["broken:it is bright red", "garbage", "400"])
def test_a_stream_that_fails_is_told_in_one_line(what):
    with chat_with(lambda user, before: what) as (_, video):
        with pytest.raises(ConfigError) as error:
            video.chat(plan="prompt-3").ask(QUESTION, on_text=lambda text: None)
        assert "\n" not in str(error.value)
