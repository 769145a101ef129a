"""A watched video: what questions are asked of. `VideoLLM.watch` makes it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from free_video_llm.answer import Answer, Evidence
from free_video_llm.asking import Choose, evidence_of
from free_video_llm.conversation import Conversation, LookAt
from free_video_llm.encoder.features import Memo, VideoFeatures
from free_video_llm.encoder.saved import save_video
from free_video_llm.encoder.scorer import PromptVector
from free_video_llm.encoder.search import Search
from free_video_llm.encoder.watching import Reading, Seen, watch
from free_video_llm.errors import ConfigError, check_keywords, shown
from free_video_llm.llm.generate import Decoding
from free_video_llm.looking import look, notes_on
from free_video_llm.plans.apply import NO_TOKENS, VisualTokens, perceive
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.plans.plan import Plan, Rules
from free_video_llm.profiling.stopwatch import Stopwatch
from free_video_llm.video.read import Frames
from free_video_llm.video.spoken import word_scores

DEFAULT_PLAN = "paper"


class Asks(Protocol):
    """The model that watched a video, as `VideoLLM` is."""

    name: str
    towers: Any

    @property
    def picture_llm(self) -> Any: ...

    @property
    def token_llm(self) -> Any: ...

    @property
    def ask(self) -> Callable[..., list[Answer]]: ...


@dataclass(eq=False, repr=False)
class Video:
    """A video that has been watched: its frames and features, kept for any number of questions.

    It can be pickled: frames and features go along, the model does not. `VideoLLM.attach` gives it
    one again.
    """

    llm: Asks | None
    frames: Frames
    features: VideoFeatures
    decode_seconds: float
    encode_seconds: float
    memo: Memo = field(default_factory=dict)
    from_cache: bool = False
    reading: Reading | None = None
    search: Search | None = None
    _released: Video | None = None

    @staticmethod
    def of(llm: Asks, seen: Seen, reading: Reading) -> Video:
        """From what watching gave."""
        took = (seen.decoded, seen.encoded, seen.memo, seen.from_cache)
        return Video(llm, seen.frames, seen.features, *took, reading=reading, search=seen.search)

    def __repr__(self) -> str:
        side, model = self.features.side, self.llm.name if self.llm else None
        name = shown(os.path.basename(self.frames.name) or self.frames.name)
        return (
            f"Video({name}, {len(self.frames)} of {self.frames.total} frames in "
            f"{self.frames.duration:.1f} s, {side}×{side} patches each, model={shown(model)})"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {
            "llm": None,
            "memo": {},
            "reading": None,
            "search": None,
            "_released": None,
        }
        return state | {"features": self.features.without_model()}

    @check_keywords
    def ask(
        self,
        question: str,
        *,
        plan: str | Plan = DEFAULT_PLAN,
        rules: Rules | None = None,
        options: list[str] | tuple[str, ...] = (),
        choose: Choose = "generate",
        blind: bool = False,
        conv_mode: str | None = None,
        prompt: str | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float | None = None,
        top_k: int | None = None,
        num_beams: int = 1,
        repetition_penalty: float | None = None,
        seed: int | None = None,
    ) -> Answer:
        """Ask a question about this video; see `VideoLLM.ask`."""
        answers = self.model.ask(
            [(self, question)],
            plan=plan,
            rules=rules,
            options=[options],
            choose=choose,
            blind=blind,
            conv_mode=conv_mode,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            num_beams=num_beams,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        return answers[0]

    def save(self, path: str | Path) -> Path:
        """Write frames and features to a file, from which `VideoLLM.load_video` has them without
        the video; nothing in it is run when it is read.

        Raises:
            ConfigError: it cannot be written, or the video is one of very many frames, or searched.
        """
        if self.search is not None:
            raise ConfigError("what a search looked at differs by question: watch without search=")
        return save_video(path, self.frames, self.features)

    async def aask(self, question: str, **how: Any) -> Answer:
        """`ask` in a thread of its own."""
        return await asyncio.to_thread(self.ask, question, **how)

    def stream(self, question: str, **how: Any) -> Iterator[str]:
        """The pieces of an answer as it is made; `how` as for `chat`. Ending the loop early stops
        it. `chat` gives the whole `Answer` too."""
        return self.chat(**how).stream(question)

    @check_keywords
    def chat(
        self,
        *,
        plan: str | Plan = DEFAULT_PLAN,
        look: LookAt = "again",
        conv_mode: str | None = None,
        max_new_tokens: int = 128,
        said: Sequence[tuple[str, str]] = (),
    ) -> Conversation:
        """A conversation about this video; see `Conversation`."""
        decoding = Decoding(max_new_tokens=max_new_tokens)
        return Conversation(
            self, plan=plan, look=look, conv_mode=conv_mode, decoding=decoding, said=said
        )

    @check_keywords
    def find(self, question: str, *, plan: str | Plan = "lean") -> Evidence:
        """The frames and regions that a plan keeps for a question; no language model is asked.
        `show.save_frames` writes them as pictures."""
        plan = resolve_plan(plan)
        (seen,) = look(self.model.towers, [(self.for_plan(plan), question)], [()], plan)
        return evidence_of(seen, plan, "patches")

    def perceive(
        self, question: str | PromptVector, plan: Plan, *, stopwatch: Stopwatch | None = None
    ) -> tuple[VisualTokens, tuple[str, ...]]:
        """The visual tokens of a plan for a question, and warnings; the LLM is not run.

        A stopwatch gets the seconds of "select" and "project".
        """
        llm = self.model
        prompt = question
        if isinstance(prompt, str):
            prompt = llm.towers.encode_prompt(prompt)
        notes = notes_on(self.frames, plan, prompt)
        said = None
        if self.frames.subtitles and plan.rules == "corrected" and prompt.text:
            near = word_scores(self.frames.subtitles, prompt.text, self.frames.seconds)
            said = torch.from_numpy(near) if near.any() else None
        projector = NO_TOKENS if llm.picture_llm is not None else llm.token_llm.projector
        tokens = perceive(
            self.features,
            prompt.vector,
            plan,
            projector,
            said=said,
            memo=self.memo,
            stopwatch=stopwatch,
        )
        return tokens, notes

    def for_plan(self, plan: Plan) -> Video:
        """This video with the pixels that a plan needs.

        The released rules need the released code's positions and its scaling: the source is read
        again for them, once, if the frames were read otherwise. Frames that were given as such
        cannot be: they stay, and `perceive` warns.
        """
        if plan.rules != "released" or self.frames.as_released or self.reading is None:
            return self
        if self.search is not None:
            raise ConfigError("the released rules sample frames evenly: watch without search=")
        if self._released is None:
            reading = replace(self.reading, rules="released", resize=None)
            late = not plan.keeps_all(reading.frames)
            seen = watch(reading, self.model.towers, late=late)
            self._released = Video.of(self.model, seen, reading)
        return self._released

    def closer(self, prompt: PromptVector) -> Video:
        """This video, and of one that is searched what was looked at for a question."""
        if self.search is None:
            return self
        found = self.search.closer(prompt.vector)
        return Video(self.llm, found.frames, found.features, found.waited, found.encoded)

    @property
    def model(self) -> Asks:
        """The model that watched it; ConfigError if it was unpickled and not attached to one."""
        if self.llm is None:
            raise ConfigError("this video was unpickled and has no model: llm.attach(video)")
        return self.llm
