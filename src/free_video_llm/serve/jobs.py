"""Jobs of many questions: a file of requests in, a file of replies out, which grows row by row and
goes on where it was, however the server ended.

On disk, below one folder: `files/ID.jsonl` with what was sent and what came out, `files/ID.json`
about each, `batches/ID.json` about each job. A row is done once its line is whole in one of the two
files that a job writes, replies and failures; nothing else says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.jsonl import LineWriter, lock, read_lines, write_whole
from free_video_llm.serve.calls import read_call
from free_video_llm.serve.engine import Job
from free_video_llm.serve.refusals import Refusal, refusal_of
from free_video_llm.serve.replies import completion
from free_video_llm.serve.settings import Settings
from free_video_llm.serve.sources import Sources

log = logging.getLogger(__name__)

ENDPOINT = "/v1/chat/completions"
#: Rows of a job at most.
MOST_ROWS = 50_000
_NAME = re.compile(r"(?:file|batch)-[0-9a-f]{32}")
_ENDED = ("completed", "failed", "cancelled")


class Jobs:
    """The jobs of a server, worked on one after the other; a context manager.

    Args:
        folder: where they are kept; one server at a time uses it.
        desk: whose engine and sources answer.

    Raises:
        ConfigError: the folder cannot be used, or another server does.
    """

    def __init__(self, folder: Path, desk: Any) -> None:
        self._desk = desk
        self._settings: Settings = desk.settings
        self._sources: Sources = desk.sources
        self._files, self._batches = folder / "files", folder / "batches"
        try:
            self._files.mkdir(parents=True, exist_ok=True)
            self._batches.mkdir(exist_ok=True)
            self._held = (folder / ".lock").open("w")
        except OSError as error:
            raise ConfigError(f"cannot use {folder} for jobs: {error.strerror}") from None
        try:
            lock(self._held.fileno(), folder)
        except ConfigError:
            self._held.close()
            raise
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="fvl-jobs", daemon=True)

    def __enter__(self) -> Jobs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        self._held.close()

    # --- files -----------------------------------------------------------------------------------

    def add_file(self, content: bytes, *, name: str, purpose: str) -> dict[str, Any]:
        """Keep what was sent; about it. Raises Refusal."""
        if purpose != "batch":
            raise Refusal(400, "a file is for a job: purpose='batch'", param="purpose")
        about = self._about_file(name=name[:200], purpose=purpose, size=len(content))
        self._content(about["id"]).write_bytes(content)
        self._write(self._files, about)
        return about

    def file(self, name: str) -> dict[str, Any]:
        """About a file. Raises Refusal."""
        about = self._read(self._files, name)
        if self._content(name).exists():
            about["bytes"] = self._content(name).stat().st_size
        return about

    def content(self, name: str) -> Path:
        """Where a file's content is. Raises Refusal."""
        self._read(self._files, name)
        return self._content(name)

    def files(self) -> list[dict[str, Any]]:
        """About all of them, the newest first."""
        return self._all(self._files)

    def delete(self, name: str) -> None:
        """Forget a file. Raises Refusal where a job still needs it."""
        self._read(self._files, name)
        if any(
            name in (b["input_file_id"], b["output_file_id"], b["error_file_id"])
            for b in self._all(self._batches)
            if b["status"] not in _ENDED
        ):
            raise Refusal(409, "a job that is not at its end needs this file: cancel it first")
        for path in (self._content(name), self._files / f"{name}.json"):
            path.unlink(missing_ok=True)

    # --- jobs ------------------------------------------------------------------------------------

    def add(self, body: Any) -> dict[str, Any]:
        """Begin a job. Raises Refusal."""
        asked = body if isinstance(body, dict) else {}
        if asked.get("endpoint") != ENDPOINT:
            raise Refusal(400, f"a job's endpoint is {ENDPOINT}", param="endpoint")
        given = self.file(str(asked.get("input_file_id")))
        rows = _checked_rows(self._content(given["id"]))
        out = self._about_file(name=f"replies of {given['filename']}", purpose="batch_output")
        failed = self._about_file(name=f"failures of {given['filename']}", purpose="batch_output")
        for about in (out, failed):
            self._content(about["id"]).touch()
            self._write(self._files, about)
        batch = {
            "id": f"batch-{uuid.uuid4().hex}",
            "object": "batch",
            "endpoint": ENDPOINT,
            "input_file_id": given["id"],
            "output_file_id": out["id"],
            "error_file_id": failed["id"],
            "completion_window": str(asked.get("completion_window") or "24h"),
            "status": "in_progress",
            "created_at": int(time.time()),
            "completed_at": None,
            "cancelled_at": None,
            "metadata": asked.get("metadata") if isinstance(asked.get("metadata"), dict) else None,
            "request_counts": {"total": rows, "completed": 0, "failed": 0},
        }
        self._write(self._batches, batch)
        with self._change:
            self._change.notify_all()
        return batch

    def batch(self, name: str) -> dict[str, Any]:
        """About a job, with how far it is. Raises Refusal."""
        about = self._read(self._batches, name)
        if about["status"] not in _ENDED:
            about["request_counts"] |= self._counts(about)
        return about

    def batches(self) -> list[dict[str, Any]]:
        """About all of them, the newest first."""
        return self._all(self._batches)

    def cancel(self, name: str) -> dict[str, Any]:
        """End a job after the rows that are being answered; they are kept. Raises Refusal."""
        with self._change:
            about = self.batch(name)
            if about["status"] not in _ENDED:
                about |= {"status": "cancelled", "cancelled_at": int(time.time())}
                self._write(self._batches, about)
            return about

    # --- work ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._change:
                batch = self._next()
                if batch is None and not self._closing:
                    self._change.wait()
                    continue
                if self._closing:
                    return
            assert batch is not None
            try:
                self._run(batch)
            except Exception as error:
                log.exception("the job %s failed", batch["id"])
                self._end(batch["id"], "failed", {"errors": refusal_of(error).to_dict()})

    def _next(self) -> dict[str, Any] | None:
        """The oldest job that is not at its end."""
        waiting = [b for b in self._all(self._batches) if b["status"] not in _ENDED]
        return waiting[-1] if waiting else None

    def _run(self, batch: dict[str, Any]) -> None:
        """Answer the rows that are not answered, in their order, as many at a time as the engine
        answers together; until all are, the job is cancelled, or the server stops."""
        replies, failures = (
            self._content(batch["output_file_id"]),
            self._content(batch["error_file_id"]),
        )
        with LineWriter(replies) as good, LineWriter(failures) as bad:
            done = {row["custom_id"] for path in (replies, failures) for row in read_lines(path)}
            left = (
                row
                for row in read_lines(self._content(batch["input_file_id"]))
                if row["custom_id"] not in done
            )
            for some in _in_groups(left, self._settings.bounds.batch):
                if self._closing or self._read(self._batches, batch["id"])["status"] in _ENDED:
                    return
                for row, job in [(row, self._submit(row)) for row in some]:
                    line = _line(row, job)
                    if line is None:  # the server stops: the row is answered when it runs again
                        return
                    (bad if line["response"]["status_code"] != 200 else good).append([line])
        self._end(batch["id"], "completed", {"completed_at": int(time.time())})

    def _submit(self, row: dict[str, Any]) -> Job | Refusal:
        try:
            body = {**row["body"], "stream": False} if isinstance(row.get("body"), dict) else None
            call = read_call(body, self._settings)
            job = Job(call, self._sources.locate(call.addresses, pictures=call.pictures))
            self._desk.engine.submit(job, later=True)
            return job
        except Exception as error:
            return refusal_of(error)

    def _end(self, name: str, status: str, more: dict[str, Any]) -> None:
        with self._change:
            about = self.batch(name)
            if about["status"] not in _ENDED:
                self._write(self._batches, {**about, "status": status, **more})

    def _counts(self, batch: dict[str, Any]) -> dict[str, int]:
        return {
            "completed": _lines_of(self._content(batch["output_file_id"])),
            "failed": _lines_of(self._content(batch["error_file_id"])),
        }

    # --- the folder ------------------------------------------------------------------------------

    def _about_file(self, *, name: str, purpose: str, size: int = 0) -> dict[str, Any]:
        return {
            "id": f"file-{uuid.uuid4().hex}",
            "object": "file",
            "bytes": size,
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }

    def _content(self, name: str) -> Path:
        return self._files / f"{name}.jsonl"

    def _read(self, folder: Path, name: str) -> dict[str, Any]:
        if _NAME.fullmatch(name):
            with contextlib.suppress(OSError, ValueError):
                about: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
                return about
        raise Refusal(404, "there is none of that id")

    def _write(self, folder: Path, about: dict[str, Any]) -> None:
        write_whole(folder / f"{about['id']}.json", json.dumps(about))

    def _all(self, folder: Path) -> list[dict[str, Any]]:
        found = [self._read(folder, p.stem) for p in folder.glob("*.json") if _NAME.match(p.stem)]
        return sorted(found, key=lambda about: (about["created_at"], about["id"]), reverse=True)


