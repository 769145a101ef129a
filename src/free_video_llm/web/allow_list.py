"""Stands before Gradio's server: lets through only what the page needs, and refuses the rest.

An ASGI application around another. Knows nothing of models and videos.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.web.limits import Limits, megabytes
from free_video_llm.web.names import has_password, host_name, is_own, without_foreign_names
from free_video_llm.web.receiving import Message, Receive, Receiving, drain
from free_video_llm.web.uploads import Uploads

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_API = "/gradio_api"
_EXACT = {
    "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
    *(f"{_API}/{name}" for name in (
        "queue/join", "queue/data", "upload", "upload_progress", "cancel", "reset",
        "startup-events", "app_id", "theme.css", "run/predict",
    )),
}  # fmt: skip
_UNDER = ("/assets/", "/static/", "/svelte/", "/answers/", f"{_API}/heartbeat/")
_FILE = f"{_API}/file="
_UPLOAD = f"{_API}/upload"
#: Requests that carry what a visitor wrote and chose.
_EVENTS = {f"{_API}/queue/join", f"{_API}/run/predict"}
#: Enough for a question of any allowed length.
_EVENT_BYTES = 262_144
#: What a form says around a file of the largest size.
_FORM_BYTES = 65_536
#: The browser itself is told to load nothing from elsewhere. Gradio's own page needs the "unsafe"
#: ones: its configuration is a script in the page, and its HTML component compiles its template.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
#: Cards for social networks, with addresses outside; the page is not for them.
_CARDS = re.compile(rb"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>\s*")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may come.

    Attributes:
        hosts: names under which the server may be called; None for any. A server on 127.0.0.1 that
            answered to any name could be read by a web page elsewhere, through a name of its own
            that it lets point here.
        public: the name and port under which a proxy shows the page, if one does.
        password: that has to be given; None for none.
    """

    hosts: frozenset[str] | None
    public: str | None = None
    password: str | None = None


