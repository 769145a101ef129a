"""A judge: which model on which OpenAI-compatible server, and how one reply is had of it.

Keys and organisation come from the environment. What is done with replies is `judge.py`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from free_video_llm.errors import ConfigError, MissingExtraError
from free_video_llm.evaluation.answering import Row
from free_video_llm.evaluation.protocol import REPLY_SCHEMA, messages

DEFAULT_URL = "https://api.openai.com/v1"
#: US dollars for a million tokens in and out. OpenAI's price page could not be read; these are what
#: others note of it, looked up on 25 November 2026: burncloud.com and multi-router.ai for the first
#: (a list of 4 March 2024 has the same), losclouds.com (of 5 April 2026) for the second.
PRICES: dict[str, tuple[float, float]] = {
    "gpt-3.5-turbo-0125": (0.5, 1.5),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
}


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A judge and how it is asked.

    Attributes:
        model: its exact name.
        base_url: the server; OPENAI_BASE_URL or OpenAI's own where None.
        seed: goes with temperature 0; asking again after a bad reply adds 1.
        attempts: how often a question is put before its reply counts as failed.
        concurrency: requests under way at once.
        retries: of the SDK, with backoff, on 429, 5xx, timeouts and lost connections.
        timeout_seconds: of one request.
        max_tokens: of a reply.
        reply_format: "text" as the field does it; "json_object" or "json_schema" for servers that
            hold a reply to a form.
        price: US dollars for a million tokens in and out; None where it is not known.
    """

    model: str
    base_url: str | None = None
    seed: int = 0
    attempts: int = 3
    concurrency: int = 8
    retries: int = 5
    timeout_seconds: float = 60.0
    max_tokens: int = 64
    reply_format: str = "text"
    price: tuple[float, float] | None = None

    @staticmethod
    def parse(text: str) -> Judge:
        """From "openai:gpt-3.5-turbo-0125". Raises ConfigError."""
        provider, colon, model = text.partition(":")
        if not colon or provider != "openai" or not model.strip():
            raise ConfigError(
                f"a judge is written openai:MODEL, as in openai:gpt-3.5-turbo-0125, not "
                f"{text[:80]!r} (any OpenAI-compatible server with --base-url)"
            )
        return Judge(model=model.strip(), price=PRICES.get(model.strip()))

    @property
    def url(self) -> str:
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).rstrip("/")

    @property
    def slug(self) -> str:
        """Names its files: the model, and the server where it is another than OpenAI's."""
        server = "" if self.url == DEFAULT_URL else "@" + re.sub(r"^\w+://", "", self.url)
        return re.sub(r"[^A-Za-z0-9._@-]+", "_", self.model + server).strip("._")[:120] or "judge"

    def request(self, row: Row) -> dict[str, Any]:
        """What decides the reply to a row, and is its key."""
        return {
            "url": self.url,
            "model": self.model,
            "messages": messages(row["question"], row["answer"], row["prediction"]),
            "temperature": 0,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "reply_format": self.reply_format,
        }

    def key(self, row: Row) -> str:
        text = json.dumps(self.request(row), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """US dollars, None where the price is not known."""
        if self.price is None:
            return None
        return (tokens_in * self.price[0] + tokens_out * self.price[1]) / 1e6


def with_options(judge: Judge, **options: Any) -> Judge:
    """A judge with the options that are not None."""
    return replace(judge, **{key: value for key, value in options.items() if value is not None})


def check_url(url: str) -> None:
    """Refuse an address that no request can go to, or one that would put a secret into reports.

    Raises:
        ConfigError: it is not http(s)://HOST/…, or has a user, a password or a query.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"--base-url is http:// or https:// and a host, as in http://127.0.0.1:8000/v1, "
            f"not {url[:80]!r}"
        )
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"--base-url is written into the results, so it has no key in it: set OPENAI_API_KEY "
            f"instead (the host is {host})"
        )


def open_client(judge: Judge) -> Any:
    try:
        import openai
    except ImportError:
        raise MissingExtraError(
            "judging needs the openai package: pip install 'free-video-llm[judge]'"
        ) from None
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        if judge.url == DEFAULT_URL:
            raise ConfigError("set OPENAI_API_KEY (and OPENAI_ORG), or name a server by --base-url")
        key = "none"  # a server of one's own wants no key
    return openai.AsyncOpenAI(
        api_key=key,
        organization=os.environ.get("OPENAI_ORG") or None,
        base_url=judge.url,
        timeout=judge.timeout_seconds,
        max_retries=judge.retries,
    )


def _format(judge: Judge) -> dict[str, Any]:
    if judge.reply_format == "json_object":
        return {"response_format": {"type": "json_object", "schema": REPLY_SCHEMA}}
    if judge.reply_format == "json_schema":
        schema = {"name": "verdict", "strict": True, "schema": REPLY_SCHEMA}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {}


async def request_reply(client: Any, judge: Judge, row: Row, attempt: int) -> dict[str, Any]:
    """One reply as it is kept. Raises ConfigError for what no other row would fare better with."""
    import openai

    try:
        # The SDK's timeout starts anew with every piece that arrives; ours is for the whole.
        whole = (judge.timeout_seconds + 10) * (judge.retries + 1)
        completion = await asyncio.wait_for(
            client.chat.completions.create(
                model=judge.model,
                messages=judge.request(row)["messages"],
                temperature=0,
                seed=judge.seed + attempt - 1,
                max_tokens=judge.max_tokens,
                **_format(judge),
            ),
            whole,
        )
    except (
        openai.AuthenticationError,
        openai.PermissionDeniedError,
        openai.NotFoundError,
    ) as error:
        raise ConfigError(f"the judge's server refuses: {reason_of(error)}") from None
    except openai.RateLimitError as error:
        if getattr(error, "code", None) == "insufficient_quota":
            raise ConfigError(f"the judge's server refuses: {reason_of(error)}") from None
        raise
    choices = getattr(completion, "choices", None)
    message = choices[0].message if choices else None
    usage = getattr(completion, "usage", None)
    return {
        "text": str(getattr(message, "content", "") or "")[:4000],
        "model": str(getattr(completion, "model", None) or ""),  # as the server names it, if so
        "system_fingerprint": getattr(completion, "system_fingerprint", None),
        "finish": str(getattr(choices[0], "finish_reason", "")) if choices else "",
        "usage": {
            "in": int(getattr(usage, "prompt_tokens", 0) or 0),
            "out": int(getattr(usage, "completion_tokens", 0) or 0),
        },
        "at": int(time.time()),
    }


def reason_of(error: BaseException) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:300]
