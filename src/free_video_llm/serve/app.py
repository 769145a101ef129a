"""The server's routes: models, chat completions, jobs, and whether it is well."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

from free_video_llm.serve.calls import Call, read_call
from free_video_llm.serve.engine import Answered, Engine, Job
from free_video_llm.serve.metrics import Metrics
from free_video_llm.serve.refusals import Refusal, refusal_of
from free_video_llm.serve.replies import chunk, completion, event, last_chunk, usage_of
from free_video_llm.serve.settings import Settings
from free_video_llm.serve.sources import Sources

log = logging.getLogger(__name__)

#: Videos that are fetched at a time.
_FETCHING = 8
#: Seconds between two looks at whether whoever asked is still there.
_LOOK_EVERY = 1.0


class Desk:
    """Takes questions in, and waits for their answers.

    Args:
        settings: what is allowed.
        engine: answers.
    """

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self.settings, self.engine, self.metrics = settings, engine, metrics
        self.sources = Sources(settings.reach, settings.bounds)
        self.under_way = 0
        self._counting = threading.Lock()
        self._fetching = CapacityLimiter(_FETCHING)

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self.under_way >= self.settings.bounds.queue

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, for as long as a request is under way. Raises Refusal."""
        with self._counting:
            if self.full:
                raise Refusal(
                    429, f"{self.under_way} requests are under way: ask again in a moment",
                    code="queue_full",
                )  # fmt: skip
            self.under_way += 1
        try:
            yield
        finally:
            with self._counting:
                self.under_way -= 1

    async def submit(self, call: Call, on_text: Any = None) -> Job:
        """Find the video and put the call into the queue. Raises Refusal."""
        source = await anyio.to_thread.run_sync(
            lambda: self.sources.locate(call.addresses, pictures=call.pictures),
            limiter=self._fetching,
        )
        job = Job(call, source, **({"on_text": on_text} if on_text else {}))
        self.engine.submit(job)
        return job

    async def result(self, job: Job, request: Request) -> Answered:
        """The answer, unless whoever asked goes away or it takes too long. Raises Refusal."""
        waiting = asyncio.wrap_future(job.future)
        until = time.monotonic() + self.settings.bounds.answer_seconds
        try:
            while True:
                done, _ = await asyncio.wait([waiting], timeout=_LOOK_EVERY)
                if done:
                    break
                if await request.is_disconnected():
                    raise Refusal(499, "whoever asked went away")
                if time.monotonic() > until:
                    seconds = self.settings.bounds.answer_seconds
                    raise Refusal(504, f"there was no answer after {seconds:g} s", code="timeout")
        finally:
            job.cancelled.set()  # of one that is done, this says nothing
        answered = waiting.result()
        self.metrics.answer(answered, time.monotonic() - job.begun)
        return answered


def build_app(desk: Desk) -> FastAPI:
    """The routes, without the gate before them."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return refused(request, error)

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> JSONResponse:
        text = {404: "there is nothing here", 405: "it is not called in this way"}
        refusal = Refusal(error.status_code, text.get(error.status_code, str(error.detail)))
        return JSONResponse(refusal.to_dict(), error.status_code)

    @app.get("/health")
    async def health(request: Request) -> dict[str, str]:
        named(request, "/health")
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        named(request, "/ready")
        loaded = desk.engine.models.loaded(desk.engine.models.first) is not None
        good = loaded and not desk.full
        return JSONResponse({"ready": good, "under_way": desk.under_way}, 200 if good else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> PlainTextResponse:
        named(request, "/metrics")
        text = desk.metrics.text().decode()
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        named(request, "/v1/models")
        return {"object": "list", "data": [_model(name) for name in desk.settings.models]}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> JSONResponse:
        named(request, "/v1/models/…")
        if name not in desk.settings.models:
            return refused(request, Refusal(404, "that model is not on offer", param="model"))
        return JSONResponse(_model(name))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        named(request, "/v1/chat/completions")
        try:
            with contextlib.ExitStack() as held:
                call = read_call(await read_json(request), desk.settings)
                request.scope["state"]["about"] |= {"model": call.model, "stream": call.stream}
                held.enter_context(desk.place())
                if call.stream:
                    first, rest = await _begin(desk, request, call)
                    return streamed(first, rest, held.pop_all())
                job = await desk.submit(call)
                answered = await desk.result(job, request)
                _note(request, answered)
                name = request.scope["state"]["name"]
                return JSONResponse(completion(call, answered, name=name))
        except Exception as error:
            return refused(request, error)

    return app


def refused(request: Request, error: Exception) -> JSONResponse:
    refusal = refusal_of(error)
    if refusal.status == 500:
        log.error("a request failed", exc_info=error)
    request.scope["state"]["about"]["refused"] = refusal.text[:200]
    headers = {"retry-after": "1"} if refusal.status in (429, 503) else None
    return JSONResponse(refusal.to_dict(), refusal.status, headers=headers)


def named(request: Request, path: str) -> None:
    """Say which of the server's paths was called, for logs and metrics."""
    request.scope["state"]["path"] = path


def _note(request: Request, answered: Answered) -> None:
    """What the log says of an answer: numbers, and nothing that was asked or said."""
    request.scope["state"]["about"] |= {
        **usage_of(answered.answer),
        "answered_together": answered.together,
        "watched_before": answered.known,
        "waited": round(answered.waited, 4),
    }


async def read_json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # what a page elsewhere cannot send without being asked first
        raise Refusal(415, "a request is JSON: send Content-Type: application/json")
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "free-video-llm"}


# --- streams -----------------------------------------------------------------------------------


async def _begin(desk: Desk, request: Request, call: Call) -> tuple[list[str], AsyncIterator[str]]:
    """The first events of a stream, which are there once nothing can be refused any more, and the
    rest. Raises Refusal."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    name = request.scope["state"]["name"]

    def heard(text: str) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, text)

    job = await desk.submit(call, heard)
    job.future.add_done_callback(lambda _: loop.call_soon_threadsafe(pieces.put_nowait, None))
    result = asyncio.ensure_future(desk.result(job, request))
    piece = await pieces.get()
    if piece is None:
        await result  # raises where it failed
    begin = [chunk(call, name=name, delta={"role": "assistant", "content": piece or ""})]

    async def rest() -> AsyncIterator[str]:
        nonlocal piece
        try:
            while piece is not None:
                piece = await pieces.get()
                if piece:
                    yield chunk(call, name=name, delta={"content": piece})
            try:
                answered = await result
            except Exception as error:
                yield event(refusal_of(error).to_dict())
                return
            _note(request, answered)
            whole = completion(call, answered, name=name)
            finish = whole["choices"][0]["finish_reason"]
            yield chunk(call, name=name, delta={}, finish=finish, fvl=whole["fvl"])
            if call.with_usage:
                yield last_chunk(call, answered, name=name)
            yield "data: [DONE]\n\n"
        finally:
            job.cancelled.set()
            result.cancel()

    return begin, rest()


def streamed(
    first: list[str], rest: AsyncIterator[str], held: contextlib.ExitStack
) -> StreamingResponse:
    """A stream's response; `held` is let go when it ends, and where it never begins, since whoever
    asked went away before."""
    response = StreamingResponse(
        _stream(first, rest, held),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )
    weakref.finalize(response, held.close)
    return response


async def _stream(
    first: list[str], rest: AsyncIterator[str], held: contextlib.ExitStack
) -> AsyncIterator[str]:
    with held:
        for text in first:
            yield text
        async for text in rest:
            yield text
