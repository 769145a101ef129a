"""A server within the test's own process, so that tests can look behind it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from free_video_llm import VideoLLM

STAR = "What color is the star?"


def asked(question: str = STAR, video: str = "sample:star", **more: Any) -> dict[str, Any]:
    """A request's body."""
    parts = [
        {"type": "video_url", "video_url": {"url": video}},
        {"type": "text", "text": question},
    ]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], **more}


@contextlib.contextmanager
def serving(llm: VideoLLM, *, page: Any = None, **how: Any) -> Iterator[Any]:
    """A running server; `how` is for `Settings`."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
    from free_video_llm.serve.server import runner, server
    from free_video_llm.serve.settings import Settings

    settings = Settings(**{"port": 0, "plan": "uniform", "frames": 8, **how})
    ready = threading.Event()
    with server(settings, lambda name: llm, page=page) as made:
        uvicorn = runner(made, settings, lambda url: ready.set())
        thread = threading.Thread(target=uvicorn.run, kwargs={"sockets": [made.socket]})
        thread.start()
        try:
            assert ready.wait(60)
            yield made
        finally:
            uvicorn.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