def _checked_rows(path: Path) -> int:
    """How many rows a job has. Raises Refusal where one is not as it should be."""
    seen: set[str] = set()
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            name = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(name, str) or not name or not isinstance(row.get("body"), dict):
                raise Refusal(
                    400, f"line {number} is no request: an object with custom_id and body"
                )
            if row.get("url", ENDPOINT) != ENDPOINT or row.get("method", "POST") != "POST":
                raise Refusal(400, f"line {number}: a row is POST {ENDPOINT}")
            if name in seen:
                raise Refusal(400, f"line {number}: the custom_id {name[:60]!r} was there before")
            seen.add(name)
            if number > MOST_ROWS:
                raise Refusal(413, f"a job has at most {MOST_ROWS:,} rows: send it in parts")
            last = line
    if not number:
        raise Refusal(400, "the file has no rows")
    if not last.endswith(b"\n"):
        with path.open("ab") as file:  # a last line without its end would not be read as one
            file.write(b"\n")
    return number


def _in_groups(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _line(row: dict[str, Any], job: Job | Refusal) -> dict[str, Any] | None:
    """A row of the result; None where the server stops before there is one."""
    name = uuid.uuid4().hex
    refusal = job if isinstance(job, Refusal) else None
    body: dict[str, Any] = {}
    if isinstance(job, Job):
        try:
            body = completion(job.call, job.future.result(), name=name)
        except (asyncio.CancelledError, Exception) as error:
            refusal = refusal_of(error)
    if refusal is not None:
        if refusal.status == 503 and "stopping" in refusal.text:
            return None
        body = refusal.to_dict()
    status = 200 if refusal is None else refusal.status
    return {
        "id": f"batch_req-{name}",
        "custom_id": row["custom_id"],
        "response": {"status_code": status, "request_id": name, "body": body},
        "error": None,
    }


def _lines_of(path: Path) -> int:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)
    return 0
