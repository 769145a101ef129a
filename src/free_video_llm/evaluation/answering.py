"""Answers one unit of questions with a loaded model: each becomes a row, whatever happens.

Each video is decoded and encoded once. Knows nothing of files of results, processes or judges.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from free_video_llm.asking import Choose
from free_video_llm.benchmarks.base import Question
from free_video_llm.benchmarks.subtitles import find_lines
from free_video_llm.benchmarks.videos import VideoFolder
from free_video_llm.errors import FreeVideoLLMError, described
from free_video_llm.evaluation.row import Answered, Row
from free_video_llm.evaluation.units import Unit
from free_video_llm.profiling.memory import free_memory

if TYPE_CHECKING:
    from free_video_llm.answer import Answer
    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.pipeline import Video, VideoLLM
    from free_video_llm.plans.plan import Plan
    from free_video_llm.video.read import Mode, Resize


Watched = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an answer depends on besides the model and the question."""

    plan: Plan
    frames: int
    fps: float | None
    max_candidates: int
    search: float | None
    decode: Mode
    resize: Resize | None
    max_new_tokens: int
    batch: int
    conv_mode: str | None
    videos: str
    subtitles: str | None = None
    blind: bool = False
    choose: Choose = "generate"


def answer_unit(
    llm: VideoLLM,
    unit: Unit,
    settings: Settings,
    folder: VideoFolder,
    *,
    missing: Callable[[Question], bool] = lambda question: True,
    cache: FeatureCache | None = None,
) -> Iterator[list[Row]]:
    """The rows of a unit, batch by batch; only those that are `missing`.

    A batch of which any row is missing is answered whole, so that a resumed run has the same
    batches, and so the same answers, as one that was never stopped.
    """
    watched: dict[Watched, Video | str] = {}
    last = {question.watched: question for question in unit.questions}
    for batch in unit.batches(settings.batch):
        wanted = [question for question in batch if missing(question)]
        if wanted:
            for question in batch:
                if question.problem is None and question.watched not in watched:
                    watched[question.watched] = _watch(llm, question, settings, folder, cache)
            rows = _answer_batch(llm, batch, watched, settings)
            yield [rows[question.row] for question in wanted]
        for question in batch:  # a video's features go when its last question is answered
            if last[question.watched] is question:
                watched.pop(question.watched, None)


def _watch(
    llm: VideoLLM,
    question: Question,
    settings: Settings,
    folder: VideoFolder,
    cache: FeatureCache | None,
) -> Video | str:
    """The watched video, or why it could not be."""
    try:
        with _quiet():
            path = folder.find(question.video)
            return llm.watch(
                path,
                frames=settings.frames,
                fps=settings.fps,
                max_candidates=settings.max_candidates,
                search=settings.search,
                ranges=question.ranges or None,
                subtitles=find_lines(settings.subtitles, question, path),
                mode=settings.decode,
                rules=settings.plan.rules,
                resize=settings.resize,
                cache=cache,
                plan=settings.plan,
            )
    except Exception as error:
        return described(error)


def _answer_batch(
    llm: VideoLLM,
    batch: Sequence[Question],
    watched: dict[Watched, Video | str],
    settings: Settings,
) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    ready: list[tuple[Question, Video]] = []
    for question in batch:
        problem = question.problem
        video = watched.get(question.watched, "")
        if problem is not None or isinstance(video, str):
            rows[question.row] = Row(question, reason=problem or str(video))
        else:
            ready.append((question, video))
    try:
        answers = _ask(llm, ready, settings) if ready else []
        for (question, _), answer in zip(ready, answers, strict=True):
            rows[question.row] = answered_row(question, answer, batch=len(ready))
    except Exception:
        if len(ready) > 1:
            free_memory()
        for pair in ready:  # one by one, so that one question's failure stays its own
            rows[pair[0].row] = _answer_alone(llm, pair, settings)
    return rows


def _answer_alone(llm: VideoLLM, pair: tuple[Question, Video], settings: Settings) -> Row:
    try:
        return answered_row(pair[0], _ask(llm, [pair], settings)[0])
    except Exception as error:
        return Row(pair[0], reason=described(error))


def _ask(
    llm: VideoLLM, pairs: Sequence[tuple[Question, Video]], settings: Settings
) -> list[Answer]:
    with _quiet():
        return llm.ask(
            [(video, question.question) for question, video in pairs],
            plan=settings.plan,
            options=[list(question.options) for question, _ in pairs],
            blind=settings.blind,
            choose=settings.choose,
            conv_mode=settings.conv_mode,
            max_new_tokens=settings.max_new_tokens,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the pipeline warns of is in the answer's own warnings, and so in its row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- rows ------------------------------------------------------------------------------------


def answered_row(question: Question, answer: Answer, *, batch: int = 1) -> Row:
    """The row of an answered question: text, tokens, timings and the evidence in short.

    Of the timings, decode and encode are the video's, prefill and generate the whole batch's.

    Raises:
        FreeVideoLLMError: the model's numbers overflowed, so that frames were chosen by nothing.
    """
    data = answer.to_dict()
    if not all(math.isfinite(score) for score in data["evidence"]["sampled"]["scores"]):
        raise FreeVideoLLMError("a frame's similarity is not a number: try dtype: float32")
    said = Answered(
        prediction=data["answer"],
        token_ids=tuple(data["token_ids"]),
        tokens=data["tokens"],
        timings={name: round(value, 6) for name, value in data["timings"].items()},
        batch=batch,
        evidence=short_evidence(data["evidence"]),
        warnings=tuple(data["warnings"]),
    )
    return Row(question, said)


def short_evidence(evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence without what takes much room: which frames of which pathway, when, which box."""
    pathways = [
        {
            "name": pathway["name"],
            "tokens": pathway["tokens"],
            "cropped": pathway["cropped"],
            "frames": [
                {
                    "sampled": kept["sampled"],
                    "second": kept["second"],
                    "score": kept["score"],
                    **({"region": kept["region"]} if pathway["cropped"] else {}),
                }
                for kept in pathway["frames"]
            ],
        }
        for pathway in evidence["pathways"]
    ]
    return {
        "duration_seconds": evidence["duration_seconds"],
        "sampled": {
            "seconds": evidence["sampled"]["seconds"],
            "scores": evidence["sampled"]["scores"],
        },
        "pathways": pathways,
    }
