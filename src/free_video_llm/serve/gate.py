"""Stands before the server: keys, names, sizes and slow senders. An ASGI application around
another.

Every refusal is one line in OpenAI's form; nothing of the request has been read by then but its
head, and as much of its body as is allowed.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from free_video_llm.serve.refusals import Refusal
from free_video_llm.serve.settings import LOCAL, Settings
from free_video_llm.web.names import host_name, is_own
from free_video_llm.web.receiving import Message, Receive, Receiving, drain

log = logging.getLogger("free_video_llm.serve.requests")

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What answers without a key: it tells nothing of what was asked.
OPEN = ("/health", "/ready", "/metrics")
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: What a form says around a file of the largest size.
_FORM_BYTES = 65_536


class Gate:
    """Passes a request on with a name of its own, or refuses it; either way it is logged.

    Args:
        app: what is behind.
        count: told the path and status of every request.
    """

    def __init__(self, app: App, settings: Settings, *, count: Callable[[str, int], None]) -> None:
        self._app, self._settings, self._count = app, settings, count
        any_name = settings.host not in LOCAL and not settings.allowed_hosts
        named = {*LOCAL, settings.host, *settings.allowed_hosts}
        self._hosts = None if any_name else frozenset(name.lower() for name in named)
        self._keys = tuple(key.encode() for key in settings.keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if _NAME.fullmatch(given) else uuid.uuid4().hex
        scope = {**scope, "state": {**scope.get("state", {}), "name": name, "about": {}}}
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept = list(message.get("headers", []))
                kept += [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": kept}
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refuse(sending, refusal)
            elif scope["method"] == "POST":
                await self._pass_body(scope, headers, receive, sending)
            else:
                await self._app(scope, receive, sending)
        finally:
            self._count(str(scope["state"].get("path", "other")), status)
            self._log(scope, name, status, time.monotonic() - began)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._hosts is not None and host_name(headers.get(b"host", b"")) not in self._hosts:
            return Refusal(403, "this server is not known by that name: see --allow-host")
        if not is_own(headers, None):
            return Refusal(403, "pages of other addresses may not use this server")
        if self._keys and scope["path"] not in OPEN and not self._has_key(headers):
            return Refusal(401, "a key is needed: Authorization: Bearer …", code="invalid_api_key")
        return None

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        given = given.strip() if kind.lower() == b"bearer" else b""
        # All of them are compared, so that the time tells nothing.
        return True in [secrets.compare_digest(given, key) for key in self._keys]

    async def _pass_body(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """A request with a body, which is read as far as is allowed before anything else."""
        most = self._settings.bounds.body_bytes + _FORM_BYTES
        declared = headers.get(b"content-length", b"")
        size = int(declared[:19]) if declared.isdigit() else 0
        too_large = Refusal(
            413,
            f"the request is larger than {self._settings.bounds.body_bytes / 1e6:,.0f} MB: name "
            "the video by an address, or send a smaller one",
        )
        stall = self._settings.bounds.stall_seconds
        timed = Receiving(receive, size=min(size, 2 * most), stall_seconds=stall)
        if size > most:
            if size < 2 * most:
                await drain(timed, most)
            await refuse(send, too_large)
            return
        pieces: list[bytes] = []
        length, more = 0, True
        while more:
            message = await timed()
            if message["type"] == "http.disconnect":
                if timed.late:
                    await refuse(send, Refusal(408, "the request came too slowly, or stood still"))
                return
            length += len(message.get("body", b""))
            if length > most:
                pieces.clear()
                if message.get("more_body", False):  # who is cut off while sending may not see why
                    await drain(timed, most)
                await refuse(send, too_large)
                return
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        whole = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]
        pieces.clear()

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)

    def _log(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        client = scope.get("client")
        log.info(
            "request",
            extra={
                "about": {
                    "id": name,
                    "method": scope["method"],
                    "path": str(scope["state"].get("path", "other")),
                    "status": status or 499,  # whoever asked went away
                    "seconds": round(seconds, 4),
                    "client": client[0] if client else None,
                    **scope["state"]["about"],
                }
            },
        )


async def refuse(send: Send, refusal: Refusal) -> None:
    """Answer with a refusal."""
    body = json.dumps(refusal.to_dict()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what was not read of the body is not to be waited for
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
