"""The prompts of METHOD §1, to the letter, and how one is chosen and filled."""

from __future__ import annotations

import pytest
from jinja2 import Environment, StrictUndefined

from free_video_llm.errors import ConfigError
from free_video_llm.llm.prompts import (
    TEMPLATES,
    check_options,
    choice_mode,
    choose_mode,
    template_for,
    template_named,
)

CONCISELY = (
    "The input consists of a sequence of key frames from a video. Answer concisely with overall "
    "content and context of the video, highlighting any significant events, characters, or objects "
    "that appear throughout the video."
)
RELEASED = {
    "image_seq_v3": f"USER: <image>\n{CONCISELY} Question: %s \nASSISTANT:\nAnswer: In the video,",
    "image_seq_34b_v3": (
        "<|im_start|>system\n Answer the question. <|im_end|>\n<|im_start|>user\n <image>\n"
        f"{CONCISELY} Question: %s <|im_end|>\n<|im_start|>assistant\nAnswer: In the video,"
    ),
    "multiple_choice_allvideo_v4": (
        "You are a helpful expert in video analysis. Select the best option to answer the "
        "question. USER: <image>\nThe input consists of a sequence of key frames from a video.\n"
        "Question: %s\nOptions:\n(A) a cat\n(B) two {dogs}\nOnly give the best option. \n"
        "ASSISTANT:\nAnswer: Best option:("
    ),
    "multiple_choice_allvideo_34b_v4": (
        "<|im_start|>system\n You are a helpful expert in video analysis. Select the best option "
        "to answer the question. <|im_end|>\n<|im_start|>user\n <image>\n"
        "The input consists of a sequence of key frames from a video.\nQuestion: %s\nOptions:\n"
        "(A) a cat\n(B) two {dogs}\nOnly give the best option. <|im_end|>\n"
        "<|im_start|>assistant\nAnswer: Best option:("
    ),
}


@pytest.mark.parametrize("mode", RELEASED)
@pytest.mark.parametrize("question", ["what is it?", "{question} {options} %s {", ""])
def test_released_prompts(mode: str, question: str) -> None:
    template = template_named(mode)
    options = ["a cat", "two {dogs}"] if template.multiple_choice else []
    head, tail = RELEASED[mode].split("%s")
    assert template.fill(question, options) == head + question + tail


@pytest.mark.parametrize("mode", TEMPLATES)
def test_every_prompt_has_one_image_whatever_is_asked(mode: str) -> None:
    template = template_named(mode)
    options = ["<image>", "b"] if template.multiple_choice else []
    assert template.fill("is <image> here?", options).count("<image>") == 1


def test_what_ends_a_turn() -> None:
    """Vicuna and Mistral end with the end of sequence; nothing else stops them when released."""
    stops = {mode: template.stop for mode, template in TEMPLATES.items() if template.stop}
    assert stops == {
        "image_seq_34b_v3": ("<|im_end|>",),
        "multiple_choice_allvideo_34b_v4": ("<|im_end|>",),
    }


@pytest.mark.parametrize("mode", TEMPLATES)
def test_every_mode_has_a_multiple_choice_form(mode: str) -> None:
    choice = choice_mode(mode)
    assert TEMPLATES[choice].multiple_choice
    assert choice_mode(choice) == choice
    assert TEMPLATES[choice].stop == TEMPLATES[mode].stop


@pytest.mark.parametrize(
    ("llm", "words", "chatml", "chat", "mode"),
    [
        ("llama", 32_000, False, False, "image_seq_v3"),  # Vicuna
        ("llama", 32_064, False, True, "image_seq_v3"),
        ("llama", 64_000, True, True, "image_seq_34b_v3"),  # Yi
        ("mistral", 32_064, False, True, "image_seq_mistral_v3"),
        ("llama", 128_320, False, True, "chat"),  # Llama 3
        ("llama", 128_320, False, False, None),
        ("mistral", 131_072, False, True, "chat"),
        ("qwen2", 152_000, True, True, "chat"),  # not the 34B's odd spacing
        ("qwen2", 152_000, True, False, None),
        ("gemma2", 256_000, False, False, None),
    ],
)
def test_no_model_gets_another_ones_prompt(llm, words, chatml, chat, mode) -> None:
    assert choose_mode(llm, words, chatml=chatml, has_chat=chat) == mode


class Tokenizer:
    """Has a chat template, as transformers' tokenizers have."""

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def apply_chat_template(self, messages: list[dict[str, str]], **how: object) -> str:
        assert how == {"tokenize": False, "add_generation_prompt": True}
        return (
            Environment(undefined=StrictUndefined, keep_trailing_newline=True)
            .from_string(self.chat_template)
            .render(messages=messages, add_generation_prompt=True)
        )


QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def test_a_chat_template_asks_in_its_own_words() -> None:
    template = template_for("chat", Tokenizer(QWEN), multiple_choice=False)
    assert template.fill("What is {this}?") == (
        "<|im_start|>user\n<image>\nThe input consists of a sequence of key frames from a video. "
        "Question: What is {this}?<|im_end|>\n<|im_start|>assistant\n"
    )
    choice = template_for("chat", Tokenizer(QWEN), multiple_choice=True)
    assert "Options:\n(A) a\n(B) b\nAnswer with the letter" in choice.fill("Which?", ["a", "b"])


@pytest.mark.parametrize("template", ["{{ nothing.known }}", "no question", "{% bad"])
def test_a_chat_template_that_cannot_be_used_is_one_line(template: str) -> None:
    with pytest.raises(ConfigError, match="conv_mode") as caught:
        template_for("chat", Tokenizer(template), multiple_choice=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("red", "options are a list of texts, not 'red'"),
        (["a", 2], "an option is a text, not 2"),
        (["a", " "], "an option is a text, not ''"),
        (["a"], "at least two options, not one"),
        (["x"] * 27, "at most 26 options, A to Z, not 27"),
        ({"a": 1}, "options are a list of texts"),
    ],
)
def test_options_that_cannot_be(options, words) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options(options)
    assert words in str(caught.value)
    assert check_options([]) == ()
    assert check_options(["a", "b"]) == ("a", "b")


def test_options_where_they_do_not_belong() -> None:
    with pytest.raises(ConfigError, match="takes no options"):
        template_named("image_seq_v3").fill("a?", ["b"])
    with pytest.raises(ConfigError, match="give options"):
        template_named("multiple_choice_allvideo_v4").fill("a?")


def test_an_unknown_mode_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'image_seq_34_v3'; did you mean 'image_seq_34b_v3'"):
        template_named("image_seq_34_v3")
