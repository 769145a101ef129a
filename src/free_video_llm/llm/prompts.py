"""Prompt templates by `conv_mode` (METHOD §1): a question becomes the text around `<image>`.

Knows nothing of models, and of tokenizers only that they have chat templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from free_video_llm.errors import ConfigError, first_line, one_of, shown

IMAGE = "<image>"
#: The mode that asks by the tokenizer's own chat template.
CHAT = "chat"
#: What ends a turn in ChatML; a tokenizer that has it as one token is of a ChatML model.
END_OF_TURN = "<|im_end|>"

_SEQUENCE = "The input consists of a sequence of key frames from a video."
_CONCISELY = (
    "Answer concisely with overall content and context of the video, highlighting any significant "
    "events, characters, or objects that appear throughout the video."
)
_EXPERT = (
    "You are a helpful expert in video analysis. Select the best option to answer the question."
)


_CHAT_ASK = f"{_SEQUENCE} Question: {{question}}"
_CHAT_CHOICE = (
    f"{_SEQUENCE}\nQuestion: {{question}}\nOptions:\n{{options}}"
    "Answer with the letter of the best option."
)


@dataclass(frozen=True)
class Template:
    """A prompt with `{question}` and, for multiple choice, `{options}`.

    `stop` are texts that end the model's turn, besides its end of sequence. Vicuna and Mistral end
    theirs with the end of sequence itself, and nothing else stops them in the released code.
    `follow` is what stands between an answer and the next, with `{question}`.
    """

    text: str
    stop: tuple[str, ...] = ()
    follow: str = ""

    @property
    def multiple_choice(self) -> bool:
        return "{options}" in self.text

    def fill(self, question: str, options: Sequence[str] = ()) -> str:
        """The whole prompt. Braces in a question are left as they are.

        Raises:
            ConfigError: options for a template without them, or none for one that needs them.
        """
        if bool(options) != self.multiple_choice:
            raise ConfigError(
                "this prompt template is for multiple choice: give options"
                if self.multiple_choice
                else "this prompt template takes no options: choose a multiple_choice_… conv_mode"
            )
        parts = self.text.split("{question}")
        filled = question.replace(IMAGE, "").join(parts)
        if options:
            listed = "".join(
                f"({chr(ord('A') + i)}) {option.replace(IMAGE, '')}\n"
                for i, option in enumerate(options)
            )
            head, tail = filled.rsplit("{options}", 1)
            filled = head + listed + tail
        return filled


def _chatml(system: str, user: str, answer: str) -> str:
    return (
        f"<|im_start|>system\n {system} <|im_end|>\n<|im_start|>user\n {IMAGE}\n{user} <|im_end|>\n"
        f"<|im_start|>assistant\n{answer}"
    )


_CHATML_STOP = (END_OF_TURN,)
_CHATML_FOLLOW = (
    f"{END_OF_TURN}\n<|im_start|>user\n{{question}}{END_OF_TURN}\n<|im_start|>assistant\n"
)
_CHOICE = _SEQUENCE + "\nQuestion: {question}\nOptions:\n{options}Only give the best option."
_ASK = _SEQUENCE + " " + _CONCISELY + " Question: {question}"

#: Choices are lettered.
MOST_OPTIONS = 26


def check_options(options: object) -> tuple[str, ...]:
    """The choices of a multiple-choice question as a tuple; none is (). Raises ConfigError."""
    if not isinstance(options, list | tuple):
        raise ConfigError(f"options are a list of texts, not {shown(options)}")
    for option in options:
        if not isinstance(option, str) or not option.strip():
            raise ConfigError(f"an option is a text, not {shown(option)}")
    if len(options) == 1:
        raise ConfigError("a multiple-choice question has at least two options, not one")
    if len(options) > MOST_OPTIONS:
        raise ConfigError(
            f"a multiple-choice question has at most {MOST_OPTIONS} options, A to Z, "
            f"not {len(options)}"
        )
    return tuple(options)


TEMPLATES: dict[str, Template] = {
    "image_seq_v3": Template(
        f"USER: {IMAGE}\n{_ASK} \nASSISTANT:\nAnswer: In the video,",
        follow="</s>USER: {question} \nASSISTANT:",
    ),
    "image_seq_34b_v3": Template(
        _chatml("Answer the question.", _ASK, "Answer: In the video,"),
        stop=_CHATML_STOP,
        follow=_CHATML_FOLLOW,
    ),
    "image_seq_mistral_v3": Template(
        f"[INST] {IMAGE}\n{_ASK} [/INST]\nAnswer: In the video,",
        follow="</s>[INST] {question} [/INST]",
    ),
    "multiple_choice_allvideo_v4": Template(
        f"{_EXPERT} USER: {IMAGE}\n{_CHOICE} \nASSISTANT:\nAnswer: Best option:("
    ),
    "multiple_choice_allvideo_34b_v4": Template(
        _chatml(_EXPERT, _CHOICE, "Answer: Best option:("), stop=_CHATML_STOP
    ),
    "multiple_choice_allvideo_mistral_v4": Template(
        f"[INST] {_EXPERT} {IMAGE}\n{_CHOICE} [/INST]\nAnswer: Best option:("
    ),
    "plain": Template(
        f"USER: {IMAGE}\n{{question}} ASSISTANT:", follow=" USER: {question} ASSISTANT:"
    ),
    "plain_choice": Template(f"USER: {IMAGE}\n{{question}}\n{{options}}ASSISTANT: ("),
}

_CHOICE_OF = {
    "image_seq_v3": "multiple_choice_allvideo_v4",
    "image_seq_34b_v3": "multiple_choice_allvideo_34b_v4",
    "image_seq_mistral_v3": "multiple_choice_allvideo_mistral_v4",
    "plain": "plain_choice",
}


def is_own(conv_mode: str | None) -> bool:
    """Whether a mode is a prompt of one's own, written out: it has `{question}` in it."""
    return conv_mode is not None and "{question}" in conv_mode


