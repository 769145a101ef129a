"""An OpenAI-compatible server of the tests' own that can be told to misbehave in many ways."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = "{'pred': 'yes', 'score': 4}"
#: What to do with a request, by the user's message and how often it came before.
Script = Callable[[str, int], str]


@dataclass
class Judge:
    """The server: its address and every request it has had."""

    url: str
    script: Script
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)


def _completion(text: str | None) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "judge-1-exact-0613",
        "system_fingerprint": "fp_7",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        ],
        "usage": {
            "prompt_tokens": 200,
            "completion_tokens": 12,
            "total_tokens": 212,
            "cost": 0.0015,  # as OpenRouter says it
        },
    }


def _last_text(content: str | list[dict[str, Any]]) -> str:
    """What is asked: a message's text, or the last of its parts that is one."""
    if isinstance(content, str):
        return content
    return [part["text"] for part in content if part["type"] == "text"][-1]


@contextmanager
def serve(
    script: Script = lambda user, before: "look",
    answer: Callable[[dict[str, Any]], str] = lambda body: "",
) -> Iterator[Judge]:
    """Run the server. A script says "ok:TEXT" (a reply with that text), "429", "500" or another
    status, "hang", "cut" (half a body), "drop" (no answer at all), "garbage" (no JSON), "empty"
    (JSON without choices), "look" (the reply that `answer` gives to the request's body), and
    more."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            """The models that it has."""
            data = {"object": "list", "data": [{"id": "judge-1-exact-0613", "object": "model"}]}
            self.reply(200 if self.path == "/v1/models" else 404, json.dumps(data).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.streams = bool(body.get("stream"))
            user = _last_text(body["messages"][-1]["content"])
            with judge.lock:
                before = judge.counts[user]
                judge.counts[user] += 1
                judge.seen.append(body)
                judge.headers.append({k.lower(): v for k, v in self.headers.items()})
                judge.at_once += 1
                judge.most_at_once = max(judge.most_at_once, judge.at_once)
            try:
                said = judge.script(user, before)
                self.behave(f"ok:{answer(body)}" if said == "look" else said)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with judge.lock:
                    judge.at_once -= 1

        def behave(self, what: str) -> None:
            if what == "hang":
                judge.closing.wait()
                self.close_connection = True
                return
            if what == "drop":
                self.close_connection = True
                return
            if what.startswith("ok:") and self.streams:
                self.stream(what[3:])
            elif what.startswith("broken:"):
                self.stream(what[7:], whole=False)
            elif what.startswith("ok:"):
                self.reply(200, json.dumps(_completion(what[3:])).encode())
            elif what == "null":
                self.reply(200, json.dumps(_completion(None)).encode())
            elif what == "empty":
                self.reply(200, b"{}")
            elif what == "no choices":
                self.reply(200, json.dumps(_completion("") | {"choices": None}).encode())
            elif what == "list":
                self.reply(200, b"[1, 2]")
            elif what == "page":
                self.reply(200, b"<html>login</html>", kind="text/html")
            elif what == "huge":
                self.reply(200, json.dumps(_completion("x" * 2_000_000)).encode())
            elif what.startswith("echo:"):  # an error, or a verdict, that repeats what was sent
                sent = self.headers["Authorization"] + " " + self.headers["OpenAI-Organization"]
                if what == "echo:200":
                    self.reply(200, json.dumps(_completion(sent)).encode())
                else:
                    error = {"error": {"message": f"bad key {sent}", "code": None}}
                    self.reply(int(what[5:]), json.dumps(error).encode())
            elif what.startswith("to:"):
                self.send_response(int(what[3:6]))
                self.send_header("Location", what[7:])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif what.startswith("refuse:"):  # a parameter, as newer models do
                error = {"error": {"message": what[7:], "code": "unsupported_parameter"}}
                self.reply(400, json.dumps(error).encode())
            elif what == "garbage":
                self.reply(200, b"<html>\xff\x00 not JSON")
            elif what == "cut":
                data = json.dumps(_completion(GOOD)).encode()
                self.reply(200, data[: len(data) // 2], length=len(data))
                self.close_connection = True
            else:
                error = {"error": {"message": f"status {what}", "type": "x", "code": None}}
                self.reply(int(what), json.dumps(error).encode(), retry=what == "429")

        def stream(self, text: str, *, whole: bool = True) -> None:
            """A completion in pieces of three letters, its usage at the end; or one that breaks
            off."""
            pieces = [text[at : at + 3] for at in range(0, len(text), 3)] or [""]
            choices = [[{"index": 0, "delta": {"content": piece}}] for piece in pieces]
            about = _completion(None) | {"object": "chat.completion.chunk", "usage": None}
            events = [about | {"choices": choice} for choice in choices]
            events.append(about | {"choices": [], "usage": _completion("")["usage"]})
            data = (
                "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            )
            sent = data.encode() if whole else data.encode()[: len(data) // 2]
            self.reply(200, sent, length=len(data.encode()), kind="text/event-stream")
            self.close_connection = not whole

        def reply(
            self,
            status: int,
            data: bytes,
            *,
            length: int | None = None,
            retry: bool = False,
            kind: str = "application/json",
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            if retry:
                self.send_header("Retry-After", "0.05")
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    judge = Judge(f"http://127.0.0.1:{server.server_port}/v1", script)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield judge
    finally:
        judge.closing.set()
        server.shutdown()
        server.server_close()
