"""A model behind a server: what it is sent, what it may say, and every way in which it fails."""

from __future__ import annotations

import numpy as np
import pytest

from faulty_server import serve
from free_video_llm.errors import ConfigError, MissingExtraError
from free_video_llm.llm.chat import ChatPicture, ChatRequest, PictureLimits
from free_video_llm.llm.generate import Decoding
from free_video_llm.llm.openai_chat import OpenAIChat, parts_of
from seeing_server import look, pictures_in

pytest.importorskip("openai", reason="the extra server is not installed")


def picture(colour: tuple[int, int, int], words: str = "Frame at 1.0 s:") -> ChatPicture:
    return ChatPicture(np.full((48, 64, 3), colour, np.uint8), words)


RED, BLUE = picture((230, 20, 20)), picture((20, 40, 230), "Frame at 2.0 s:")


def ask(url: str, *requests: ChatRequest, **decoding: object):
    return OpenAIChat("seer", url).reply(requests, Decoding(**decoding))


def test_what_is_sent_and_what_comes_back():
    with serve(answer=look) as server:
        (said,) = ask(server.url, ChatRequest((BLUE, BLUE, RED), "What colour?"), max_new_tokens=7)
    assert (said.text, said.token_ids) == ("blue", ())
    assert (said.prompt_tokens, said.new_tokens) == (200, 12)
    assert said.decode_seconds > 0
    (body,) = server.seen
    assert {key: body[key] for key in body if key != "messages"} == {
        "model": "seer", "max_tokens": 7, "temperature": 0.0,
    }  # fmt: skip
    assert [words for words, _ in pictures_in(body)] == [p.words for p in (BLUE, BLUE, RED)]
    assert [p["type"] for p in body["messages"][0]["content"]] == ["text", "image_url"] * 3 + [
        "text"
    ]


def test_a_jpeg_is_near_to_its_pixels():
    (_, (_, sent)) = zip(
        *pictures_in(
            {"messages": [{"role": "user", "content": parts_of(ChatRequest((RED, BLUE), "?"))}]}
        )
    )
    assert np.abs(sent.astype(int) - BLUE.pixels).max() < 8


def test_answers_keep_the_order_of_the_questions():
    colours = [RED, BLUE, BLUE, RED, BLUE, RED, RED]
    with serve(answer=look) as server:
        chat = OpenAIChat("seer", server.url, concurrency=3)
        said = chat.reply([ChatRequest((c,), "What colour?") for c in colours], Decoding())
    assert [g.text for g in said] == ["red" if c is RED else "blue" for c in colours]
    assert server.most_at_once <= 3


def test_sampling_is_sent_as_it_was_asked_for():
    with serve(answer=look) as server:
        ask(server.url, ChatRequest((RED,), "?"), temperature=0.7, top_p=0.9, seed=3)
    (body,) = server.seen
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 3)
    for name in ("top_k", "repetition_penalty", "num_beams"):
        value = {"top_k": 3, "repetition_penalty": 1.1, "num_beams": 2}[name]
        with pytest.raises(ConfigError, match=f"{name} is not what"):
            ask(server.url, ChatRequest((RED,), "?"), temperature=1.0, **{name: value})


def test_parameters_that_a_model_refuses_are_left_out_from_then_on():
    refusals = [
        "refuse:Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "refuse:Unsupported value: 'temperature' does not support 0 with this model.",
    ]
    with serve(lambda user, before: (refusals + ["look"] * 3)[before], answer=look) as server:
        chat = OpenAIChat("o-like", server.url)
        for _ in range(2):
            (said,) = chat.reply([ChatRequest((RED,), "What colour?")], Decoding(max_new_tokens=5))
            assert said.text == "red"
    assert len(server.seen) == 4
    for body in server.seen[2:]:
        assert body["max_completion_tokens"] == 5
        assert not {"max_tokens", "temperature"} & set(body)


def test_thoughts_are_not_the_answer():
    with serve(lambda user, before: "ok:<think>It is red?\nNo.</think>\n blue ") as server:
        (said,) = ask(server.url, ChatRequest((RED,), "?"))
    assert said.text == "blue"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("401", "refuses the key \\(401\\): set OPENAI_API_KEY"),
        ("403", "refuses the key \\(403\\)"),
        ("404", "is not there: check the model's name"),
        ("413", "lower --max-images or --max-pixels"),
        ("refuse:This model takes at most 4 images", "refuses: .*at most 4 images"),
        (
            "to:302:http://elsewhere.example/v1",
            "sends requests on to 'http://elsewhere.example/v1'",
        ),
        ("empty", "sent no chat completion"),
        ("no choices", "sent no chat completion"),
        ("list", "sent no chat completion"),
        ("page", "sent no chat completion: '<html>login</html>'"),
    ],
)
def test_what_goes_wrong_is_one_line(script: str, words: str):
    with (
        serve(lambda user, before: script) as server,
        pytest.raises(ConfigError, match=words) as caught,
    ):
        ask(server.url, ChatRequest((RED,), "?"))
    assert "\n" not in str(caught.value)
    assert len(server.seen) == 1
    assert all("elsewhere" not in header.get("host", "") for header in server.headers)


@pytest.mark.parametrize("script", ["500", "drop", "cut", "garbage", "huge"])
def test_a_server_that_fails_is_tried_again_and_then_told(script: str, monkeypatch):
    monkeypatch.setattr("free_video_llm.llm.openai_chat._RETRIES", 1)
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_: 0.0)
    with serve(lambda user, before: script) as server, pytest.raises(ConfigError) as caught:
        ask(server.url, ChatRequest((RED,), "?"))
    assert "\n" not in str(caught.value)
    assert len(server.seen) in (1, 2)


def test_a_failure_that_passes_is_not_noticed(monkeypatch):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_: 0.0)
    with serve(lambda user, before: ("500", "429", "look")[before], answer=look) as server:
        assert ask(server.url, ChatRequest((RED,), "?"))[0].text == "red"


def test_nobody_there(monkeypatch):
    monkeypatch.setattr("free_video_llm.llm.openai_chat._RETRIES", 0)
    with pytest.raises(ConfigError, match=r"cannot be reached .*: start the server"):
        ask("http://127.0.0.1:9/v1", ChatRequest((RED,), "?"))


def test_a_key_is_sent_only_where_it_was_meant(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123")
    with serve(lambda user, before: "echo:401") as server, pytest.raises(ConfigError) as caught:
        ask(server.url, ChatRequest((RED,), "?"))
    assert server.headers[0]["authorization"] == "Bearer sk-secret-0123"
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"would go to far\.example unencrypted"):
        OpenAIChat("m", "http://far.example/v1")
    with pytest.raises(ConfigError, match="no key in it"):
        OpenAIChat("m", "http://key@127.0.0.1/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        OpenAIChat("m", "https://api.openai.com/v1")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"free-video-llm\[server\]"):
        OpenAIChat("m", "http://127.0.0.1:9/v1")


def test_a_picture_has_words_and_limits_are_values():
    with pytest.raises(ValueError, match="words before it"):
        ChatPicture(RED.pixels, " ")
    assert PictureLimits().max_images is None
    assert OpenAIChat("m", "http://127.0.0.1:9/v1/").identity == "m at http://127.0.0.1:9/v1"
