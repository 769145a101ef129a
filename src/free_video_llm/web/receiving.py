"""Receives what a visitor sends, for no longer than a line that is in use would take.

Around an ASGI server's `receive`. Knows nothing of what is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

#: What a request has in any case, in seconds, and bytes per second beyond: a slow mobile line.
_AT_LEAST, _SLOWEST = 60.0, 20_000


class Receiving:
    """A request's messages, in time.

    Args:
        receive: the server's.
        size: bytes that the request declares.
        stall_seconds: longest time between two messages.
        clock: seconds that only go forward.

    Attributes:
        late: whether it took too long; what comes then is a disconnect.
        ended: whether no more comes, for whatever reason but the whole being there.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        size: int,
        stall_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive, self._stall, self._clock = receive, stall_seconds, clock
        self._until = clock() + max(_AT_LEAST, stall_seconds) + size / _SLOWEST
        self._whole = False
        self.late = self.ended = False

    async def __call__(self) -> Message:
        """The next message; a disconnect where it does not come in time."""
        if self._whole:  # now only a disconnect can come, and may take as long as the answer does
            return await self._receive()
        message: Message = {"type": "http.disconnect"}
        left = min(self._stall, self._until - self._clock())
        try:
            if left <= 0:
                raise TimeoutError
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            self.late = True
        self.ended = message["type"] != "http.request"
        self._whole = not self.ended and not message.get("more_body", False)
        return message


async def drain(receive: Receive, most: int) -> None:
    """Read on for a while: who is cut off while sending may not see the answer."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
