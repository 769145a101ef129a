"""Answers to calls about watched videos: several in one batch, or one as it is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from free_video_llm.answer import Answer
from free_video_llm.asking import answer_all, check_plan
from free_video_llm.conversation import Conversation, in_words
from free_video_llm.llm.generate import is_local
from free_video_llm.looking import look
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.serve.calls import Call


def goes_alone(call: Call, llm: VideoLLM) -> bool:
    """Whether a call is answered by itself: piece by piece, or after turns that the model reads as
    its own."""
    piecewise = call.stream and not call.options
    return piecewise or (bool(call.said) and is_local(llm.language_model))


def answer_together(llm: VideoLLM, videos: Sequence[Video], calls: Sequence[Call]) -> list[Answer]:
    """Answers to calls that agree in all but their video and texts. Raises as `VideoLLM.ask`."""
    first = calls[0]
    plan = first.plan
    check_plan(llm.language_model, plan, None)
    pairs = [
        (video.for_plan(plan), _sought(call)) for video, call in zip(videos, calls, strict=True)
    ]
    ready = look(llm.towers, pairs, [call.options for call in calls], plan)
    asked = [
        replace(
            one,
            question=in_words(call.said, call.reads),
            tokens=one.tokens if call.addresses else one.tokens.without(),
        )
        for one, call in zip(ready, calls, strict=True)
    ]
    answers = answer_all(
        llm.language_model,
        asked,
        plan,
        conv_mode=llm.conv_mode,
        decoding=first.decoding,
        model=llm.name,
        choose=first.choose,
    )
    return [replace(a, question=c.question) for a, c in zip(answers, calls, strict=True)]


def answer_alone(
    llm: VideoLLM,
    video: Video,
    call: Call,
    *,
    on_text: Callable[[str], None],
    cancelled: threading.Event,
) -> Answer:
    """The answer to one call, its text given out as it is made; where a call has options, which are
    chosen among at the end, or is about no video, as a whole."""
    if call.options or not call.addresses:
        (answer,) = answer_together(llm, [video], [call])
        on_text(answer.text)
        return answer
    chat = Conversation(video, plan=call.plan, decoding=call.decoding, said=call.said)

    def heard(piece: str) -> None:
        if cancelled.is_set():
            chat.stop()
        on_text(piece)

    return chat.ask(call.question, reads=call.reads, on_text=heard)


def _sought(call: Call) -> str:
    """What frames are chosen for: with the question before, since "and where is it?" names
    nothing."""
    return f"{call.said[-1][0]} {call.question}" if call.said else call.question
