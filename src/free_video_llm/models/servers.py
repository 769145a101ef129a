"""Models behind servers: `openai:NAME` at any address, and local servers by short names.

A server is used only when it is named; `running` asks the usual places on this machine who answers.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from free_video_llm.errors import ConfigError
from free_video_llm.llm.openai_chat import OpenAIChat
from free_video_llm.models.options import LoadOptions
from free_video_llm.openai_client import DEFAULT_URL

_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Server:
    """A kind of server.

    Attributes:
        prefix: before the colon of a model's name.
        url: where it is unless told otherwise.
        title: for people.
        local: whether it runs on this machine.
    """

    prefix: str
    url: str
    title: str
    local: bool = True


SERVERS: tuple[Server, ...] = (
    Server("openai", DEFAULT_URL, "OpenAI, or any compatible server with --base-url", local=False),
    Server("ollama", "http://127.0.0.1:11434/v1", "Ollama"),
    Server("lmstudio", "http://127.0.0.1:1234/v1", "LM Studio"),
    Server("llamacpp", "http://127.0.0.1:8080/v1", "llama.cpp's llama-server"),
    Server("vllm", "http://127.0.0.1:8000/v1", "vLLM"),
    Server("sglang", "http://127.0.0.1:30000/v1", "SGLang"),
)


def server_of(name: object) -> tuple[Server, str] | None:
    """The server and the model of a name such as "ollama:qwen3-vl:8b"; None for any other name.

    Examples:
        >>> server_of("ollama:qwen3-vl:8b")[1], server_of("./llava")
        ('qwen3-vl:8b', None)
    """
    prefix, colon, model = str(name).partition(":")
    found = next((server for server in SERVERS if server.prefix == prefix), None)
    if found is None or not colon:
        return None
    if not model.strip():
        raise ConfigError(f"{name!r} names no model: write {prefix}:MODEL (fvl models lists them)")
    return found, model.strip()


def open_server(server: Server, model: str, options: LoadOptions) -> OpenAIChat:
    """The model behind a server; nothing is sent yet.

    Raises:
        ConfigError: options of a model in process, an address that is none, or no key for OpenAI.
        MissingExtraError: the extra `server` is not installed.
    """
    for name in ("dtype", "device", "device_map", "revision", "conv_mode"):
        if getattr(options, name) is not None:
            raise ConfigError(f"{name} is not for a model behind a server: set it there")
    if options.load_in_8bit or options.load_in_4bit or options.rope_scaling_factor != 1:
        raise ConfigError("bits and RoPE scaling are not for a model behind a server: set it there")
    default = os.environ.get("OPENAI_BASE_URL") if server.prefix == "openai" else None
    return OpenAIChat(model, options.base_url or default or server.url, options.picture_limits())


def running(*, timeout_seconds: float = 0.5) -> dict[str, tuple[str, ...]]:
    """The local servers that answer now, by prefix, each with the models that it has."""
    found = {}
    for server in SERVERS:
        if server.local and (models := _models_at(server.url, timeout_seconds)) is not None:
            found[server.prefix] = tuple(models)
    return found


def _models_at(url: str, timeout_seconds: float) -> Sequence[str] | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/models", timeout=timeout_seconds) as answer:
            data = json.loads(answer.read(_MOST_BYTES))
        return [str(entry["id"]) for entry in data["data"]]
    except (OSError, ValueError, LookupError, TypeError, urllib.error.URLError):
        return None
