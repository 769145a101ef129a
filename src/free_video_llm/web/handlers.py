"""What happens when something on the page is used: from the form's values to pieces of HTML.

Every failure becomes a sentence; what was not foreseen is logged on the server and told as such.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from free_video_llm import samples
from free_video_llm.errors import ConfigError, FreeVideoLLMError
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.plans.presets import PRESETS
from free_video_llm.web import markup
from free_video_llm.web.kept_frames import kept_frames
from free_video_llm.web.limits import check_frames, check_plan
from free_video_llm.web.models import TINY
from free_video_llm.web.progress import Running
from free_video_llm.web.service import Progress, Reply, Service, Wish
from free_video_llm.web.sessions import Asked, Session, Talk
from free_video_llm.web.timeline import timeline

log = logging.getLogger(__name__)

#: Buttons for an example's questions.
SUGGESTIONS = 5
UNFORESEEN = (
    "something went wrong on the server, which has noted what: try again, or with another clip"
)
#: What an event gives for its outputs, in their order.
Outputs = tuple[Any, ...]


class Handlers:
    """The events of all pages; `request.session_hash` tells whose."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def session(self, request: gr.Request) -> Session:
        """The session of the page that an event comes from.

        Raises:
            ConfigError: it comes from none; without a page there is nobody to keep apart.
        """
        if not request.session_hash:
            raise ConfigError("this request comes from no page: open the page and ask there")
        return self.service.sessions.get(request.session_hash)

    def choose(self, path: str | None, request: gr.Request) -> Outputs:
        """Another clip: facts, status, result, comparison, talk, and buttons for what may be asked.

        Of the clip that was there before, what was answered stays.
        """
        before = None
        try:
            session = self.session(request)
            before = session.clip
            clip = self.service.choose(session, path)
        except Exception as error:
            clip, facts, status = None, "", failed(error)
        else:
            facts, status = markup.clip_facts(clip), ""
        questions = suggestions(clip.sample if clip is not None else None)
        if clip is not None and clip is before:
            return (facts, status, gr.skip(), gr.skip(), gr.skip(), *questions)
        return (facts, status, changed(markup.EMPTY), changed(""), changed(""), *questions)

    def ask(
        self,
        path: str | None,
        question: str,
        options: str,
        model: str,
        plan: str,
        frames: float,
        start: str,
        end: str,
        request: gr.Request,
    ) -> Iterator[Outputs]:
        """Answer a question: status, result, and an empty talk, progress on the way."""
        wish = make_wish(question, options, model, frames, start, end)

        def work(report: Progress) -> str:
            session = self.session(request)
            self.service.choose(session, path)
            earlier = list(session.asked)
            return answer_page(self.service.ask(session, wish, plan or "", report), earlier)

        for status, result in reported(work):
            yield status, result, changed("") if result != gr.skip() else gr.skip()

    def arrive(self, model: str, plan: str, frames: float, request: gr.Request) -> Outputs:
        """A page was opened: an example with a question of its own, answered by the embedded model:
        clip, question, and result. Nothing where that model is not on offer."""
        sample = next(iter(samples.all_samples().values()))
        question = sample.questions[0][0]
        if TINY not in self.service.models.offered or model != TINY:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            session = self.session(request)
            clip = self.service.choose(session, self.service.sample(sample.name))
            assert clip is not None
            wish = make_wish(question, "", TINY, frames)
            reply = self.service.ask(session, wish, plan, lambda *_: None)
        except FreeVideoLLMError as error:  # as where somebody's own clip came before its answer
            log.info("the first example was not answered: %s", error)
            return gr.skip(), gr.skip(), gr.skip()
        except Exception as error:  # the page is there all the same
            log.error("the first example was not answered", exc_info=error)
            return gr.skip(), gr.skip(), gr.skip()
        return changed(str(clip.path)), changed(question), changed(answer_page(reply, []))

    def fetch(self, address: str, request: gr.Request) -> Outputs:
        """A clip from an address: the player's file, and status."""
        if not (address or "").strip():
            return gr.skip(), ""
        try:
            return str(self.service.fetch(self.session(request), address)), ""
        except Exception as error:
            return gr.skip(), failed(error)

    def follow(self, question: str, request: gr.Request) -> Iterator[Outputs]:
        """Answer a follow-up: status, the talk as it grows, and the box, emptied."""
        pieces: list[str] = []

        def work(report: Progress) -> Talk:
            report("answer", 0, 0)

            def heard(text: str) -> None:
                pieces.append(text)
                report("answer", len(pieces), 0)

            return self.service.follow(self.session(request), question or "", heard)

        running = Running(work)
        for _ in running:
            session = self.session(request)
            turns = list(session.talk.turns) if session.talk is not None else []
            grown = markup.talk(turns, question, "".join(pieces))
            yield "", changed(grown), gr.skip()
        try:
            done = running.result()
        except Exception as error:
            yield failed(error), gr.skip(), gr.skip()
        else:
            yield "", changed(markup.talk(done.turns)), changed("")

    def stop(self, request: gr.Request) -> None:
        """End the answer that is being given to a follow-up."""
        talk = self.session(request).talk
        if talk is not None and talk.chat is not None:
            talk.chat.stop()

    def compare(
        self,
        path: str | None,
        question: str,
        options: str,
        model: str,
        plans: list[str],
        frames: float,
        start: str,
        end: str,
        request: gr.Request,
    ) -> Iterator[Outputs]:
        """Answer a question under several plans: status and comparison, progress on the way."""
        wish = make_wish(question, options, model, frames, start, end)

        def work(report: Progress) -> str:
            session = self.session(request)
            self.service.choose(session, path)
            return markup.comparison(self.service.compare(session, wish, plans or [], report))

        yield from reported(work)

    def switch(self, model: str, before: str) -> Iterator[Outputs]:
        """Another model: status, notice, the choice as shown, and as remembered.

        One that cannot be loaded leaves the choice as it was.
        """
        if self.service.models.loaded(model) is None:
            status = markup.progress({"load": (0, 0)})
            yield status, gr.skip(), gr.skip(), gr.skip()
        try:
            self.service.load(model)
        except Exception as error:
            yield failed(error), changed(markup.notice(before)), changed(before), before
        else:
            yield "", changed(markup.notice(model)), gr.skip(), model

    def plan_facts(self, plan: str | None, frames: float, model: str) -> str:
        """What a plan keeps, or what is wrong with it."""
        try:
            parsed = resolve_plan(check_plan(plan or "", self.service.limits))
            llm = self.service.models.loaded(model)
            preset = PRESETS.get(parsed.name or "")
            return markup.plan_facts(
                parsed,
                preset.summary if preset is not None else f"a plan of your own: {parsed}",
                frames=check_frames(frames, self.service.limits),
                side=llm.towers.side if llm is not None else None,
            )
        except Exception as error:
            return failed(error)

    def leave(self, request: gr.Request) -> None:
        """A page was closed."""
        self.service.sessions.end(request.session_hash or "")


