"""A session's results as files to download: made when asked for, kept nowhere.

Their names cannot be guessed, and end with the session.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool

from free_video_llm.answer import Answer
from free_video_llm.picture import save_comparison, save_picture
from free_video_llm.web.sessions import Sessions

#: Downloads that may be under way, one of them being drawn and the others waiting outside the
#: threads that serve pages.
MOST_WAITING = 8
_TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "json": "application/json",
}


def add_downloads(app: FastAPI, sessions: Sessions, folder: Path) -> None:
    """Serve /answers/NAME/why.png and its like: an answer as "why", a comparison as "plans"."""
    drawing = asyncio.Lock()
    waiting = 0

    async def fetch(name: str, file: str) -> Response:
        nonlocal waiting
        answers = sessions.find_result(name)
        stem, _, kind = file.partition(".")
        if answers is None or stem not in ("why", "plans") or kind not in _TYPES:
            raise HTTPException(404, "This answer is no longer kept: ask again.")
        if waiting >= MOST_WAITING:
            raise HTTPException(
                503, "Many pictures are being drawn: try again in a moment.", {"retry-after": "5"}
            )
        waiting += 1
        try:
            async with drawing:  # pictures take a core for a second: one at a time
                content = await run_in_threadpool(render, answers, stem, kind, folder)
        finally:
            waiting -= 1
        shown = "inline" if kind == "png" else "attachment"
        headers = {
            "content-disposition": f'{shown}; filename="{stem}.{kind}"',
            "cache-control": "private, no-store",
        }
        return Response(content, media_type=_TYPES[kind], headers=headers)

    app.add_api_route("/answers/{name}/{file}", fetch)


def render(answers: tuple[Answer, ...], stem: str, kind: str, folder: Path) -> bytes:
    """A result as a file's content; what has to be a file on the way is one in `folder`."""
    if kind == "json":
        documents = [answer.to_dict() for answer in answers]
        for document in documents:  # where the server kept the clip is its own affair
            document["evidence"]["source"] = Path(document["evidence"]["source"]).name
        whole = documents[0] if stem == "why" else {"schema": 1, "answers": documents}
        return json.dumps(whole, ensure_ascii=False, indent=1).encode()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / f"{stem}.{kind}"
        if stem == "why":
            save_picture(answers[0], path)
        else:
            save_comparison(answers, path)
        return path.read_bytes()