def check_own(text: object) -> str:
    """A prompt of one's own. Raises ConfigError for what is none."""
    for part, least in (("{question}", 1), ("{options}", 0), (IMAGE, 0)):
        count = text.count(part) if isinstance(text, str) else 0
        if not least <= count <= 1:
            raise ConfigError(
                f"a prompt of one's own is a text with {{question}} once, and where wanted {IMAGE} "
                f"and {{options}} once, not {shown(text)}"
            )
    assert isinstance(text, str)
    return text


def own_template(text: str, *, multiple_choice: bool, image: bool) -> Template:
    """A prompt of one's own as a template.

    Args:
        multiple_choice: whether there are options; where `{options}` is not in the text, they come
            after the question, and where there are none, it is taken out.
        image: whether `<image>` stands in it, at the beginning where the text does not say.

    Raises:
        ConfigError: it is none.
    """
    text = check_own(text)
    if not multiple_choice:
        text = text.replace("{options}", "")
    elif "{options}" not in text:
        text = text.replace("{question}", "{question}\n{options}")
    if not image:
        return Template(text.replace(IMAGE, "").strip())
    return Template(text if IMAGE in text else f"{IMAGE}\n{text}")


def check_mode(conv_mode: str) -> None:
    """Raises ConfigError naming the nearest known mode; a prompt of one's own is one."""
    if is_own(conv_mode):
        check_own(conv_mode)
        return
    one_of("conv_mode", conv_mode, [*TEMPLATES, CHAT], ConfigError)


def template_named(conv_mode: str) -> Template:
    """The template of a mode that needs no tokenizer. Raises ConfigError as `check_mode` does."""
    one_of("conv_mode", conv_mode, TEMPLATES, ConfigError)
    return TEMPLATES[conv_mode]


def choice_mode(conv_mode: str) -> str:
    """The multiple-choice form of a mode (a multiple-choice mode is its own)."""
    if template_named(conv_mode).multiple_choice:
        return conv_mode
    return _CHOICE_OF[conv_mode]


def template_for(conv_mode: str, tokenizer: Any, *, multiple_choice: bool) -> Template:
    """The template for a question, with options or without.

    Args:
        conv_mode: a known mode, "chat", or a prompt of one's own.
        tokenizer: the language model's, whose chat template "chat" uses.
        multiple_choice: whether the question has options.

    Raises:
        ConfigError: an unknown mode, or "chat" for a tokenizer without a chat template.
    """
    check_mode(conv_mode)
    if is_own(conv_mode):
        return own_template(conv_mode, multiple_choice=multiple_choice, image=True)
    if conv_mode != CHAT:
        return template_named(choice_mode(conv_mode) if multiple_choice else conv_mode)
    user = f"{IMAGE}\n{_CHAT_CHOICE if multiple_choice else _CHAT_ASK}"
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": user}], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a stranger's Jinja can fail in any way
        raise ConfigError(
            f"the tokenizer's chat template cannot be used ({first_line(error)}); name a "
            f"prompt with conv_mode ({', '.join(TEMPLATES)})"
        ) from None
    whole = text.count(IMAGE) == text.count("{question}") == 1
    if not whole or ("{options}" in text) != multiple_choice:
        raise ConfigError("the tokenizer's chat template drops the question: name a conv_mode")
    return Template(text, follow="" if multiple_choice else _follow(tokenizer, user))


def _follow(tokenizer: Any, user: str) -> str:
    """What a chat template puts between an answer and the next; nothing where it takes no turns."""
    turns = [("user", user), ("assistant", "{answer}"), ("user", "{follow}")]
    try:
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns],
            tokenize=False,
            add_generation_prompt=True,
        )
    except Exception:  # of conversations; alone, a question can be asked all the same
        return ""
    between = text.split("{answer}")[-1]
    return between.replace("{follow}", "{question}") if between.count("{follow}") == 1 else ""


def choose_mode(llm_type: str, vocabulary: int, *, chatml: bool, has_chat: bool) -> str | None:
    """The mode that fits a language model, None where none is known to.

    The released modes are for the models that they were written for, told by their type and
    vocabulary: Vicuna (Llama 2's), Mistral 7B v0.2, and Yi-34B with ChatML's tokens. Any other has
    its tokenizer's chat template.

    Examples:
        >>> choose_mode("llama", 64_000, chatml=True, has_chat=True)  # LLaVA-v1.6-34B, on Yi
        'image_seq_34b_v3'
        >>> choose_mode("qwen2", 152_000, chatml=True, has_chat=True)
        'chat'
    """
    if llm_type == "llama" and chatml:
        return "image_seq_34b_v3"
    if llm_type == "llama" and vocabulary <= _LLAMA_2_WORDS:
        return "image_seq_v3"
    if llm_type == "mistral" and vocabulary <= _LLAMA_2_WORDS:
        return "image_seq_mistral_v3"
    return CHAT if has_chat else None


#: The vocabulary of Llama 2 and Mistral v0.2, with the few tokens that LLaVA adds.
_LLAMA_2_WORDS = 32_100
