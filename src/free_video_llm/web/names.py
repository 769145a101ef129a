"""Under which name the server was called, and whether one of its own pages called it.

Pure functions of a request's headers.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

Headers = Mapping[bytes, bytes]

_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9._-]{0,252})))(:\d{1,5})?")


def host_name(value: bytes) -> str:
    """The name in a Host header, without port and brackets; "" for what no browser would send.

    Examples:
        >>> host_name(b"LocalHost:7860"), host_name(b"[::1]:80"), host_name(b"me@127.0.0.1")
        ('localhost', '::1', '')
    """
    match = _HOST.fullmatch(value.decode("latin-1").lower())
    return (match[1] or match[2]) if match else ""


def is_own(headers: Headers, public: str | None) -> bool:
    """Whether a request comes from a page of this server, or from no page at all.

    Browsers say where a request comes from, and no page can change what they say: by Sec-Fetch-Site
    to addresses that they trust, by Origin to all.

    Args:
        public: the name and port under which a proxy shows the page, if one does.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return True
    try:
        named = urlsplit(origin.decode("latin-1").lower()).netloc
    except ValueError:
        return False
    host = headers.get(b"host", b"").decode("latin-1").lower()
    return bool(named) and named in (host, public)


def without_foreign_names(
    headers: list[tuple[bytes, bytes]], hosts: Collection[str] | None
) -> list[tuple[bytes, bytes]]:
    """Headers without an X-Forwarded-Host that is not among `hosts`: Gradio puts it into the
    page."""
    allowed = hosts or ()
    return [
        (name, value)
        for name, value in headers
        if name != b"x-forwarded-host" or host_name(value) in allowed
    ]


def has_password(headers: Headers, password: str) -> bool:
    """Whether HTTP's basic authentication gives the password, under any user's name."""
    kind, _, sent = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() != b"basic":
        return False
    try:
        given = base64.b64decode(sent.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return False
    return secrets.compare_digest(given, password.encode())
