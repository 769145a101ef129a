"""From a request's JSON to a call: what is read, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pydantic", reason="the extra serve is not installed")

from running import asked

from free_video_llm.serve.calls import read_call
from free_video_llm.serve.refusals import Refusal
from free_video_llm.serve.settings import Bounds, Settings

SETTINGS = Settings(plan="lean", frames=12, bounds=Bounds(candidates=100, pictures=3, letters=500))


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def test_a_question_alone():
    call = read_call(asked("What is it?"), SETTINGS)
    assert (call.model, call.question, call.addresses) == ("tiny", "What is it?", ("sample:star",))
    assert (call.plan.name, call.sampling.frames, call.said) == ("lean", 12, ())
    assert call.decoding.temperature == 0
    assert call.reads == "What is it?"


def test_turns_before_and_instructions():
    body = asked("What is it?")
    body["messages"] = [
        message("system", "Be brief."),
        *body["messages"],
        message("assistant", "a cat"),
        message("user", "Where?"),
    ]
    call = read_call(body, SETTINGS)
    assert call.said == (("What is it?", "a cat"),)
    assert (call.question, call.reads) == ("Where?", "Be brief.\nWhere?")
    assert call.addresses == ("sample:star",)


def test_pictures_in_order_and_addresses_as_plain_texts():
    parts = [{"type": "image_url", "image_url": f"data:image/png;base64,{n}"} for n in "AB"]
    body = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "Which?"}]}]}
    call = read_call(body, SETTINGS)
    assert call.pictures
    assert [a[-1] for a in call.addresses] == ["A", "B"]


def test_our_own_options():
    ours = {"plan": "slowfast", "fps": 2, "start": "0:01", "end": 4, "options": ["red", "blue"]}
    call = read_call(asked(fvl={**ours, "choose": "letters", "evidence": True}), SETTINGS)
    assert call.plan.name == "slowfast"
    assert call.sampling.ranges == ((1.0, 4.0),)
    assert call.sampling.max_candidates == 100  # the owner's bound
    assert (call.options, call.choose, call.evidence) == (("red", "blue"), "letters", True)


def test_top_p_of_a_greedy_answer_means_nothing():
    assert read_call(asked(top_p=1, temperature=0), SETTINGS).decoding.top_p is None
    assert read_call(asked(top_p=0.5, temperature=1), SETTINGS).decoding.top_p == 0.5


def two_videos() -> dict[str, Any]:
    body = asked()
    other = {"type": "video_url", "video_url": {"url": "sample:steady"}}
    body["messages"][0]["content"].append(other)
    return body


def last_is_the_assistant() -> dict[str, Any]:
    body = asked()
    body["messages"].append(message("assistant", "red"))
    return body


def four_pictures() -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    text = {"type": "text", "text": "?"}
    return {"messages": [{"role": "user", "content": [part] * 4 + [text]}]}


WRONG = {
    "no object": ([1], 400, "JSON object"),
    "no messages": ({}, 400, "messages"),
    "empty messages": ({"messages": []}, 400, "messages"),
    "messages of text": ({"messages": "hi"}, 400, "messages"),
    "a role of none": ({"messages": [message("tool", "x")]}, 400, "messages.0.role"),
    "an unknown part": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        400,
        "messages.0",
    ),
    "no video": ({"messages": [message("user", "What?")], "fvl": {"fps": 1}}, 400, "no video"),
    "no question": (asked(" "), 400, "no question"),
    "the assistant last": (last_is_the_assistant(), 400, "last message"),
    "two videos": (two_videos(), 400, "about one video"),
    "too many pictures": (four_pictures(), 413, "at most 3"),
    "too many letters": (asked("x" * 501), 413, "500 letters"),
    "unknown model": (asked() | {"model": "gpt"}, 404, "unknown model 'gpt'"),
    "unknown plan": (asked(fvl={"plan": "papr"}), 400, "papr"),
    "misspelt option": (asked(fvl={"framez": 3}), 400, "fvl.framez"),
    "no frames": (asked(fvl={"frames": 0}), 400, "fvl.frames"),
    "too many frames": (asked(fvl={"frames": 101}), 400, "at most 100"),
    "frames of text": (asked(fvl={"frames": "x"}), 400, "fvl.frames"),
    "fps of nothing": (asked(fvl={"fps": 0}), 400, "fvl.fps"),
    "a stretch that ends first": (asked(fvl={"start": 5, "end": 2}), 400, "5"),
    "a stretch twice": (asked(fvl={"start": 1, "ranges": [[1, 2]]}), 400, "not both"),
    "search of more than all": (asked(fvl={"search": 2}), 400, "fvl.search"),
    "one option": (asked(fvl={"options": ["red"]}), 400, "option"),
    "choosing among none": (asked(fvl={"choose": "letters"}), 400, "options"),
    "two answers": (asked(n=2), 400, "n=1"),
    "tools": (asked(tools=[{}]), 400, "tools"),
    "JSON wanted": (asked(response_format={"type": "json_object"}), 400, "response_format"),
    "no tokens": (asked(max_tokens=0), 400, "max_tokens"),
    "too many tokens": (asked(max_tokens=10**9), 400, "at most 2,048"),
    "cold": (asked(temperature=-1), 400, "temperature"),
    "not a number": (asked(temperature="hot"), 400, "temperature"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name):
    body, status, said = WRONG[name]
    with pytest.raises(Refusal) as refused:
        read_call(body, SETTINGS)
    assert refused.value.status == status
    assert said in refused.value.text
    assert "\n" not in refused.value.text
