"""Answers calls one after the other, those that wait together in batches; in a thread of its own.

Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np

from free_video_llm.answer import Answer
from free_video_llm.errors import VideoError
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.serve.answering import answer_alone, answer_together, goes_alone
from free_video_llm.serve.calls import Call
from free_video_llm.serve.refusals import Refusal
from free_video_llm.serve.sources import Located
from free_video_llm.serve.watched import Watched
from free_video_llm.video.fetch import Fetched, fetch
from free_video_llm.web.models import Models

log = logging.getLogger(__name__)

#: In the place of a video where a model is asked in words alone: nothing of it reaches the model.
NOTHING = np.zeros((1, 32, 32, 3), np.uint8)


@dataclass(frozen=True)
class Answered:
    """An answer, and how it came about: how many were answered together, whether the video had been
    watched before, and the seconds that the call waited for its turn."""

    answer: Answer
    together: int
    known: bool
    waited: float


@dataclass(eq=False)
class Job:
    """A call that waits for its answer.

    Attributes:
        future: of the answer.
        on_text: is given the pieces of an answer that is streamed.
        cancelled: set by whoever no longer wants it.
    """

    call: Call
    source: Located
    on_text: Callable[[str], None] = lambda text: None
    future: Future[Answered] = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: float = field(default_factory=time.monotonic)

    @property
    def video_key(self) -> Hashable:
        """The same for the same video, looked at in the same way by the same model."""
        return (self.call.model, self.source.key, self.call.sampling)

    @property
    def batch_key(self) -> Hashable:
        """The same for calls that can be answered together."""
        call = self.call
        return (call.model, call.plan, call.decoding, call.choose, bool(call.options))


class Engine:
    """The queue and the thread that works on it.

    Args:
        models: whose answers are given, one batch at a time.
        watched: where videos are kept.
        batch: calls that are answered together at most.
    """

    def __init__(self, models: Models, watched: Watched, *, batch: int) -> None:
        self.models, self.watched, self._batch = models, watched, batch
        models.dropped = self._forget_model
        self._asked: deque[Job] = deque()
        self._later: deque[Job] = deque()
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="fvl-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Calls whose turn has not come."""
        return len(self._asked) + len(self._later)

    def submit(self, job: Job, *, later: bool = False) -> None:
        """Put a job into the queue; one that is for `later` waits until nobody else does."""
        with self._change:
            if self._closing:
                raise Refusal(503, "the server is stopping: ask again in a while")
            (self._later if later else self._asked).append(job)
            self._change.notify()

    def close(self) -> None:
        """Finish what is being answered, refuse what waits, and end the thread."""
        with self._change:
            self._closing = True
            waiting = [*self._asked, *self._later]
            self._asked.clear()
            self._later.clear()
            self._change.notify()
        for job in waiting:
            _fail(job, Refusal(503, "the server is stopping: ask again in a while"))
        self._thread.join()

    def _forget_model(self, name: str) -> None:
        self.watched.forget(lambda key: isinstance(key, tuple) and key[0] == name)

    def _work(self) -> None:
        while jobs := self._take():
            try:
                self._answer([job for job in jobs if not job.cancelled.is_set()])
            except BaseException as error:  # no job may be left without an end
                log.exception("a batch failed")
                for job in jobs:
                    _fail(job, error)
            finally:
                for job in jobs:
                    job.future.cancel()

    def _take(self) -> list[Job]:
        """The job that waits longest, and those that can be answered with it; none at the end."""
        with self._change:
            self._change.wait_for(lambda: self._closing or self._asked or self._later)
            queue = self._asked or self._later
            if not queue:
                return []
            first = queue.popleft()
            key = first.batch_key
            found = [first]
            for job in [job for job in queue if job.batch_key == key][: self._batch - 1]:
                queue.remove(job)
                found.append(job)
            return found

    def _answer(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        with self.models.use(jobs[0].call.model) as llm:
            ready: list[tuple[Job, Video, bool]] = []
            for job in jobs:
                try:
                    ready.append((job, *self._watch(llm, job)))
                except VideoError as error:
                    _fail(job, VideoError(without_path(str(error), job.source)))
                except Exception as error:
                    _fail(job, error)
            alone = [one for one in ready if goes_alone(one[0].call, llm)]
            together = [one for one in ready if one not in alone]
            if together:
                self._answer_together(llm, together)
            for job, video, known in alone:
                self._answer_alone(llm, job, video, known)
            for job, _, _ in ready:
                self.watched.settle(job.video_key)

    def _watch(self, llm: VideoLLM, job: Job) -> tuple[Video, bool]:
        sampling, source = job.call.sampling, job.source
        words = _subtitles(sampling.subtitles)

        def watch() -> Video:
            return llm.watch(
                source.path if job.call.addresses else NOTHING,
                frames=sampling.frames,
                fps=sampling.fps,
                max_candidates=sampling.max_candidates,
                ranges=sampling.ranges or None,
                search=sampling.search,
                subtitles=words.path if isinstance(words, Fetched) else words,
                plan=job.call.plan,
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in each answer
            return self.watched.get(job.video_key, watch, (source.held, words))

    def _answer_together(self, llm: VideoLLM, some: list[tuple[Job, Video, bool]]) -> None:
        began = time.monotonic()
        try:
            answers = answer_together(
                llm, [video for _, video, _ in some], [job.call for job, _, _ in some]
            )
        except Exception as error:
            if len(some) == 1:
                _fail(some[0][0], error)
            for one in some if len(some) > 1 else ():  # so that each one's failure stays its own
                self._answer_together(llm, [one])
            return
        for (job, _, known), answer in zip(some, answers, strict=True):
            _end(job, Answered(answer, len(some), known, began - job.begun))

    def _answer_alone(self, llm: VideoLLM, job: Job, video: Video, known: bool) -> None:
        began = time.monotonic()
        try:
            answer = answer_alone(
                llm, video, job.call, on_text=job.on_text, cancelled=job.cancelled
            )
        except Exception as error:
            _fail(job, error)
        else:
            _end(job, Answered(answer, 1, known, began - job.begun))


def without_path(text: str, source: Located) -> str:
    """A sentence in which a video goes by its name: where the server keeps it is its own affair."""
    return text.replace(source.path, source.name)


def _subtitles(given: str | None) -> Fetched | str | None:
    """Subtitles that were sent, as a file; or how they are to be found."""
    if given is None or given == "auto":
        return given
    file = fetch(given.encode())
    named = file.path + (".vtt" if given.lstrip("\ufeff \n").startswith("WEBVTT") else ".srt")
    os.rename(file.path, named)
    file.path = named
    return file


def _end(job: Job, answered: Answered) -> None:
    with contextlib.suppress(InvalidStateError):  # nobody wants it any more
        job.future.set_result(answered)


def _fail(job: Job, error: BaseException) -> None:
    with contextlib.suppress(InvalidStateError):
        job.future.set_exception(error)
