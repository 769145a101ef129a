"""Starts and stops the server."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from free_video_llm.errors import MissingExtraError
from free_video_llm.pipeline import VideoLLM
from free_video_llm.serve.settings import Settings
from free_video_llm.web.listening import listen
from free_video_llm.web.models import Models

#: Seconds that an open connection has to begin a request, and between two of them.
_SILENT_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A server that is ready to run."""

    app: Any
    socket: socket.socket
    url: str
    desk: Any


def check_extra() -> None:
    """Raise MissingExtraError where a package of the extra is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the server needs {error.name}: pip install 'free-video-llm[serve]'"
        ) from None


@contextlib.contextmanager
def server(
    settings: Settings, load: Callable[[str], VideoLLM], *, page: Any = None
) -> Iterator[Server]:
    """Everything a server needs; at the end what is being answered is finished first.

    Args:
        load: makes the model of a name; the first is loaded here.
        page: a web page's ASGI application, which answers for every path that is not the server's.

    Raises:
        ConfigError: the port cannot be had, or the folder of jobs not be used.
        CheckpointError: the first model cannot be loaded.
    """
    check_extra()
    from free_video_llm.serve.app import Desk, build_app
    from free_video_llm.serve.engine import Engine
    from free_video_llm.serve.gate import Gate
    from free_video_llm.serve.metrics import Metrics
    from free_video_llm.serve.watched import Watched

    with contextlib.ExitStack() as held:
        listening = held.enter_context(listen(settings.host, settings.port))
        models = Models(settings.models, load)
        with models.use(models.first):
            pass
        engine = Engine(models, Watched(settings.bounds.memory_bytes), batch=settings.bounds.batch)
        held.callback(engine.close)
        metrics = Metrics(engine)
        desk = Desk(settings, engine, metrics)
        app = build_app(desk)
        if settings.jobs is not None:
            from free_video_llm.serve.job_routes import add_jobs
            from free_video_llm.serve.jobs import Jobs

            jobs = held.enter_context(Jobs(settings.jobs, desk))
            add_jobs(app, jobs)
        gate = Gate(app, settings, count=metrics.request)
        host, port = listening.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        whole = gate if page is None else functools.partial(_either, gate, page)
        yield Server(whole, listening, f"http://{name}:{port}", desk)


def runner(made: Server, settings: Settings, ready: Callable[[str], None]) -> Any:
    """A uvicorn server; its `run` returns when it is told to stop and what ran is finished."""
    import uvicorn

    class Uvicorn(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(made.url)

    config = uvicorn.Config(
        made.app,
        http=_impatient(),
        interface="asgi3",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.grace_seconds,
        timeout_keep_alive=_SILENT_SECONDS,
        limit_concurrency=settings.bounds.connections,
        server_header=False,
        ws="none",
    )
    return Uvicorn(config)


def _impatient() -> Any:
    """uvicorn's reader of requests, but a connection that begins none is closed after a while:
    uvicorn itself waits for a request's head for ever."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(_SILENT_SECONDS, self._close_if_silent)

        def _close_if_silent(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Impatient


async def _either(gate: Any, page: Any, scope: Any, receive: Any, send: Any) -> None:
    """The server's own paths to the server, all others to the page."""
    path = scope.get("path", "")
    ours = path.startswith("/v1/") or path in ("/health", "/ready", "/metrics")
    await (gate if ours or scope["type"] == "lifespan" else page)(scope, receive, send)


class JsonLines(logging.Formatter):
    """Log records as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Words(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        about = dict(getattr(record, "about", {}))
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        if "path" not in about:
            text = f"{at} {record.levelname.lower()}: {record.getMessage()}"
        else:
            text = f"{at} {about['method']} {about['path']} {about['status']}"
            text += f" {about['seconds']:.2f} s"
            if "visual_tokens" in about:
                text += f", {about['visual_tokens']:,} visual tokens"
            if "refused" in about:
                text += f", {about['refused']}"
        return text + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


@contextlib.contextmanager
def logged_to_stderr(*, form: str) -> Iterator[None]:
    """Log requests and what goes wrong meanwhile; `form` is "json", "text" or "none". What else the
    library tells of its doings names files and questions, and is left out."""
    root = logging.getLogger("free_video_llm")
    level = root.level
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda r: r.name.startswith(f"{__package__}.") or r.levelno > logging.INFO)
    handler.setFormatter(JsonLines() if form == "json" else Words())
    root.addHandler(handler)
    root.setLevel(logging.ERROR if form == "none" else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
