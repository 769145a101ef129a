"""A judge: which model on which OpenAI-compatible server, with which parameters; asking it once.

The client is `openai_client.py`'s, what is done with replies `judge.py`'s.
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

from free_video_llm.errors import ConfigError, one_of, shown
from free_video_llm.evaluation.protocol import REPLY_SCHEMA, messages
from free_video_llm.evaluation.row import Row
from free_video_llm.openai_client import DEFAULT_URL, count_of, hide_secrets, reason_of, text_of

#: US dollars for a million tokens in and out. OpenAI's price page could not be read; these are what
#: others note of it, looked up on 25 November 2026: burncloud.com and multi-router.ai for the first
#: (a list of 4 March 2024 has the same), losclouds.com (of 5 April 2026) for the second.
PRICES: dict[str, tuple[float, float]] = {
    "gpt-3.5-turbo-0125": (0.5, 1.5),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
}


#: What is sent of itself, and can be left out for servers that refuse it.
_PARAMETERS = ("temperature", "seed", "max_tokens")


class NoCompletionError(Exception):
    """What a server sent is no chat completion: the server's failure, not the model's reply."""


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
        without: of "temperature", "seed" and "max_tokens", those that the server does not take.
        extra: parameters beside them, such as ("max_completion_tokens", 64).
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
    without: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name in self.without:
            one_of("parameter", name, _PARAMETERS, ConfigError)

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
        """What decides the reply to an answered row, and is its key."""
        said = row.answer.prediction if row.answer is not None else ""
        return {
            "url": self.url,
            "model": self.model,
            "messages": messages(row.question.question, row.question.answer, said),
            **self.parameters(),
            "reply_format": self.reply_format,
        }

    def parameters(self, attempt: int = 1) -> dict[str, Any]:
        """What is sent beside the messages; of a later attempt with another seed."""
        usual = {
            "temperature": 0,
            "seed": self.seed + attempt - 1,
            "max_tokens": self.max_tokens,
        }
        kept = {name: value for name, value in usual.items() if name not in self.without}
        return kept | dict(self.extra)

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
                extra_body=judge.parameters(attempt),
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
    except openai.BadRequestError as error:
        _explain_parameter(error)
        raise
    except openai.APIStatusError as error:
        if 300 <= error.status_code < 400:
            target = hide_secrets(error.response.headers.get("location", "another address"))
            raise ConfigError(
                f"the judge's server sends requests on to {shown(target, 120)}, which is not "
                "followed: name that address by --base-url if it is the right one"
            ) from None
        raise
    return _read_completion(completion)


def _explain_parameter(error: Any) -> None:
    """Raise ConfigError, with the way out, where the server does not take a parameter."""
    said = str(getattr(error, "message", error))
    refused = [name for name in _PARAMETERS if re.search(rf"\b{name}\b", said)]
    unsupported = re.search(r"unsupported|not support|unrecognized|unknown|invalid", said, re.I)
    if not refused or not unsupported:
        return
    way = f"--without {refused[0]}"
    if "max_completion_tokens" in said:
        way += " --param max_completion_tokens=1000"
    raise ConfigError(f"the judge's server refuses {refused[0]}: {reason_of(error)}; try {way}")


def _read_completion(completion: Any) -> dict[str, Any]:
    """What is kept of a chat completion. Raises NoCompletionError for anything else."""
    choices = getattr(completion, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(first, "message", None)
    content = getattr(message, "content", "")
    if message is None or not isinstance(content, str | None):
        begun = shown(hide_secrets(completion if isinstance(completion, str) else repr(completion)))
        raise NoCompletionError(f"the server sent no chat completion: {begun}")
    usage = getattr(completion, "usage", None)
    fingerprint = getattr(completion, "system_fingerprint", None)
    return {
        "text": hide_secrets(content or "")[:4000],
        "model": text_of(getattr(completion, "model", None)),  # as the server names it, if so
        "system_fingerprint": text_of(fingerprint) if fingerprint is not None else None,
        "finish": text_of(getattr(first, "finish_reason", "")),
        "usage": {
            "in": count_of(getattr(usage, "prompt_tokens", 0)),
            "out": count_of(getattr(usage, "completion_tokens", 0)),
        },
        "at": int(time.time()),
    }
