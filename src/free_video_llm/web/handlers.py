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
from free_video_llm.web.progress import Running
from free_video_llm.web.service import Progress, Reply, Service, Wish
from free_video_llm.web.sessions import Asked, Session
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
        """Another clip: facts, status, result, comparison, and buttons for what may be asked."""
        try:
            clip = self.service.choose(self.session(request), path)
        except Exception as error:
            clip, facts, status = None, "", failed(error)
        else:
            facts, status = markup.clip_facts(clip), ""
        questions = suggestions(clip.sample if clip is not None else None)
        return (facts, status, changed(markup.EMPTY), changed(""), *questions)

    def ask(
        self,
        path: str | None,
        question: str,
        options: str,
        model: str,
        plan: str,
        frames: float,
        request: gr.Request,
    ) -> Iterator[Outputs]:
        """Answer a question: status and result, progress on the way."""
        wish = make_wish(question, options, model, frames)

        def work(report: Progress) -> str:
            session = self.session(request)
            self.service.choose(session, path)
            earlier = list(session.asked)
            return answer_page(self.service.ask(session, wish, plan or "", report), earlier)

        yield from reported(work)

    def compare(
        self,
        path: str | None,
        question: str,
        options: str,
        model: str,
        plans: list[str],
        frames: float,
        request: gr.Request,
    ) -> Iterator[Outputs]:
        """Answer a question under several plans: status and comparison, progress on the way."""
        wish = make_wish(question, options, model, frames)

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


def make_wish(question: str | None, options: str | None, model: str, frames: float) -> Wish:
    """The form's values; the options are one on each line."""
    lines = [line.strip() for line in (options or "").splitlines()]
    chosen = tuple(line for line in lines if line)
    return Wish(question=question or "", options=chosen, model=model, frames=frames)


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
