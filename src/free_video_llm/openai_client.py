"""HTTP clients for OpenAI-compatible servers: no redirects, bounded replies, keys where meant.

Texts from the server are filtered before anybody sees them: it may repeat the key it was sent.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from free_video_llm.errors import ConfigError, MissingExtraError

DEFAULT_URL = "https://api.openai.com/v1"
#: Of one reply's body; a verdict has some thirty characters, an answer some hundreds.
MOST_BYTES = 1_000_000
_SECRETS = ("OPENAI_API_KEY", "OPENAI_ORG")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def check_url(url: str) -> None:
    """Refuse an address that no request can go to, or one that would put a secret into reports.

    Raises:
        ConfigError: it is not http(s)://HOST/…, or has a user, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"--base-url is http:// or https:// and a host, as in http://127.0.0.1:8000/v1, "
            f"not {url[:80]!r}"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"--base-url is written into the results, so it has no key in it: set OPENAI_API_KEY "
            f"instead (the host is {host})"
        )


def read_key(url: str) -> str:
    """The key for a server, from OPENAI_API_KEY.

    Raises:
        ConfigError: OpenAI's own server without one; a key that no header can hold; a key that
            would go to another machine unencrypted.
    """
    key = (os.environ.get("OPENAI_API_KEY") or "").strip()
    if not key:
        if url == DEFAULT_URL:
            raise ConfigError("set OPENAI_API_KEY (and OPENAI_ORG), or name a server by --base-url")
        return "none"  # a server of one's own wants no key
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise ConfigError("OPENAI_API_KEY has letters that no key has: copy it again")
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        raise ConfigError(
            f"OPENAI_API_KEY would go to {parts.hostname} unencrypted: use https://, or unset it "
            "for a server that wants no key"
        )
    return key


def hide_secrets(text: str) -> str:
    """A server's text without the key or organisation that it was sent."""
    for name in _SECRETS:
        secret = (os.environ.get(name) or "").strip()
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return text


def open_client(url: str, *, timeout_seconds: float, retries: int, what: str, extra: str) -> Any:
    """An `openai.AsyncOpenAI` for a server.

    Args:
        what: needs it, for the error of a package that is not there.
        extra: of ours that brings the package.

    Raises:
        MissingExtraError: the `openai` package is not installed.
        ConfigError: see `read_key`.
    """
    openai = _sdk(what, extra)
    http = _http_library(openai)

    class Bounded(http.AsyncByteStream):  # type: ignore[name-defined,misc]
        """A body that is read no further than `MOST_BYTES`."""

        def __init__(self, body: Any) -> None:
            self._body = body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = MOST_BYTES
            async for piece in self._body:
                left -= len(piece)
                if left < 0:
                    raise http.ReadError(_TOO_LONG)
                yield piece

        async def aclose(self) -> None:
            await self._body.aclose()

    class Transport(http.AsyncHTTPTransport):  # type: ignore[name-defined,misc]
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            response.stream = Bounded(response.stream)
            return response

    return openai.AsyncOpenAI(
        **_how(url, timeout_seconds, retries),
        http_client=openai.DefaultAsyncHttpxClient(transport=Transport(), follow_redirects=False),
    )


def open_blocking_client(
    url: str, *, timeout_seconds: float, retries: int, what: str, extra: str
) -> Any:
    """The same as an `openai.OpenAI`, for use from several threads. Raises as `open_client`."""
    openai = _sdk(what, extra)
    http = _http_library(openai)

    class Bounded(http.SyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, body: Any) -> None:
            self._body = body

        def __iter__(self) -> Iterator[bytes]:
            left = MOST_BYTES
            for piece in self._body:
                left -= len(piece)
                if left < 0:
                    raise http.ReadError(_TOO_LONG)
                yield piece

        def close(self) -> None:
            self._body.close()

    class Transport(http.HTTPTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            response.stream = Bounded(response.stream)
            return response

    return openai.OpenAI(
        **_how(url, timeout_seconds, retries),
        http_client=openai.DefaultHttpxClient(transport=Transport(), follow_redirects=False),
    )


_TOO_LONG = f"the reply is longer than {MOST_BYTES:,} bytes"


def _sdk(what: str, extra: str) -> Any:
    try:
        import openai
    except ImportError:
        raise MissingExtraError(
            f"{what} needs the openai package: pip install 'free-video-llm[{extra}]'"
        ) from None
    return openai


def _how(url: str, timeout_seconds: float, retries: int) -> dict[str, Any]:
    return {
        "api_key": read_key(url),
        "organization": os.environ.get("OPENAI_ORG") or None,
        "base_url": url,
        "timeout": timeout_seconds,
        "max_retries": retries,
    }


def _http_library(openai: Any) -> ModuleType:
    """The library that this version of the SDK sends requests with: httpx, or a successor."""
    kinds = openai.DefaultAsyncHttpxClient.__mro__
    base = next(kind for kind in kinds if kind.__name__ == "AsyncClient")
    return import_module(base.__module__.partition(".")[0])


def text_of(value: Any) -> str:
    """A short text of a server's reply, without secrets."""
    return hide_secrets(str(value or ""))[:200]


def count_of(value: Any) -> int:
    """A count of a server's reply; 0 for what is none."""
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0


def reason_of(error: BaseException) -> str:
    """An error's kind and first line, without what a server repeats of the key."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return hide_secrets(f"{type(error).__name__}: {first}")[:300]
