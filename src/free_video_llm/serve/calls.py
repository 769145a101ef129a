"""What a client asks: OpenAI's chat completion, with our own options under `fvl`.

From a request's JSON to a `Call`, in which everything is checked but the video itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from free_video_llm.asking import Choose, check_choose
from free_video_llm.errors import ConfigError, FreeVideoLLMError, one_of
from free_video_llm.llm.generate import Decoding
from free_video_llm.llm.prompts import check_options
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.plans.plan import Plan
from free_video_llm.serve.refusals import Refusal
from free_video_llm.serve.settings import Bounds, Settings
from free_video_llm.video.ranges import TimeRange, check_ranges

Time = float | str | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Loose(BaseModel):
    """Clients send more than we know; what it is about is not ours to refuse."""

    model_config = ConfigDict(extra="ignore")


class _Address(_Loose):
    url: str


class _Text(_Loose):
    type: Literal["text"]
    text: str


class _Video(_Loose):
    type: Literal["video_url"]
    video_url: _Address | str


class _Picture(_Loose):
    type: Literal["image_url"]
    image_url: _Address | str


_Part = Annotated[_Text | _Video | _Picture, Field(discriminator="type")]


class _Message(_Loose):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part] | None = None


class _Options(_Strict):
    """Of ours; docs/serve.md."""

    plan: str | None = None
    frames: int | None = Field(default=None, ge=1)
    fps: float | None = Field(default=None, gt=0)
    max_candidates: int | None = Field(default=None, ge=1)
    start: Time = None
    end: Time = None
    ranges: list[tuple[Time, Time]] = []
    search: float | None = Field(default=None, gt=0, le=1)
    subtitles: str | None = None
    options: list[str] = []
    choose: Choose = "generate"
    evidence: bool = False


#: Options that say something of a video.
_OF_A_VIDEO = {"plan", "frames", "fps", "max_candidates", "start", "end", "ranges", "search",
               "subtitles", "evidence"}  # fmt: skip


class _StreamOptions(_Loose):
    include_usage: bool = False


class _Format(_Loose):
    type: str = "text"


class _Body(_Loose):
    messages: list[_Message] = Field(min_length=1)
    model: str | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    n: int | None = None
    tools: list[Any] | None = None
    response_format: _Format | None = None
    fvl: _Options = _Options()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a video are looked at; see `VideoLLM.watch`."""

    frames: int
    fps: float | None
    max_candidates: int
    ranges: tuple[TimeRange, ...]
    search: float | None
    subtitles: str | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A question, as it was asked.

    Attributes:
        model: one of those on offer.
        addresses: of one video, or of pictures in order; none where the model is asked in words
            alone.
        pictures: whether they are pictures.
        question: frames are chosen for it.
        instructions: that the model reads before it.
        said: earlier questions and answers.
        stream, with_usage, evidence: how the answer is wanted.
    """

    model: str
    addresses: tuple[str, ...]
    pictures: bool
    question: str
    instructions: str
    said: tuple[tuple[str, str], ...]
    options: tuple[str, ...]
    choose: Choose
    plan: Plan
    sampling: Sampling
    decoding: Decoding
    stream: bool
    with_usage: bool
    evidence: bool

    @property
    def reads(self) -> str:
        """What the model reads as the question."""
        return f"{self.instructions}\n{self.question}" if self.instructions else self.question


def read_call(body: Any, settings: Settings) -> Call:
    """The call that a request's JSON is. Raises Refusal."""
    try:
        read = _Body.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None
    try:
        return _call(read, settings)
    except FreeVideoLLMError as error:
        raise Refusal(400, str(error)) from None


