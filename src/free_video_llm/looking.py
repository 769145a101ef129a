"""From questions on watched videos to what a plan keeps of them. Knows nothing of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from free_video_llm.asking import Asked
from free_video_llm.encoder.features import VideoFeatures
from free_video_llm.encoder.scorer import PromptVector
from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import ConfigError, shown
from free_video_llm.plans.apply import VisualTokens
from free_video_llm.plans.plan import Plan
from free_video_llm.profiling.stopwatch import Stopwatch, now
from free_video_llm.video.read import Frames

_NOT_RELEASED = (
    "the plan's rules are the released code's, but these frames are not: read them with "
    "rules='released' (its positions, scaled by PIL) for its numbers"
)


V = TypeVar("V")


class Perceived(Protocol):
    """A watched video, as `pipeline.Video` is."""

    frames: Frames
    features: VideoFeatures
    decode_seconds: float
    encode_seconds: float

    def closer(self, prompt: PromptVector) -> Perceived: ...

    def perceive(
        self, question: str | PromptVector, plan: Plan, *, stopwatch: Stopwatch | None = None
    ) -> tuple[VisualTokens, tuple[str, ...]]: ...


def look(
    towers: Towers,
    pairs: Sequence[tuple[Perceived, str]],
    choices: Sequence[tuple[str, ...]],
    plan: Plan,
) -> list[Asked]:
    """What the plan keeps for each question, and what choosing it took."""
    device = towers.device
    start = now(device)
    vectors = towers.encode_prompts([question for _, question in pairs])
    share = (now(device) - start) / len(pairs)
    asked = []
    for (video, question), choice, vector in zip(pairs, choices, vectors, strict=True):
        stopwatch = Stopwatch(device)
        video = video.closer(vector)
        tokens, notes = video.perceive(vector, plan, stopwatch=stopwatch)
        video.encode_seconds += stopwatch.seconds.pop("encode", 0.0)
        watched = {"decode": video.decode_seconds, "encode": video.encode_seconds}
        asked.append(
            Asked(
                question=question,
                options=choice,
                frames=video.frames,
                side=video.features.side,
                tokens=tokens,
                notes=notes,
                seconds={**watched, **stopwatch.seconds, "prompt": share},
            )
        )
    return asked


def notes_on(frames: Frames, plan: Plan, prompt: PromptVector) -> tuple[str, ...]:
    """What the user of an answer should know."""
    notes = list(frames.warnings)
    if plan.rules == "released" and not frames.as_released:
        notes.append(_NOT_RELEASED)
    if prompt.truncated:
        notes.append(
            "the question is longer than the text encoder takes: its end was not "
            "used to choose frames and regions (the language model reads all of it)"
        )
    return tuple(notes)


def checked_pair(pair: object, kind: type[V]) -> tuple[V, str]:
    """A watched video and a question about it. Raises ConfigError."""
    video, question = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (None, pair)
    if not isinstance(question, str):
        raise ConfigError(f"a question is a text, not {shown(question)}")
    if not isinstance(video, kind):
        raise ConfigError(f"questions are pairs of a watched video and a text, not {shown(pair)}")
    if not question.strip():
        raise ConfigError("the question is empty")
    return video, question
