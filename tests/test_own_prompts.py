"""Prompts of one's own: what the model reads is what was written."""

from __future__ import annotations

import pytest

from faulty_server import serve
from free_video_llm import ConfigError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.llm.prompts import own_template

STAR = "What color is the star?"


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def video(tiny):
    return tiny.watch("sample:star", frames=8)


def test_the_model_s_own_prompt_written_out_gives_its_answer(video):
    """tiny's template, to the token; and with the image in another place."""
    usual = video.ask(STAR, plan="lean")
    own = video.ask(STAR, plan="lean", prompt="USER: <image>\n{question} ASSISTANT:")
    assert (own.prompt, own.token_ids) == (usual.prompt, usual.token_ids)
    other = video.ask(STAR, plan="lean", prompt="{question} <image>")
    assert other.prompt == f"{STAR} <image>"
    assert video.ask(STAR, plan="lean", prompt="Q: {question}").prompt == f"<image>\nQ: {STAR}"


def test_options_stand_where_they_are_wanted_or_after_the_question(video):
    options = ["red", "blue"]
    placed = video.ask(STAR, plan="lean", options=options, prompt="{options}Q: {question}")
    assert placed.prompt == f"<image>\n(A) red\n(B) blue\nQ: {STAR}"
    after = video.ask(STAR, plan="lean", options=options, prompt="Q: {question} A:")
    assert after.prompt == f"<image>\nQ: {STAR}\n(A) red\n(B) blue\n A:"
    none = video.ask(STAR, plan="lean", prompt="{question}{options}!")
    assert none.prompt == f"<image>\n{STAR}!"
    chosen = video.ask(STAR, plan="lean", options=options, choose="letters", prompt="{question} (")
    assert sum(chosen.probabilities) == pytest.approx(1)


def test_braces_in_a_question_are_left(video):
    assert own_template("{question}", multiple_choice=False, image=False).fill("a {b}") == "a {b}"


@pytest.mark.parametrize(
    "text",
    ["", "no question", "{question} {question}", 3, "<image><image>{question}",
     "{question}{options}{options}"],
)  # fmt: skip
def test_what_is_no_prompt(text, video):
    with pytest.raises(ConfigError, match="prompt of one's own"):
        video.ask(STAR, prompt=text)


def test_not_beside_a_named_one(video):
    with pytest.raises(ConfigError, match="not both"):
        video.ask(STAR, prompt="{question}", conv_mode="plain")


def test_a_server_is_asked_in_one_s_own_words():
    pytest.importorskip("openai", reason="the extra server is not installed")
    with serve(lambda user, before: "ok:red") as server:
        llm = VideoLLM.from_pretrained("openai:m", base_url=f"{server.url}/v1", scorer="tiny")
        llm.watch("sample:star").ask(STAR, plan="prompt-3", prompt="<image>\nSay: {question}")
    assert server.seen[0]["messages"][0]["content"][-1]["text"] == f"Say: {STAR}"


def test_on_the_command_line(tmp_path, capsys):
    file = tmp_path / "prompt.txt"
    file.write_text("USER: <image>\n{question} ASSISTANT:")
    assert main(["ask", "sample:star", STAR, "--template", f"@{file}"]) == 0
    assert capsys.readouterr().out.strip() == "red"
    assert main(["ask", "sample:star", STAR, "--template", f"@{file}x"]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert main(["ask", "sample:star", STAR, "--template", "hm"]) == 2
