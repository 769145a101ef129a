"""A file at a web address: redirects are followed one by one, and nothing is sent to a machine of a
private network unless the address itself names one, or that is allowed."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from free_video_llm.errors import VideoError

MOST_HOPS = 5


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What is fetched at most.

    Attributes:
        most_bytes: of a video.
        seconds: that fetching it may take; of these `idle` without a byte.
        allow_private: whether an address may lead on to a private one. None: only where it was
            private itself.
        may_visit: whether a host (with its port, where the address has one) may be asked for
            anything, the first address and those that it leads on to. None: any.
    """

    most_bytes: int = 4_000_000_000
    seconds: float = 1800.0
    idle: float = 30.0
    allow_private: bool | None = None
    may_visit: Callable[[str], bool] | None = None


def short(name: str) -> str:
    """A name for an error's one line."""
    return name if len(name) <= 120 else f"{name[:80]}…{name[-30:]}"


def reason(error: BaseException) -> str:
    """Why, in words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def _is_private(address: str) -> bool:
    """Whether an IP address is not of the public internet."""
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return not (mapped or found).is_global


@contextlib.contextmanager
def open_web(source: str, limits: FetchLimits) -> Iterator[tuple[http.client.HTTPResponse, int]]:
    """The response of a web address that gives a file, and the bytes that it promises (0: none).

    Raises:
        VideoError: it cannot be had, is a page, or larger than allowed.
    """
    name, hops = short(source), 0
    allowed = limits.allow_private
    while True:
        peers: list[str] = []
        host = urllib.parse.urlsplit(source).netloc
        if limits.may_visit is not None and not limits.may_visit(host):
            raise VideoError(f"{name}: {short(host)!r} is not among the hosts that are allowed")
        try:
            response = _opened(source, limits, allowed, peers)
        except urllib.error.URLError as error:
            cause = error.reason if isinstance(error.reason, BaseException) else error
            raise VideoError(f"{name}: cannot be reached ({reason(cause)})") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise VideoError(f"{name}: cannot be reached ({reason(error)})") from error
        with contextlib.closing(response):
            if response.status not in (301, 302, 303, 307, 308):
                yield response, _promised(response, name, limits)
                return
            hops += 1
            if hops > MOST_HOPS:
                raise VideoError(f"{name}: it leads on more than {MOST_HOPS} times")
            source = urllib.parse.urljoin(source, response.headers.get("Location", ""))
            if urllib.parse.urlsplit(source).scheme not in ("http", "https"):
                raise VideoError(f"{name}: it leads on to {short(source)}, no web address")
        # Who names a machine of their own network may be led about in it.
        of_ones_own = limits.allow_private is None and bool(peers) and _is_private(peers[0])
        allowed = allowed or of_ones_own


def _promised(response: http.client.HTTPResponse, name: str, limits: FetchLimits) -> int:
    if response.status != 200:
        raise VideoError(
            f"{name}: the server says {response.status} {response.reason}; check the address"
        )
    declared = response.headers.get("Content-Length") or "0"
    total = int(declared) if declared.isdecimal() else 0
    if total > limits.most_bytes:
        raise VideoError(
            f"{name}: it is {total / 1e9:.1f} GB, and at most {limits.most_bytes / 1e9:g} GB are "
            "fetched; download it first"
        )
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise VideoError(
            f"{name}: it is a page, not a video; name the address of the video file itself"
        )
    return total


def _opened(
    source: str, limits: FetchLimits, private: bool | None, peers: list[str]
) -> http.client.HTTPResponse:
    """The response to a request, no redirect followed. `peers` gets the address it came from;
    a private one is refused before anything is sent, unless it is the first or allowed."""

    def check(connection: http.client.HTTPConnection) -> None:
        peer = str(connection.sock.getpeername()[0])
        peers.append(peer)
        first = private is None and limits.allow_private is None
        if not (first or private) and _is_private(peer):
            connection.close()
            raise VideoError(f"{short(source)}: it leads to a private address, {peer}; "
                             "download the video and name the file")  # fmt: skip

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            check(self)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            check(self)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(PlainHandler, SecureHandler, NoRedirect)
    request = urllib.request.Request(source, headers={"User-Agent": "free-video-llm"})
    try:
        response = opener.open(request, timeout=limits.idle)
    except urllib.error.HTTPError as error:
        response = error.fp
    assert isinstance(response, http.client.HTTPResponse)
    return response
