"""A busy server: who waits sees that, and who finds the line full is told so in a sentence."""

from __future__ import annotations

from contextlib import ExitStack

from page_server import running
from visitor import Visitor

COLOR = "What color is the star?"


def test_the_line_is_bounded_and_moves_on(llm, chromium):
    with ExitStack() as stack:
        server = stack.enter_context(running(llm, queue=1))
        people = [stack.enter_context(Visitor(chromium, server.url)) for _ in range(3)]
        for visitor in people:
            visitor.example("star")
        answering, waiting, refused = people
        with server.service.models.use("tiny"):  # somebody's long question
            answering.ask(COLOR)
            answering.page.wait_for_selector("#fvl-status >> text=Waiting for the model")
            waiting.ask(COLOR)
            waiting.page.wait_for_selector("#fvl-status >> text=queue: 1/1")
            refused.ask(COLOR)
            refused.page.wait_for_selector("text=This application is currently busy.")
        assert answering.answer_to(COLOR) == "red"
        assert waiting.answer_to(COLOR) == "red"
        refused.ask(COLOR)
        assert refused.answer_to(COLOR) == "red"
