"""Who is on the page: each session's clip, watched video and answers, and when they are dropped.

A session is one open page; none sees another's. Knows nothing of the page, and only the size of
what the models made.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from free_video_llm.answer import Answer
from free_video_llm.conversation import Conversation
from free_video_llm.pipeline import Video
from free_video_llm.plans.plan import Plan, Rules
from free_video_llm.video.ranges import TimeRange
from free_video_llm.web.limits import Limits
from free_video_llm.web.uploads import Uploads

#: Questions of a session that the page lists again.
MOST_ASKED = 12


@dataclass(frozen=True)
class Clip:
    """A clip that a session has chosen; `sample` is the bundled one's name, if it is one."""

    path: Path
    name: str
    seconds: float
    width: int
    height: int
    sample: str | None = None


@dataclass(frozen=True)
class Sampling:
    """What a watched video depends on; where one of these changes, it is watched anew."""

    path: Path
    model: str
    frames: int
    rules: Rules
    ranges: tuple[TimeRange, ...] = ()


@dataclass(eq=False)
class Talk:
    """A question with its follow-ups.

    Attributes:
        turns: the answers so far, the first that of the question.
        chat: what the follow-ups are asked of; None before the first.
    """

    model: str
    plan: Plan
    turns: list[Answer]
    chat: Conversation | None = None


@dataclass(frozen=True)
class Asked:
    """A question of this session with its answer, to be listed."""

    question: str
    answer: str
    plan: str


@dataclass
class Session:
    """One open page.

    Attributes:
        watched: the one video that is kept, and how it was sampled.
        results: answers to be downloaded, by what kind of result they are and a name that cannot
            be guessed; the last of each kind.
        talk: the last question, which may be followed up.
        ended: whether the page was closed; what still arrives for it is dropped.
    """

    name: str
    clip: Clip | None = None
    watched: tuple[Sampling, Video] | None = None
    asked: list[Asked] = field(default_factory=list)
    results: dict[str, tuple[str, tuple[Answer, ...]]] = field(default_factory=dict)
    talk: Talk | None = None
    used: float = field(default_factory=time.monotonic)
    ended: bool = False

    def nbytes(self) -> int:
        """Bytes that the watched video holds."""
        if self.watched is None:
            return 0
        video = self.watched[1]
        memo = sum(tensor.nbytes for tensor in list(video.memo.values()))
        return video.features.nbytes() + video.frames.pixels.nbytes + memo


class Sessions:
    """All sessions. May be used from many threads.

    A page that has not sent a clip costs nobody theirs: those without one make room for each other.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(
        self, uploads: Uploads, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.uploads, self.limits, self._clock = uploads, limits, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, name: str) -> Session:
        """The session of that name, begun if need be.

        The longest idle one that has no clip goes for a new one.
        """
        with self._lock:
            session = self._sessions.get(name)
            if session is None:
                self._make_room(lambda other: other.clip is None)
                session = self._sessions[name] = Session(name)
            self._sessions.move_to_end(name)
            session.used = self._clock()
            return session

    def _make_room(self, counts: Callable[[Session], bool]) -> None:
        """End the longest idle sessions of those that count, so that there is room for one more."""
        counted = [name for name, session in self._sessions.items() if counts(session)]
        for name in counted[: max(0, len(counted) - self.limits.sessions + 1)]:
            self.end(name)

    def choose(self, session: Session, clip: Clip | None) -> None:
        """Another clip, or none: what belonged to the one before is dropped and deleted."""
        with self._lock:
            if clip is not None and not session.ended:
                self._make_room(lambda other: other.clip is not None and other is not session)
            before = session.clip
            session.clip, session.watched, session.talk = clip, None, None
            session.asked.clear()
            session.results.clear()
            if before is not None and (clip is None or before.path != clip.path):
                self.uploads.release(before.path, session.name)
            if session.ended and clip is not None:  # the page was closed in the meantime
                self.uploads.release(clip.path, session.name)

    def keep(self, session: Session, sampling: Sampling, video: Video) -> None:
        """Keep a watched video for further questions, as far as the memory set aside allows.

        The longest unused ones of other sessions go first; their pages watch again when asked.
        """
        with self._lock:
            if session.ended or session.clip is None or session.clip.path != sampling.path:
                return
            session.watched = (sampling, video)
            held = sum(other.nbytes() for other in self._sessions.values())
            for other in self._sessions.values():
                if held <= self.limits.memory_bytes:
                    break
                if other is not session:
                    held -= other.nbytes()
                    other.watched = other.talk = None

    def forget_model(self, model: str) -> None:
        """Drop what a model has watched, so that the model can leave the memory."""
        with self._lock:
            for session in self._sessions.values():
                if session.watched is not None and session.watched[0].model == model:
                    session.watched = session.talk = None

    def add_result(self, session: Session, kind: str, answers: tuple[Answer, ...]) -> str:
        """Keep answers for download; the name under which they are found again."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            if not session.ended:
                session.results[kind] = (name, tuple(_without_tokens(a) for a in answers))
        return name

    def find_result(self, name: str) -> tuple[Answer, ...] | None:
        """Answers by their name, None where they are gone."""
        with self._lock:
            for session in self._sessions.values():
                for known, answers in session.results.values():
                    if secrets.compare_digest(known.encode(), name.encode()):
                        return answers
        return None

    def end(self, name: str) -> None:
        """A page was closed: forget the session and delete its file."""
        with self._lock:
            session = self._sessions.pop(name, None)
            if session is not None:
                session.ended = True
                self.choose(session, None)

    def sweep(self) -> None:
        """End what has been idle too long and delete forgotten files."""
        with self._lock:
            late = self._clock() - self.limits.idle_seconds
            for name in [n for n, session in self._sessions.items() if session.used < late]:
                self.end(name)
        self.uploads.sweep()

    def end_all(self) -> None:
        """The server stops."""
        for name in list(self._sessions):
            self.end(name)


def _without_tokens(answer: Answer) -> Answer:
    """The answer without its tokens' vectors, which for a large model are tens of megabytes."""
    tokens = answer.visual_tokens
    return replace(answer, visual_tokens=replace(tokens, embeds=tokens.embeds[:, :0].clone()))