def reported(work: Callable[[Progress], str]) -> Iterator[Outputs]:
    """Run what makes a piece of the page: status and piece, the piece only at the end."""
    running = Running(work)
    for steps in running:
        yield markup.progress(steps), gr.skip()
    try:
        yield "", changed(running.result())
    except Exception as error:
        yield failed(error), gr.skip()


def changed(value: str) -> Any:
    """A new value for a part that other events skip.

    As a plain value, after a skip, Gradio (6.31) would keep each one for as long as the session
    lasts: a quarter of a megabyte for an answer.
    """
    return gr.update(value=value)


def answer_page(reply: Reply, earlier: Sequence[Asked]) -> str:
    """Everything about an answer."""
    answer = reply.answers[0]
    return "".join(
        (
            markup.answer_card(reply),
            timeline(answer),
            kept_frames(answer),
            markup.tokens(answer),
            markup.downloads(reply.result, "why"),
            markup.asked_before(earlier),
        )
    )


def make_wish(
    question: str | None,
    options: str | None,
    model: str,
    frames: float,
    start: str | None = "",
    end: str | None = "",
) -> Wish:
    """The form's values; the options are one on each line."""
    lines = [line.strip() for line in (options or "").splitlines()]
    chosen = tuple(line for line in lines if line)
    return Wish(
        question=question or "",
        options=chosen,
        model=model,
        frames=frames,
        start=start or "",
        end=end or "",
    )


def suggestions(sample: str | None) -> list[Any]:
    """Buttons with what may be asked about an example, hidden where it is none."""
    texts: list[str] = []
    if sample is not None:
        known = samples.all_samples()[sample]
        texts = [question for question, _ in (*known.questions, *known.contrasts)][:SUGGESTIONS]
    empty = [gr.Button(visible=False)] * (SUGGESTIONS - len(texts))
    return [gr.Button(text, visible=True) for text in texts] + empty


def sample_path(name: str) -> str:
    """A bundled clip's file, for the player."""
    path: Path = samples.all_samples()[name].path
    return str(path)


def failed(error: Exception) -> str:
    """An error as a sentence."""
    if isinstance(error, FreeVideoLLMError):
        return markup.error(str(error))
    log.error("the page met an error", exc_info=error)
    return markup.error(UNFORESEEN)
