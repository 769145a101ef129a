"""A picture model behind an OpenAI-compatible server: OpenAI's own, Ollama, LM Studio, vLLM, …

The lowest common denominator that all of them take: JPEGs as data addresses, a text part before
each, the question last, one user's message.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from free_video_llm.errors import ConfigError, ModelServerError, shown
from free_video_llm.llm.chat import ChatRequest, FrameTimes, PictureLimits
from free_video_llm.llm.generate import Decoding, Generation
from free_video_llm.openai_client import (
    check_url,
    count_of,
    hide_secrets,
    open_blocking_client,
    reason_of,
)

#: Questions that are under way at a time.
CONCURRENCY = 4
_RETRIES = 3
_TIMEOUT_SECONDS = 300.0
#: Parameters that hosted reasoning models refuse, each with what is sent in its place.
_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": None, "seed": None, "top_p": None,
            "stream_options": None}  # fmt: skip


class OpenAIChat:
    """One model on one server; see `PictureLLM`.

    Args:
        model: as the server calls it.
        url: the server's address, ending in /v1.
        limits: what is sent at most.
        concurrency: questions under way at a time.
    """

    def __init__(
        self,
        model: str,
        url: str,
        limits: PictureLimits | None = None,
        *,
        concurrency: int = CONCURRENCY,
    ) -> None:
        check_url(url)
        self.model, self.url = model, url.rstrip("/")
        self.limits = limits or PictureLimits()
        self._concurrency = concurrency
        self._refused: set[str] = set()
        self._client = open_blocking_client(
            self.url,
            timeout_seconds=_TIMEOUT_SECONDS,
            retries=_RETRIES,
            what="a model behind a server",
            extra="server",
        )

    @property
    def identity(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.url}"

    def reply(self, requests: Sequence[ChatRequest], decoding: Decoding) -> list[Generation]:
        """Answers in the order of the requests; the first failure ends all.

        Raises:
            ModelServerError: the server cannot be reached, fails, or sends no chat completion.
            ConfigError: it refuses the request, or decoding that servers do not do.
        """
        _check(decoding)
        with ThreadPoolExecutor(max(1, min(self._concurrency, len(requests)))) as pool:
            try:
                return list(pool.map(lambda request: self._ask(request, decoding), requests))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def tell(
        self, request: ChatRequest, decoding: Decoding, on_text: Callable[[str], bool]
    ) -> Generation:
        """One answer, given out as the server makes it; `on_text` says True where no more of it is
        wanted. A model's reasoning is kept back. Raises as `reply` does."""
        _check(decoding)
        begun = time.perf_counter()
        usage, whole, told = None, "", 0
        with self._sent(request, decoding) as pieces:
            for piece in pieces:
                usage = getattr(piece, "usage", None) or usage
                whole += _piece_of(piece)
                clear = _without_thoughts(whole).lstrip()
                if len(clear) > told and not _thinks(clear):
                    new, told = clear[told:], len(clear)
                    if on_text(new):
                        break
        return Generation(
            text=_without_thoughts(whole).strip(),
            token_ids=(),
            prompt_tokens=count_of(getattr(usage, "prompt_tokens", 0)),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - begun,
            new_tokens=count_of(getattr(usage, "completion_tokens", 0)),
            cost=_money(getattr(usage, "cost", None)),
        )

    @contextlib.contextmanager
    def _sent(self, request: ChatRequest, decoding: Decoding) -> Iterator[Iterable[Any]]:
        """The pieces of a streamed completion; what goes wrong within is told as by `_send`."""
        import openai

        stream = self._send(request, decoding, stream=True)
        try:
            yield stream
        except openai.OpenAIError as error:
            raise ModelServerError(f"{self._name()}: {reason_of(error)}") from None
        except ValueError as error:
            raise ModelServerError(
                f"{self._name()} sent what cannot be read: {reason_of(error)}"
            ) from None
        except Exception as error:  # of the library that reads the reply
            if "httpx" not in type(error).__module__:
                raise
            raise ModelServerError(f"{self._name()} broke off: {reason_of(error)}") from None
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()

    def _ask(self, request: ChatRequest, decoding: Decoding) -> Generation:
        begun = time.perf_counter()
        completion = self._send(request, decoding)
        return _read(completion, time.perf_counter() - begun)

    def _send(self, request: ChatRequest, decoding: Decoding, *, stream: bool = False) -> Any:
        """One completion; a parameter that the server refuses by name is left out from then on."""
        import openai

        messages: list[dict[str, Any]] = [{"role": "user", "content": parts_of(request)}]
        extra = None if request.times is None else {"media_io_kwargs": _video_of(request.times)}
        while True:
            parameters = self._parameters(decoding)
            if stream:
                parameters["stream"] = True
                if "stream_options" not in self._refused:
                    parameters["stream_options"] = {"include_usage": True}
            try:
                return self._client.chat.completions.create(
                    model=self.model, messages=messages, extra_body=extra, **parameters
                )
            except openai.BadRequestError as error:
                refused = self._refused_by(error, parameters)
                if refused is None:
                    raise ConfigError(f"{self._name()} refuses: {reason_of(error)}") from None
                self._refused.add(refused)
            except openai.APIStatusError as error:
                raise ModelServerError(self._said(error)) from None
            except openai.APIConnectionError as error:
                raise ModelServerError(
                    f"{self._name()} cannot be reached ({reason_of(error.__cause__ or error)}): "
                    "start the server, or name it by --base-url"
                ) from None
            except openai.OpenAIError as error:
                raise ModelServerError(f"{self._name()}: {reason_of(error)}") from None
            except ValueError as error:  # a body that is no JSON
                raise ModelServerError(
                    f"{self._name()} sent what cannot be read: {reason_of(error)}"
                ) from None

    def _parameters(self, decoding: Decoding) -> dict[str, Any]:
        usual: dict[str, Any] = {
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
        }
        sent = {}
        for name, value in usual.items():
            called = _INSTEAD[name] if name in self._refused else name
            if value is not None and called is not None:
                sent[called] = value
        return sent

    @staticmethod
    def _refused_by(error: Any, sent: dict[str, Any]) -> str | None:
        """The parameter that an error says is not taken, if it is one that can be left out."""
        said = str(getattr(error, "message", error))
        if not re.search(
            r"unsupported|not support|unrecognized|unknown|invalid|unexpected", said, re.I
        ):
            return None
        return next((n for n in _INSTEAD if n in sent and re.search(rf"\b{n}\b", said)), None)

    def _said(self, error: Any) -> str:
        """What a server's status means, in one line."""
        code, reason = error.status_code, reason_of(error)
        if code in (401, 403):
            return f"{self._name()} refuses the key ({code}): set OPENAI_API_KEY; {reason}"
        if code == 404:
            return f"{self._name()} is not there: check the model's name (fvl models); {reason}"
        if 300 <= code < 400:
            target = hide_secrets(error.response.headers.get("location", "another address"))
            return f"{self._name()} sends requests on to {shown(target, 120)}: name that address"
        if code == 413:
            return (
                f"{self._name()} takes less at once: lower --max-images or --max-pixels; {reason}"
            )
        return f"{self._name()} failed: {reason}"

    def _name(self) -> str:
        return f"the model {shown(self.model)} at {self.url}"


