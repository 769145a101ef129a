"""A conversation about a video: follow-up questions see what was said, and what they have in common
with the turns before is not computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, Protocol, get_args

from free_video_llm.answer import Answer
from free_video_llm.asking import (
    Asked,
    answer_all,
    check_plan,
    evidence_of,
    make_answer,
    spoken_question,
)
from free_video_llm.errors import ConfigError, one_of, shown
from free_video_llm.llm.continued import Continued
from free_video_llm.llm.generate import Decoding, ImageLLM, is_local
from free_video_llm.llm.prompts import IMAGE, template_for
from free_video_llm.looking import Perceived, look
from free_video_llm.models.family import LLM
from free_video_llm.plans.apply import VisualTokens
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.plans.plan import Plan

#: Whether each turn chooses what it is shown anew, or all go by the first one's choice.
LookAt = Literal["again", "once"]
#: Called with each new piece of an answer's text.
OnText = Callable[[str], None]


class _Model(Protocol):
    name: str
    conv_mode: str
    towers: Any

    @property
    def language_model(self) -> LLM: ...


class _Video(Perceived, Protocol):
    @property
    def model(self) -> Any: ...

    def for_plan(self, plan: Plan) -> Any: ...


class Conversation:
    """Questions one after the other about a watched video.

    Args:
        video: the watched video.
        plan: what is kept for each turn; it may be changed between turns.
        look: "again": frames and regions are chosen for each question (with the question before
            it, since "and where is it?" names nothing); "once": the first turn's choice is kept,
            and only what is new in the prompt is computed.
        conv_mode, decoding: as for one question.
        said: questions and answers of before, of which no more is known than their texts.

    Attributes:
        turns: the answers so far.
        computed: positions of the latest prompt that had to be computed; the others' keys and
            values were there. None for models that are not given tokens of ours.

    Not for several threads at once, but for `stop`.

    Raises:
        ConfigError: the model's prompt is for one question alone.
    """

    def __init__(
        self,
        video: _Video,
        *,
        plan: str | Plan = "paper",
        look: LookAt = "again",
        conv_mode: str | None = None,
        decoding: Decoding | None = None,
        said: Sequence[tuple[str, str]] = (),
    ) -> None:
        one_of("look", look, get_args(LookAt), ConfigError)
        model: _Model = video.model
        self.video, self.plan, self.look = video, resolve_plan(plan), look
        self.turns: list[Answer] = []
        self._said = tuple(said)
        self._llm, self._model = model.language_model, model
        self._decoding = decoding or Decoding()
        self._conv_mode = conv_mode or model.conv_mode
        self._ids: list[int] = []
        self._first: VisualTokens | None = None
        self._stopped = False
        check_plan(self._llm, self.plan, conv_mode)
        if is_local(self._llm):
            self._continued = Continued(self._llm)
            self._template = template_for(
                self._conv_mode, self._llm.tokenizer, multiple_choice=False
            )
            if not self._template.follow:
                raise ConfigError(
                    f"the prompt {self._conv_mode!r} is for one question alone: name another "
                    "conv_mode"
                )
        elif look == "once":
            raise ConfigError(
                f"look='once' keeps visual tokens, and those of {model.name} are its own affair"
            )

    def __repr__(self) -> str:
        return f"Conversation({len(self.turns)} turns, look={self.look!r}, {self.video!r})"

    @property
    def computed(self) -> int | None:
        return self._continued.computed if is_local(self._llm) else None

    def stop(self) -> None:
        """End the answer that is being made at its next token; may be called from anywhere."""
        self._stopped = True

    def forget(self) -> None:
        """Compute the next turn's prompt from its beginning; what was said stays."""
        if is_local(self._llm):
            self._continued.forget()

    def ask(
        self, question: str, *, reads: str | None = None, on_text: OnText | None = None
    ) -> Answer:
        """The next turn.

        Args:
            question: frames and regions are chosen for it.
            reads: what the language model reads in its place, where that is more.
            on_text: is given the answer piece by piece as it is made (of a model in process that is
                not given tokens of ours, as a whole).

        Raises:
            ConfigError: the question is empty, or the conversation too long for the model.
        """
        if not isinstance(question, str) or not question.strip():
            raise ConfigError(f"a question is a text, not {shown(question)}")
        self._stopped = False
        if self.plan.rules == "released":
            self.video = self.video.for_plan(self.plan)
        told = self._told()
        before = f"{told[-1][0]} " if told else ""
        pairs = [(self.video, before + question)]
        (seen,) = look(self._model.towers, pairs, [()], self.plan)
        seen = replace(seen, question=reads or question)
        if is_local(self._llm):
            answer = self._continue(self._llm, seen, on_text)
        else:
            answer = self._tell(seen, on_text)
        answer = replace(answer, question=question)
        self.turns.append(answer)
        return answer

    def _told(self) -> list[tuple[str, str]]:
        """Every question and answer so far."""
        return [*self._said, *((turn.question, turn.text) for turn in self.turns)]

    def stream(self, question: str) -> Iterator[str]:
        """The pieces of the next turn's answer as they are made; afterwards `turns` has it. Ending
        the loop early stops the answer."""
        pieces: SimpleQueue[str | BaseException | None] = SimpleQueue()

        def work() -> None:
            try:
                self.ask(question, on_text=pieces.put)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        thread = Thread(target=work, name="fvl-chat", daemon=True)
        thread.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self.stop()
            thread.join()

    def _continue(self, llm: ImageLLM, seen: Asked, on_text: OnText | None) -> Answer:
        """By keys and values that are kept."""
        asked = spoken_question(seen)
        if self._ids:
            ids = [*self._ids, *llm.tokenize_more(self._follow(asked))]
        else:
            first, *more = [*(question for question, _ in self._said), asked]
            ids = llm.tokenize(self._template.fill(first))
            for (_, answer), question in zip(self._said, more, strict=True):
                ids += llm.tokenize_more(answer) + llm.tokenize_more(self._follow(question))
        if self.look == "once":
            self._first = self._first or seen.tokens
            seen = replace(seen, tokens=self._first)
        told = ""

        def heard(text: str) -> bool:
            nonlocal told
            # A piece of a letter of several bytes is no text yet.
            if on_text is not None and len(text) > len(told) and not text.endswith("�"):
                on_text(text[len(told) :] if told else text.lstrip())
                told = text
            return self._stopped

        generation = self._continued.generate(
            ids,
            seen.tokens.embeds,
            decoding=self._decoding,
            stop=self._template.stop,
            heard=heard,
        )
        self._ids = [*ids, *llm.without_end(generation.token_ids)]
        evidence = evidence_of(seen, self.plan, "tokens")
        prompt = self._template.fill(spoken_question(seen))
        return make_answer(seen, self.plan, self._model.name, prompt, generation, evidence)

    def _follow(self, question: str) -> str:
        """What comes after an answer when a further question is asked."""
        return self._template.follow.replace("{question}", question.replace(IMAGE, ""))

    def _tell(self, seen: Asked, on_text: OnText | None) -> Answer:
        """By a model that is told what was said."""
        whole = in_words(self._told(), seen.question)
        heard = False

        def hear(text: str) -> bool:
            nonlocal heard
            heard = True
            if on_text is not None:
                on_text(text)
            return self._stopped

        (answer,) = answer_all(
            self._llm,
            [replace(seen, question=whole)],
            self.plan,
            conv_mode=self._conv_mode,
            decoding=self._decoding,
            model=self._model.name,
            on_text=None if on_text is None else hear,
        )
        if on_text is not None and not heard:  # the model gives its answers as a whole
            on_text(answer.text)
        return answer


def in_words(said: Sequence[tuple[str, str]], question: str) -> str:
    """A question after what was said before, for a model that is told so in words.

    Examples:
        >>> in_words([("What is it?", "a cat")], "Where?")
        'Question: What is it?\\nAnswer: a cat\\nQuestion: Where?'
    """
    lines = [f"Question: {asked}\nAnswer: {answer}" for asked, answer in said]
    return "\n".join([*lines, f"Question: {question}"]) if lines else question