def _call(body: _Body, settings: Settings) -> Call:
    bounds, ours = settings.bounds, body.fvl
    _check_unknown(body)
    model = body.model or settings.models[0]
    if model not in settings.models:
        try:
            one_of("model", model, settings.models, ConfigError)
        except ConfigError as error:
            raise Refusal(404, str(error), param="model", code="model_not_found") from None
    question, said, addresses, pictures = _read_messages(body.messages, bounds)
    if not addresses and ours.model_fields_set & _OF_A_VIDEO:
        raise Refusal(
            400,
            "there is no video: add {'type': 'video_url', 'video_url': {'url': …}} to the question",
            param="messages",
        )
    instructions = "\n".join(
        _text_of(m) for m in body.messages if m.role in ("system", "developer")
    ).strip()
    if len(instructions) + len(question) + sum(len(q) + len(a) for q, a in said) > bounds.letters:
        raise Refusal(413, f"the texts are longer than {bounds.letters:,} letters: shorten them")
    if ours.start is not None or ours.end is not None:
        if ours.ranges:
            raise ConfigError("a stretch is start and end, or ranges, not both")
        ours.ranges = [(ours.start, ours.end)]
    options = check_options(ours.options)
    check_choose(ours.choose, [options])
    most = min(ours.max_candidates or bounds.candidates, bounds.candidates)
    if (ours.frames or 0) > bounds.candidates:
        raise ConfigError(f"frames are at most {bounds.candidates:,} here, not {ours.frames:,}")
    return Call(
        model=model,
        addresses=addresses,
        pictures=pictures,
        question=question,
        instructions=instructions,
        said=said,
        options=options,
        choose=ours.choose,
        plan=resolve_plan(ours.plan or settings.plan),
        sampling=Sampling(
            frames=ours.frames or settings.frames,
            fps=ours.fps,
            max_candidates=most,
            ranges=check_ranges(ours.ranges),
            search=ours.search,
            subtitles=ours.subtitles,
        ),
        decoding=_decoding(body, bounds),
        stream=body.stream,
        with_usage=body.stream_options is not None and body.stream_options.include_usage,
        evidence=ours.evidence,
    )


def _check_unknown(body: _Body) -> None:
    """Refuse what an answer would silently lack."""
    if body.n not in (None, 1):
        raise Refusal(400, "one answer is given: leave n out, or n=1", param="n")
    if body.tools:
        raise Refusal(400, "no tools are called: leave tools out", param="tools")
    if body.response_format is not None and body.response_format.type != "text":
        raise Refusal(
            400, "answers are plain text: leave response_format out", param="response_format"
        )


def _decoding(body: _Body, bounds: Bounds) -> Decoding:
    wanted = body.max_completion_tokens or body.max_tokens or 128
    if wanted > bounds.answer_tokens:
        raise ConfigError(f"max_tokens is at most {bounds.answer_tokens:,} here, not {wanted:,}")
    warm = bool(body.temperature)
    return Decoding(
        max_new_tokens=wanted,
        temperature=body.temperature or 0.0,
        top_p=body.top_p if warm else None,  # of a greedy answer, clients send top_p=1 all the same
        seed=body.seed,
    )


def _read_messages(
    messages: Sequence[_Message], bounds: Bounds
) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...], bool]:
    """The last question, the turns before it, and what it is about: a video's address, or those of
    pictures and True."""
    turns = [m for m in messages if m.role in ("user", "assistant")]
    if not turns or turns[-1].role != "user":
        raise Refusal(400, "the last message is the user's question", param="messages")
    question = _text_of(turns[-1])
    if not question:
        raise Refusal(400, "the last message has no question: add a text part", param="messages")
    said: list[tuple[str, str]] = []
    waiting: list[str] = []
    for turn in turns[:-1]:
        text = _text_of(turn)
        if turn.role == "user":
            waiting.append(text)
        elif text:
            said.append(("\n".join(filter(None, waiting)), text))
            waiting.clear()
    question = "\n".join([*filter(None, waiting), question])
    parts = [p for m in turns for p in (m.content if isinstance(m.content, list) else [])]
    videos = [_url(p.video_url) for p in parts if isinstance(p, _Video)]
    pictures = [_url(p.image_url) for p in parts if isinstance(p, _Picture)]
    if len(set(videos)) > 1 or (videos and pictures):
        raise Refusal(
            400,
            "a conversation is about one video, or about pictures: ask about others by themselves",
            param="messages",
        )
    if len(pictures) > bounds.pictures:
        raise Refusal(
            413, f"{len(pictures)} pictures, and at most {bounds.pictures} are taken: send a video"
        )
    return question, tuple(said), tuple(videos[:1] or pictures), bool(pictures)


def _text_of(message: _Message) -> str:
    if isinstance(message.content, str):
        return message.content.strip()
    texts = [part.text for part in message.content or [] if isinstance(part, _Text)]
    return "\n".join(texts).strip()


def _url(given: _Address | str) -> str:
    return given if isinstance(given, str) else given.url


def _refusal(error: ValidationError) -> Refusal:
    """What is wrong first, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    message = " ".join(str(first["msg"]).split())
    text = f"{place}: {message}" if place else "the body is a JSON object with messages"
    return Refusal(400, text[:300], param=place[:100] or None)
