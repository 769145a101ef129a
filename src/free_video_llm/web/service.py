"""What the page can ask for: choose a clip, ask, compare plans, load a model.

Puts sessions, models and limits together; knows nothing of Gradio and HTML.
"""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from free_video_llm import samples
from free_video_llm.answer import Answer
from free_video_llm.errors import ConfigError, VideoError, shown
from free_video_llm.pipeline import Video, VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.plans.plan import Plan, Rules
from free_video_llm.video.fetch import fetch
from free_video_llm.video.http_get import FetchLimits
from free_video_llm.web import limits as bounds
from free_video_llm.web.limits import Limits
from free_video_llm.web.models import Models
from free_video_llm.web.sessions import MOST_ASKED, Asked, Clip, Sampling, Session, Sessions, Talk

#: Told what is being done ("wait", "load", "decode", "encode", "answer"), how much of it is done,
#: and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A question as the page's form has it; `start` and `end` are times, or empty."""

    question: str
    options: tuple[str, ...] = ()
    model: str
    frames: float
    start: str = ""
    end: str = ""


@dataclass(frozen=True)
class Reply:
    """Answers to one question, one for each plan, and what they are to be downloaded as.

    `watched` tells whether the video was watched for it, and not before.
    """

    answers: tuple[Answer, ...]
    result: str
    watched: bool


