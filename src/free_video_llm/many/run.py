"""Asks many questions: each video is watched once, its questions are answered in batches, and what
fails is a row that says why. Knows nothing of files of results or terminals."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import described
from free_video_llm.many.inquiry import Inquiry

if TYPE_CHECKING:
    from free_video_llm.answer import Answer
    from free_video_llm.pipeline import Video, VideoLLM


@dataclass(frozen=True)
class Outcome:
    """What came of a question: its `answer`, or the `reason` why there is none."""

    inquiry: Inquiry
    answer: Answer | None = None
    reason: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the answer is the expected one, case and ends aside; None where none is known."""
        expected = self.inquiry.expected
        if expected is None or self.answer is None:
            return None
        return self.answer.text.strip(" .").casefold() == expected.strip(" .").casefold()

    def to_dict(self) -> dict[str, Any]:
        """A row: plain values, the same for every question."""
        asked, answer = self.inquiry, self.answer
        kept = [] if answer is None else [k for p in answer.evidence.pathways for k in p.kept]
        return {
            "video": asked.video,
            "question": asked.question,
            "options": list(asked.options),
            "ranges": [
                [start, None if end == float("inf") else end] for start, end in asked.ranges
            ],
            "status": "failed" if answer is None else "answered",
            "answer": None if answer is None else answer.text,
            "reason": self.reason or None,
            "expected": asked.expected,
            "right": self.right,
            "visual_tokens": None if answer is None else len(answer.visual_tokens),
            "seconds": sorted({round(one.second, 3) for one in kept}),
            "warnings": [] if answer is None else list(answer.warnings),
        }


Watch = Callable[[Inquiry], "Video"]


def batches(inquiries: Sequence[Inquiry], size: int) -> list[list[Inquiry]]:
    """Questions that are asked together: of one video and its ranges, at most `size`; videos in the
    order in which they are first asked about."""
    groups: dict[Any, list[Inquiry]] = {}
    for inquiry in inquiries:
        groups.setdefault((inquiry.video, inquiry.ranges), []).append(inquiry)
    return [
        group[start : start + size]
        for group in groups.values()
        for start in range(0, len(group), size)
    ]


def ask_many(
    llm: VideoLLM,
    inquiries: Sequence[Inquiry],
    watch: Watch,
    *,
    batch: int = 8,
    done: Callable[[Sequence[Inquiry]], bool] = lambda _: False,
    **how: Any,
) -> Iterator[list[Outcome]]:
    """The outcomes of every batch, in the order of `batches`.

    Args:
        watch: gives the video of a question; called once for each video and its ranges.
        batch: questions that are answered together.
        done: whether a batch has all its rows already; it is then passed over, and so is the
            watching of a video of which nothing else is asked.
        how: for `VideoLLM.ask`: plan, rules, max_new_tokens, ….
    """
    key: Any = None
    video: Video | str = ""
    for some in batches(inquiries, batch):
        if done(some):
            continue
        if key != (some[0].video, some[0].ranges):
            key = (some[0].video, some[0].ranges)
            video = _watched(watch, some[0])
        if isinstance(video, str):
            yield [Outcome(inquiry, reason=video) for inquiry in some]
        else:
            yield _answered(llm, video, some, how)


def _watched(watch: Watch, inquiry: Inquiry) -> Video | str:
    """The video, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in each answer
            return watch(inquiry)
    except Exception as error:
        return described(error)


def _answered(
    llm: VideoLLM, video: Video, some: Sequence[Inquiry], how: dict[str, Any]
) -> list[Outcome]:
    # A prompt is for multiple choice or is not: those with options are asked by themselves.
    outcomes: dict[int, Outcome] = {}
    for _, group in itertools.groupby(
        sorted(enumerate(some), key=lambda pair: bool(pair[1].options)),
        key=lambda pair: bool(pair[1].options),
    ):
        part = list(group)
        try:
            answers = _ask(llm, video, [inquiry for _, inquiry in part], how)
            for (place, inquiry), answer in zip(part, answers, strict=True):
                outcomes[place] = Outcome(inquiry, answer)
        except Exception:  # one by one, so that one question's failure stays its own
            for place, inquiry in part:
                outcomes[place] = _alone(llm, video, inquiry, how)
    return [outcomes[place] for place in range(len(some))]


def _alone(llm: VideoLLM, video: Video, inquiry: Inquiry, how: dict[str, Any]) -> Outcome:
    try:
        return Outcome(inquiry, _ask(llm, video, [inquiry], how)[0])
    except Exception as error:
        return Outcome(inquiry, reason=described(error))


def _ask(llm: VideoLLM, video: Video, some: Sequence[Inquiry], how: dict[str, Any]) -> list[Answer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return llm.ask(
            [(video, inquiry.question) for inquiry in some],
            options=[inquiry.options for inquiry in some],
            **how,
        )
