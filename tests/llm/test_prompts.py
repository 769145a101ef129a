"""The prompts of METHOD §1, to the letter, and how one is chosen and filled."""

from __future__ import annotations

import pytest

from free_video_llm.errors import ConfigError
from free_video_llm.llm.prompts import TEMPLATES, choice_mode, guess_conv_mode, template_named

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
    ("llm", "chatml", "mode"),
    [
        ("llama", False, "image_seq_v3"),
        ("llama", True, "image_seq_34b_v3"),
        ("mistral", False, "image_seq_mistral_v3"),
        ("mistral", True, "image_seq_34b_v3"),
        ("qwen2", False, "image_seq_v3"),
    ],
)
def test_the_mode_that_fits(llm: str, chatml: bool, mode: str) -> None:
    assert guess_conv_mode(llm, chatml=chatml) == mode


def test_options_where_they_do_not_belong() -> None:
    with pytest.raises(ConfigError, match="takes no options"):
        template_named("image_seq_v3").fill("a?", ["b"])
    with pytest.raises(ConfigError, match="give options"):
        template_named("multiple_choice_allvideo_v4").fill("a?")


def test_an_unknown_mode_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'image_seq_34_v3'; did you mean 'image_seq_34b_v3'"):
        template_named("image_seq_34_v3")
