"""A page served within the test's own process, so that tests can look behind it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from free_video_llm import VideoLLM
from free_video_llm.web.limits import Limits


@contextlib.contextmanager
def running(
    llm: VideoLLM,
    models: tuple[str, ...] = ("tiny",),
    root_path: str | None = None,
    password: str | None = None,
    arrival: bool = False,
    **limits: Any,
) -> Iterator[Any]:
    """A server in this process; one at a time, as Gradio keeps its folder in the environment."""
    pytest.importorskip("gradio", reason="the extra web is not installed")
    from free_video_llm.web.server import Settings, runner, site

    settings = Settings(
        port=0, models=models, limits=Limits(**limits), root_path=root_path, password=password,
        arrival=arrival,
    )  # fmt: skip
    ready = threading.Event()

    def load(name: str) -> VideoLLM:
        return llm if name == "tiny" else VideoLLM.from_pretrained(name)

    with site(settings, load) as made:
        server = runner(made, lambda url: ready.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [made.socket]})
        thread.start()
        try:
            assert ready.wait(60)
            yield made
        finally:
            server.should_exit = True
            thread.join(20)
