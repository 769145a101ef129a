"""Starts and stops the web server: its folder for uploads, its routes, its end.

Knows nothing of what is on the page.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from free_video_llm import samples
from free_video_llm.errors import MissingExtraError
from free_video_llm.pipeline import VideoLLM
from free_video_llm.web.allow_list import Access, Gate
from free_video_llm.web.folder import private_folder
from free_video_llm.web.limits import Limits
from free_video_llm.web.listening import listen
from free_video_llm.web.models import Models
from free_video_llm.web.service import Service
from free_video_llm.web.sessions import Sessions
from free_video_llm.web.uploads import Uploads

log = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost", "::1")
#: Seconds between two looks at what is to be deleted.
SWEEP_EVERY = 30.0
#: Seconds that open connections have to end by themselves when the server stops.
_GRACE = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server is started.

    Attributes:
        host, port: where it listens; port 0 takes any free one.
        models: names on offer, the first of which is loaded before anybody comes.
        plan, frames: what a new page shows.
        root_path: the address under which a proxy shows the page, where it is not its own.
        allowed_hosts: further names under which the server may be called.
        password: that visitors have to give, under any user's name; None for none.
        arrival: whether a page that is opened shows an example, answered.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    models: tuple[str, ...] = ("tiny",)
    plan: str = "paper"
    frames: int = 50
    limits: Limits = field(default_factory=Limits)
    root_path: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)
    arrival: bool = True


@dataclass(frozen=True)
class Site:
    """A server that is ready to run; `stop` ends the streams that open pages hold."""

    app: Any
    stop: Callable[[], None]
    service: Service
    socket: socket.socket
    url: str


def check_gradio() -> None:
    """Raise MissingExtraError where the extra is not installed. Gradio is told to call nobody."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "the web page needs Gradio: pip install 'free-video-llm[web]'"
        ) from None


@contextlib.contextmanager
def site(settings: Settings, load: Callable[[str], VideoLLM]) -> Iterator[Site]:
    """Everything a server needs; at the end its folder is deleted, with all that was uploaded.

    Raises:
        ConfigError: the port cannot be had.
        CheckpointError: the first model cannot be loaded.
    """
    with listen(settings.host, settings.port) as listening, _made(settings, load) as made:
        app, stop_streams, service = made
        host, port = listening.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        yield Site(app, stop_streams, service, listening, f"http://{name}:{port}")


@contextlib.contextmanager
def mounted(settings: Settings, load: Callable[[str], VideoLLM]) -> Iterator[Any]:
    """The page's ASGI application, to be one part of another server. Raises as `site` does."""
    with _made(settings, load) as (app, stop_streams, _):
        try:
            yield app
        finally:
            stop_streams()


@contextlib.contextmanager
def _made(
    settings: Settings, load: Callable[[str], VideoLLM]
) -> Iterator[tuple[Gate, Callable[[], None], Service]]:
    """The page, what ends the streams that open pages hold, and its service."""
    check_gradio()
    stop = threading.Event()
    with private_folder() as folder:
        uploads = Uploads(folder / "uploads")
        uploads.folder.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
        sessions = Sessions(uploads, settings.limits)
        service = Service(sessions, Models(settings.models, load), settings.limits)
        service.load(service.models.first)
        app, stop_streams = _app(settings, service, folder)
        sweeping = threading.Thread(
            target=_sweep, args=(sessions, stop), name="fvl-sweep", daemon=True
        )
        sweeping.start()
        try:
            yield app, stop_streams, service
        finally:
            stop.set()
            sessions.end_all()


def serve(
    settings: Settings, load: Callable[[str], VideoLLM], *, ready: Callable[[str], None]
) -> None:
    """Serve until interrupted, then clean up and raise KeyboardInterrupt.

    Args:
        ready: told the address once it can be opened.
    """
    # The default would end the process on the spot, the uploads left behind. A shell that starts it
    # with "&" has SIGINT ignored; uvicorn hears it all the same, and so must the end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with site(settings, load) as made:
        runner(made, ready).run(sockets=[made.socket])


def runner(made: Site, ready: Callable[[str], None]) -> Any:
    """A uvicorn server for a site; its `run` returns when it is told to stop."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(made.url)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            made.stop()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        made.app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        ws="none",
    )
    return Server(config)


def _app(settings: Settings, service: Service, folder: Path) -> tuple[Gate, Callable[[], None]]:
    import gradio as gr
    from fastapi import FastAPI

    from free_video_llm.web import layout
    from free_video_llm.web.downloads import add_downloads

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_downloads(app, service.sessions, folder)
    page = layout.build_page(
        service, plan=settings.plan, frames=settings.frames, arrival=settings.arrival
    )
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=settings.root_path,
        allowed_paths=[str(samples.FOLDER)],
        max_file_size=settings.limits.file_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=layout.theme(),
        css=layout.style(),
        head=layout.head(),
    )
    # Gradio checks which files a visitor may name only where this is set, and mounting does not.
    page.has_launched = True
    mounted = app.routes[-1].app  # type: ignore[attr-defined]

    def stop() -> None:
        page.is_running = False
        mounted.stop_event.set()

    gate = Gate(
        app,
        uploads=service.sessions.uploads,
        shown=samples.FOLDER,
        limits=settings.limits,
        access=_access(settings),
    )
    return gate, stop


def _access(settings: Settings) -> Access:
    """Who may come: under any name, where other machines may come and no names are given."""
    public = urlsplit(settings.root_path or "")
    names = {name.lower() for name in (*settings.allowed_hosts, public.hostname) if name}
    any_name = settings.host not in LOCAL and not settings.allowed_hosts
    hosts = None if any_name else frozenset({*LOCAL, *names, settings.host})
    return Access(hosts=hosts, public=public.netloc.lower() or None, password=settings.password)


def _sweep(sessions: Sessions, stop: threading.Event) -> None:
    while not stop.wait(SWEEP_EVERY):
        try:
            sessions.sweep()
        except Exception:
            log.exception("what was to be deleted could not be looked at; trying again")
