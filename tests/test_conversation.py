"""Conversations: follow-ups see what was said; equal to computing all anew, and little computed."""

from __future__ import annotations

import io
import sys

import pytest
import torch

from free_video_llm import ConfigError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.llm.prompts import TEMPLATES, template_for
from tiny_checkpoints import own_llm

QUESTIONS = (
    "What color is the star?",
    "Is there a ring?",
    "Where is the star?",
    "What shape is the red object?",
    "Is there a blue moon?",
)


@pytest.fixture(scope="module", params=["tiny", "original"])
def llm(request, tmp_path_factory) -> VideoLLM:
    if request.param == "tiny":
        return VideoLLM.from_pretrained("tiny")
    return own_llm(tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize("look", ["again", "once"])
def test_five_turns_equal_computing_all_anew(llm: VideoLLM, look: str):
    video = llm.watch("sample:star", frames=16)
    template = template_for(llm.conv_mode, llm.image_llm.tokenizer, multiple_choice=False)
    kept, anew = (
        video.chat(plan="slow=uniform:8/concat", look=look, max_new_tokens=8) for _ in range(2)
    )
    for number, question in enumerate(QUESTIONS):
        anew.forget()
        first, second = kept.ask(question), anew.ask(question)
        assert first.token_ids == second.token_ids
        assert first.prompt_tokens == second.prompt_tokens
        assert anew.computed == second.prompt_tokens
        if number and look == "once":  # the last token of what was said, and what came with it
            follow = template.follow.replace("{question}", question)
            assert kept.computed <= len(llm.image_llm.tokenize_more(follow)) + 1
            assert kept.computed < first.prompt_tokens / 3
    assert [turn.question for turn in kept.turns] == list(QUESTIONS)
    if look == "once":
        assert len({turn.visual_tokens.embeds.data_ptr() for turn in kept.turns}) == 1


def test_the_prompt_of_a_turn_is_what_was_said_and_what_is_asked(llm: VideoLLM):
    """The ids are those of the whole text, the answers' as they were generated."""
    video = llm.watch("sample:star", frames=8)
    chat = video.chat(plan="lean", look="once", max_new_tokens=4)
    first, second = chat.ask(QUESTIONS[0]), chat.ask(QUESTIONS[1])
    image_llm = llm.image_llm
    template = template_for(llm.conv_mode, image_llm.tokenizer, multiple_choice=False)
    ids = image_llm.tokenize(template.fill(QUESTIONS[0]))
    ids += image_llm.without_end(first.token_ids)
    ids += image_llm.tokenize_more(template.follow.replace("{question}", QUESTIONS[1]))
    embeds = image_llm.embed(ids, first.visual_tokens.embeds)
    assert len(embeds) == second.prompt_tokens
    with torch.inference_mode():
        scores = image_llm.model(inputs_embeds=embeds[None]).logits[0, -1]
    assert int(scores.argmax()) == second.token_ids[0]


def test_a_first_turn_is_the_answer_to_one_question(llm: VideoLLM):
    video = llm.watch("sample:star", frames=16)
    for plan in ("lean", "paper"):
        chat = video.chat(plan=plan, max_new_tokens=6)
        alone = video.ask(QUESTIONS[0], plan=plan, max_new_tokens=6)
        assert chat.ask(QUESTIONS[0]).token_ids == alone.token_ids


def test_text_streams_and_can_be_stopped(llm: VideoLLM):
    video = llm.watch("sample:star", frames=8)
    chat = video.chat(plan="lean", max_new_tokens=12)
    pieces: list[str] = []
    answer = chat.ask(QUESTIONS[0], on_text=pieces.append)
    assert "".join(pieces).strip() == answer.text
    again = video.chat(plan="lean", max_new_tokens=12)
    assert "".join(again.stream(QUESTIONS[0])).strip() == answer.text
    assert again.turns[0].token_ids == answer.token_ids
    stopped = video.chat(plan="lean", max_new_tokens=12)
    short = stopped.ask(QUESTIONS[0], on_text=lambda _: stopped.stop())
    assert len(short.token_ids) <= len(answer.token_ids)
    assert answer.token_ids[: len(short.token_ids)] == short.token_ids
    for _ in stopped.stream(QUESTIONS[1]):
        break  # ends the answer, and the thread
    assert len(stopped.turns) == 2
    with pytest.raises(ConfigError, match="a question is a text"):
        list(stopped.stream(" "))


def test_the_plan_may_change_between_turns(llm: VideoLLM):
    video = llm.watch("sample:star", frames=8)
    chat = video.chat(plan="lean", max_new_tokens=3)
    few = chat.ask(QUESTIONS[0])
    from free_video_llm import Plan

    chat.plan = Plan.preset("prompt-3")
    assert len(chat.ask(QUESTIONS[1]).visual_tokens) > len(few.visual_tokens)


def test_what_a_conversation_cannot_be_is_said(llm: VideoLLM):
    video = llm.watch("sample:star", frames=8)
    with pytest.raises(ConfigError, match="did you mean 'again'"):
        video.chat(look="agian")
    with pytest.raises(ConfigError, match="for one question alone"):
        video.chat(conv_mode="multiple_choice_allvideo_v4")
    chat = video.chat(plan="lean", max_new_tokens=llm.image_llm.max_positions)
    with pytest.raises(ConfigError, match="the conversation needs"):
        chat.ask(QUESTIONS[0])
    assert chat.turns == []
    assert len(repr(chat)) < 300


def test_every_open_prompt_goes_on():
    for name, template in TEMPLATES.items():
        assert bool(template.follow) != template.multiple_choice, name
        assert template.follow.count("{question}") == (not template.multiple_choice)


class ChatTokenizer:
    """A chat template, as a tokenizer's."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    def apply_chat_template(self, messages, *, tokenize: bool, add_generation_prompt: bool) -> str:
        if len(messages) > self.turns:
            raise ValueError("one turn only")
        return "".join(f"<{m['role']}>{m['content']}<end>" for m in messages) + "<assistant>"


def test_a_chat_template_gives_what_stands_between_turns():
    template = template_for("chat", ChatTokenizer(9), multiple_choice=False)
    assert template.follow == "<end><user>{question}<end><assistant>"
    assert template_for("chat", ChatTokenizer(1), multiple_choice=False).follow == ""


# --- the command --------------------------------------------------------------------------------


def chat_with(lines: str, monkeypatch, *more: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", "sample:star", "--plan", "lean", "--max-new-tokens", "6", *more])


def test_the_command_answers_line_by_line(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "why.png"
    lines = (
        f"What color is the star?\n\nIs there a star?\n/evidence\n/evidence {picture}\n"
        "/plan prompt-3\n/range 1-2\nIs there a star?\n/evidence\n/new\n/help\n/quit\nnever read\n"
    )
    assert chat_with(lines, monkeypatch) == 0
    out, err = capsys.readouterr()
    alone = (
        VideoLLM.from_pretrained("tiny")
        .watch("sample:star")
        .ask("What color is the star?", plan="lean")
    )
    assert out.splitlines()[0] == alone.text
    assert "visual tokens, pre-fill" in err
    assert "/range A-B" in err
    assert picture.stat().st_size > 1000
    times = [line for line in out.splitlines() if line.startswith("  slow: ")]
    assert len(times) == 2
    assert all(
        t.strip().startswith("0:01") for t in times[1].split(": ")[1].split(" (")[0].split(",")
    )


def test_the_command_says_what_is_wrong_and_goes_on(monkeypatch, capsys):
    assert chat_with("/plan papr\n/jump\n/evidence\n/range x\nIs there a star?\n", monkeypatch) == 1
    out, err = capsys.readouterr()
    for what in ("did you mean 'paper'", "there is no /jump", "nothing was asked", "with a hyphen"):
        assert what in err
    assert out.strip()