def _piece_of(chunk: Any) -> str:
    """The text of one piece of a stream."""
    choices = getattr(chunk, "choices", None)
    delta = getattr(choices[0], "delta", None) if isinstance(choices, list) and choices else None
    content = getattr(delta, "content", None)
    return content if isinstance(content, str) else ""


def _check(decoding: Decoding) -> None:
    """Raise ConfigError for decoding that servers do not do."""
    for name in ("top_k", "repetition_penalty"):
        if getattr(decoding, name) is not None:
            raise ConfigError(f"{name} is not what OpenAI-compatible servers take: leave it out")
    if decoding.num_beams != 1:
        raise ConfigError("num_beams is not what OpenAI-compatible servers take: leave it out")


def _thinks(text: str) -> bool:
    """Whether a text may be the beginning of a model's reasoning."""
    return text.startswith("<think>") or "<think>".startswith(text)


def parts_of(request: ChatRequest) -> list[dict[str, Any]]:
    """A request as the parts of a user's message: before each picture its words, or all as one
    video; the question last."""
    parts: list[dict[str, Any]] = []
    pictures = [base64.b64encode(picture.jpeg()).decode() for picture in request.pictures]
    if request.times is not None:
        address = "data:video/jpeg;base64," + ",".join(pictures)
        parts.append({"type": "video_url", "video_url": {"url": address}})
    else:
        for picture, data in zip(request.pictures, pictures, strict=True):
            parts.append({"type": "text", "text": picture.words})
            address = f"data:image/jpeg;base64,{data}"
            parts.append({"type": "image_url", "image_url": {"url": address}})
    parts.append({"type": "text", "text": request.text})
    return parts


def _video_of(times: FrameTimes) -> dict[str, Any]:
    """How vLLM is to read pictures that are frames of a video (its PRs 37301 and 40133)."""
    return {
        "video": {
            "num_frames": -1,  # else it takes the first 32
            "fps": times.fps,
            "frames_indices": list(times.indices),
            "total_num_frames": times.total,
        }
    }


def _read(completion: Any, seconds: float) -> Generation:
    """What a chat completion says. Raises ModelServerError for anything else."""
    choices = getattr(completion, "choices", None)
    message = (
        getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    )
    content = getattr(message, "content", None)
    if message is None or not isinstance(content, str | None):
        begun = shown(hide_secrets(completion if isinstance(completion, str) else repr(completion)))
        raise ModelServerError(f"the server sent no chat completion: {begun}")
    usage = getattr(completion, "usage", None)
    return Generation(
        text=_without_thoughts(content or "").strip(),
        token_ids=(),
        prompt_tokens=count_of(getattr(usage, "prompt_tokens", 0)),
        prefill_seconds=0.0,
        decode_seconds=seconds,
        new_tokens=count_of(getattr(usage, "completion_tokens", 0)),
        cost=_money(getattr(usage, "cost", None)),
    )


def _money(value: Any) -> float | None:
    """What a server (OpenRouter, say) calls the cost; None for what is no amount."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e6 else None


def _without_thoughts(text: str) -> str:
    """An answer without the reasoning that some models write before it."""
    return re.sub(r"\A\s*<think>.*?</think>", "", text, count=1, flags=re.DOTALL)