class Gate:
    """Passes a request on, or answers it with a refusal.

    Args:
        app: what is behind.
        uploads: the folder whose files may be fetched.
        shown: a further folder whose files may be fetched.
        access: who may come.
    """

    def __init__(
        self,
        app: App,
        *,
        uploads: Uploads,
        shown: Path,
        limits: Limits,
        access: Access,
    ) -> None:
        self._app, self._uploads, self._limits, self._access = app, uploads, limits, access
        self._folders = (uploads.folder, shown.resolve())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        scope = {
            **scope,
            "headers": without_foreign_names(scope["headers"], self._access.hosts),
        }
        if refusal is not None:
            most = 2 * self._limits.file_bytes if scope["path"] == _UPLOAD else _EVENT_BYTES
            await drain(self._in_time(scope, receive), most)
            await _refuse(send, *refusal)
        elif scope["path"] == "/":
            await self._send_page(scope, receive, send)
        elif scope["path"] in _EVENTS:
            await self._pass_event(scope, self._in_time(scope, receive), send)
        elif scope["path"] == _UPLOAD:
            await self._pass_upload(scope, self._in_time(scope, receive), send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        path, access = scope["path"], self._access
        if access.hosts is not None and host_name(headers.get(b"host", b"")) not in access.hosts:
            return 403, "this server is not known by that name; see docs/web.md about proxies"
        if access.password is not None and not has_password(headers, access.password):
            return 401, "This page has a password."
        if scope["method"] not in ("GET", "HEAD") and not is_own(headers, access.public):
            return 403, "only the page itself can do this"
        if path.startswith(_FILE):
            return None if self._may_fetch(path.removeprefix(_FILE)) else (403, "no such file")
        if path not in _EXACT and not path.startswith(_UNDER):
            return 404, "there is nothing here"
        if path == _UPLOAD:
            return self._upload_refusal(headers)
        return None

    def _may_fetch(self, name: str) -> bool:
        try:
            true = Path(name).resolve()
        except (OSError, ValueError):
            return False
        return any(true.is_relative_to(folder) for folder in self._folders)

    def _upload_refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        declared = headers.get(b"content-length", b"")
        if not declared.isdigit():
            return 411, "an upload must say how large it is"
        size = _declared(headers)
        if size > self._limits.file_bytes + _FORM_BYTES:
            most = megabytes(self._limits.file_bytes)
            return 413, f"The file is {megabytes(size)}; at most {most} are allowed."
        return None

    def _in_time(self, scope: Scope, receive: Receive) -> Receiving:
        size = min(_declared(dict(scope["headers"])), 2 * self._limits.file_bytes)
        return Receiving(receive, size=size, stall_seconds=self._limits.stall_seconds)

    async def _pass_upload(self, scope: Scope, receive: Receiving, send: Send) -> None:
        """An upload, with room kept for all of it, and nothing left of it where it breaks off."""
        answered = failed = False

        async def sending(message: Message) -> None:
            nonlocal answered, failed
            if message["type"] == "http.response.start":
                failed = message["status"] >= 400 and message["status"] != 413
                answered = not failed
            if not failed:  # Gradio's words for it would be a traceback's, or none
                await _with_headers(send)(message)

        size = _declared(dict(scope["headers"]))
        with self._uploads.receiving(size, room=self._limits.upload_bytes) as fits:
            if fits:
                try:
                    await self._app(scope, receive, sending)
                except Exception as error:
                    failed = True
                    if not receive.ended:
                        log.warning("an upload could not be taken: %r", error)
        if not fits:
            await drain(receive, 2 * self._limits.file_bytes)
            text = "The server has no room for more clips now: try again in a while."
            await _refuse(send, 507, text)
        elif answered:
            return
        elif receive.late:
            await _refuse(send, 408, "The upload came too slowly, or stood still: try again.")
        elif failed and not receive.ended:
            await _refuse(send, 400, "The server cannot take this file: give it another name.")

    async def _pass_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An event, if it names no file but those that may be fetched.

        Gradio would fetch an address that it is given in the place of a file.
        """
        body = bytearray()
        more = True
        while more and len(body) <= _EVENT_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body.extend(message.get("body", b""))
            more = message.get("more_body", False)
        if len(body) > _EVENT_BYTES:
            await _refuse(send, 413, "That is too much at once: shorten the question.")
            return
        try:
            names = list(_files_in(json.loads(bytes(body))))
        except (ValueError, RecursionError):
            await _refuse(send, 400, "this is no event")
            return
        if not all(isinstance(name, str) and self._may_fetch(name) for name in names):
            await _refuse(send, 403, "This clip is not on the server: choose it again.")
            return
        whole = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, _with_headers(send))

    async def _send_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page without what points outside."""
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        begun: list[Message] = []
        body = bytearray()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            page = _CARDS.sub(b"", bytes(body))
            start = begun[0]
            kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            kept.append((b"content-length", str(len(page)).encode()))
            await _with_headers(send)({**start, "headers": kept})
            await send({"type": "http.response.body", "body": page})

        await self._app({**scope, "headers": plain}, receive, hold)


def _files_in(value: Any) -> Iterator[Any]:
    """Whatever stands where Gradio looks for a file's path or address, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "path":
                yield inner
            else:
                yield from _files_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _files_in(inner)


def _declared(headers: dict[bytes, bytes]) -> int:
    """The bytes that a request says it has; no server takes a number of many digits."""
    declared = headers.get(b"content-length", b"")
    return int(declared[:19]) if declared.isdigit() else 0


def _with_headers(send: Send) -> Send:
    """Add our headers, and take out those that let pages of other addresses read the reply."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                pair
                for pair in message.get("headers", [])
                if not pair[0].lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *_HEADERS]}
        await send(message)

    return add


async def _refuse(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what was not read of an upload is not to be waited for
        *_HEADERS,
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Free Video-LLM", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
