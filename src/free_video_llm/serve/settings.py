"""How a server is started, and what it allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: Names of this machine for itself.
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one request may be, and all together.

    Attributes:
        body_bytes: of a request, videos in it included.
        video_bytes: of a video that is fetched.
        fetch_seconds: that fetching one may take.
        stall_seconds: longest time in which nothing of a request arrives.
        answer_seconds: longest time from a request to its answer; beyond, 504.
        queue: requests that are under way or wait; more are refused with 429.
        batch: questions that are answered together at most.
        connections: open at a time; more are refused with 503.
        memory_bytes: watched videos that are kept; beyond, the longest unused go.
        candidates: frames of a video that may be looked at.
        answer_tokens: of an answer.
        pictures: of a request that sends pictures.
        letters: of all texts of a request.
    """

    body_bytes: int = 100_000_000
    video_bytes: int = 1_000_000_000
    fetch_seconds: float = 120.0
    stall_seconds: float = 30.0
    answer_seconds: float = 600.0
    queue: int = 64
    batch: int = 8
    connections: int = 512
    memory_bytes: int = 2_000_000_000
    candidates: int = 3600
    answer_tokens: int = 2048
    pictures: int = 256
    letters: int = 100_000


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Where videos may come from, besides the request itself and the bundled samples.

    Attributes:
        hosts: of web addresses, as in "example.org" or "example.org:8080"; "*" is any.
        private: whether an address may be one of a private network.
        folders: below which files may be named.
    """

    hosts: frozenset[str] = frozenset()
    private: bool = False
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server is started.

    Attributes:
        host, port: where it listens; port 0 takes any free one.
        models: names on offer; the first is loaded at once, and answers where none is named.
        plan, frames: where a request names none.
        keys: of which a request gives one; none where everybody may ask.
        allowed_hosts: further names under which the server may be called.
        jobs: the folder of jobs and their files; None for no jobs.
        grace_seconds: that running requests have to end when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ("tiny",)
    plan: str = "paper"
    frames: int = 50
    keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    reach: Reach = Reach()
    bounds: Bounds = Bounds()
    jobs: Path | None = None
    grace_seconds: int = 30