class Service:
    """The page's verbs, for all sessions. May be used from many threads."""

    def __init__(self, sessions: Sessions, models: Models, limits: Limits) -> None:
        self.sessions, self.models, self.limits = sessions, models, limits
        models.dropped = sessions.forget_model

    def choose(self, session: Session, path: str | None) -> Clip | None:
        """Take a file that this session's page has sent, or none, in place of the one before.

        Raises:
            VideoError: it cannot be opened, is too large or too long; the session has no clip then.
        """
        if path is None:
            self.sessions.choose(session, None)
            return None
        if session.clip is not None and session.clip.path == Path(path).resolve():
            return session.clip
        true = self.sessions.uploads.claim(path, session.name)
        try:
            info = bounds.check_clip(true, true.name, self.limits)
        except BaseException:
            self.sessions.choose(session, None)
            self.sessions.uploads.release(true, session.name)
            raise
        clip = Clip(true, true.name, info.duration, info.width, info.height, sample_of(true))
        self.sessions.choose(session, clip)
        return clip

    def sample(self, name: str) -> str:
        """A bundled clip as a file of the uploads' folder, for a page that has sent none."""
        ours = samples.all_samples()[name].path
        copy = Path(tempfile.mkdtemp(dir=self.sessions.uploads.folder.parent)) / ours.name
        shutil.copy(ours, copy)
        path = self.sessions.uploads.take(copy)
        copy.parent.rmdir()
        return str(path)

    def fetch(self, session: Session, address: str) -> Path:
        """Bring a clip from an address into the folder of uploads; its file there.

        Raises:
            VideoError: it cannot be had, or is larger than a clip may be.
            ConfigError: this server fetches nothing.
        """
        if not self.limits.fetches:
            raise ConfigError("this server fetches no addresses: save the clip and drop its file")
        address = address.strip()
        if not address.lower().startswith(("http://", "https://")):
            raise VideoError(f"{shown(address, 80)} is no https:// address")
        allowed = FetchLimits(most_bytes=self.limits.file_bytes, seconds=120, allow_private=False)
        room = self.limits.upload_bytes
        with self.sessions.uploads.receiving(self.limits.file_bytes, room=room) as fits:
            if not fits:
                raise VideoError("the server has no room for more clips now: try again in a while")
            fetched = fetch(address, limits=allowed)  # whose file goes when nobody holds it
            return self.sessions.uploads.take(fetched.path)

    def follow(self, session: Session, question: str, on_text: Callable[[str], None]) -> Talk:
        """Answer a follow-up to what this session's page has asked about its clip; the talk so far.

        Raises:
            ConfigError: nothing was asked yet, or the clip, the model or the stretch was changed.
        """
        bounds.check_question(question, (), self.limits)
        talk, watched = session.talk, session.watched
        if talk is None or watched is None:
            raise ConfigError("there is nothing to follow up yet: ask about the clip first")
        with self.models.use(talk.model) as llm:
            video = watched[1]
            if video.llm is not llm or session.watched is not watched:
                raise ConfigError("the clip or the model was changed: ask anew")
            if talk.chat is None:
                talk.chat = video.chat(
                    plan=talk.plan,
                    said=[(turn.question, turn.text) for turn in talk.turns],
                    max_new_tokens=bounds.ANSWER_TOKENS,
                )
            talk.turns.append(talk.chat.ask(question, on_text=on_text))
        return talk

    def load(self, name: str) -> None:
        """Load a model, so that the next question need not wait for it."""
        with self.models.use(name):
            pass

    def ask(self, session: Session, wish: Wish, plan: str, progress: Progress) -> Reply:
        """Answer a question, watching the clip first where that has not been done.

        Raises:
            FreeVideoLLMError: in one sentence, what is wrong with the wish.
        """
        reply = self._answer(session, wish, [plan], "answer", progress)
        answer = reply.answers[0]
        session.talk = Talk(wish.model, answer.plan, [answer])
        asked = Asked(answer.question, answer.text, answer.plan.name or str(answer.plan))
        session.asked = [asked, *session.asked][:MOST_ASKED]
        return reply

    def compare(
        self, session: Session, wish: Wish, plans: Sequence[str], progress: Progress
    ) -> Reply:
        """Answer a question under several plans. Raises as `ask` does."""
        if not 2 <= len(plans) <= bounds.MOST_PLANS:
            raise ConfigError(f"choose 2 to {bounds.MOST_PLANS} plans to compare, not {len(plans)}")
        return self._answer(session, wish, plans, "comparison", progress)

    def _answer(
        self, session: Session, wish: Wish, texts: Sequence[str], kind: str, progress: Progress
    ) -> Reply:
        clip = session.clip
        if clip is None:
            raise ConfigError("there is no clip yet: drop one, record one, or choose an example")
        bounds.check_question(wish.question, wish.options, self.limits)
        frames = bounds.check_frames(wish.frames, self.limits)
        plans = [resolve_plan(bounds.check_plan(text, self.limits)) for text in texts]
        ranges = bounds.check_stretch(wish.start, wish.end)
        progress("wait" if self.models.loaded(wish.model) else "load", 0, 0)
        with self.models.use(wish.model) as llm:
            all_released = all(plan.rules == "released" for plan in plans)
            rules: Rules = "released" if all_released else "corrected"
            sampling = Sampling(clip.path, wish.model, frames, rules, ranges)
            video, watched = self._watch(session, clip, sampling, llm, plans, progress)
            for plan in plans if llm.picture_llm is None else ():
                bounds.check_tokens(
                    plan,
                    frames=len(video.frames),
                    side=llm.towers.side,
                    positions=llm.token_llm.max_positions,
                )
            answers = []
            for number, plan in enumerate(plans):
                progress("answer", number, len(plans))
                answers.append(
                    video.ask(
                        wish.question,
                        plan=plan,
                        options=wish.options,
                        max_new_tokens=bounds.ANSWER_TOKENS,
                    )
                )
        if session.clip is not clip:
            raise ConfigError("the clip was changed before its answer was there: ask again")
        result = self.sessions.add_result(session, kind, tuple(answers))
        return Reply(tuple(answers), result, watched)

    def _watch(
        self,
        session: Session,
        clip: Clip,
        sampling: Sampling,
        llm: VideoLLM,
        plans: Sequence[Plan],
        progress: Progress,
    ) -> tuple[Video, bool]:
        kept = session.watched
        if kept is not None and kept[0] == sampling and kept[1].llm is llm:
            return kept[1], False
        session.watched = None
        keeping_all = [plan for plan in plans if plan.keeps_all(sampling.frames)]
        try:
            video = llm.watch(
                clip.path,
                frames=sampling.frames,
                rules=sampling.rules,
                ranges=sampling.ranges or None,
                plan=(keeping_all or plans)[0],
                progress=progress,
            )
        except VideoError as error:
            raise VideoError(bounds.without_path(str(error), clip.path, clip.name)) from None
        # A file may have promised to be shorter than it is.
        bounds.check_length(video.frames.duration, clip.name, self.limits)
        self.sessions.keep(session, sampling, video)
        return video, True


def sample_of(path: Path) -> str | None:
    """The name of the bundled clip that a file is, if it is one and is called so."""
    sample = samples.all_samples().get(path.stem)
    if sample is None or not filecmp.cmp(path, sample.path, shallow=False):
        return None
    return sample.name
