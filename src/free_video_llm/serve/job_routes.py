"""The routes of jobs and their files, as OpenAI's clients call them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse

from free_video_llm.serve.app import named, read_json, refused
from free_video_llm.serve.jobs import Jobs
from free_video_llm.serve.refusals import Refusal

Handler = Callable[..., Awaitable[Any]]


def add_jobs(app: FastAPI, jobs: Jobs) -> None:
    """Add them to a server's routes."""

    def route(method: str, path: str, called: str) -> Callable[[Handler], Handler]:
        """A route whose refusals are told in OpenAI's form."""

        def decorate(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def handle(request: Request, **given: Any) -> Any:
                named(request, called)
                try:
                    return await handler(request, **given)
                except Exception as error:
                    return refused(request, error)

            app.api_route(path, methods=[method], response_model=None)(handle)
            return handle

        return decorate

    @route("POST", "/v1/files", "/v1/files")
    async def add_file(request: Request) -> Any:
        async with request.form(max_files=1, max_fields=8) as form:
            file, purpose = form.get("file"), form.get("purpose")
            if file is None or isinstance(file, str):
                raise Refusal(400, "a form with a file is needed", param="file")
            content, name = await file.read(), file.filename or "rows.jsonl"
            return await _apart(lambda: jobs.add_file(content, name=name, purpose=str(purpose)))

    @route("GET", "/v1/files", "/v1/files")
    async def files(request: Request) -> Any:
        return {"object": "list", "data": await _apart(jobs.files), "has_more": False}

    @route("GET", "/v1/files/{name}", "/v1/files/…")
    async def file(request: Request, name: str) -> Any:
        return await _apart(lambda: jobs.file(name))

    @route("DELETE", "/v1/files/{name}", "/v1/files/…")
    async def delete(request: Request, name: str) -> Any:
        await _apart(lambda: jobs.delete(name))
        return {"id": name, "object": "file", "deleted": True}

    @route("GET", "/v1/files/{name}/content", "/v1/files/…/content")
    async def content(request: Request, name: str) -> Any:
        path = await _apart(lambda: jobs.content(name))
        return FileResponse(path, media_type="application/jsonl")

    @route("POST", "/v1/batches", "/v1/batches")
    async def add(request: Request) -> Any:
        body = await read_json(request)
        return await _apart(lambda: jobs.add(body))

    @route("GET", "/v1/batches", "/v1/batches")
    async def batches(request: Request) -> Any:
        return {"object": "list", "data": await _apart(jobs.batches), "has_more": False}

    @route("GET", "/v1/batches/{name}", "/v1/batches/…")
    async def batch(request: Request, name: str) -> Any:
        return await _apart(lambda: jobs.batch(name))

    @route("POST", "/v1/batches/{name}/cancel", "/v1/batches/…/cancel")
    async def cancel(request: Request, name: str) -> Any:
        return JSONResponse(await _apart(lambda: jobs.cancel(name)))


async def _apart(work: Callable[[], Any]) -> Any:
    """In a thread of its own: it reads and writes files."""
    return await anyio.to_thread.run_sync(work)
