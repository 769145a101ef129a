"""Who may come, and what a request may take: checked before Gradio sees it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import running

from free_video_llm import samples
from free_video_llm.web.names import host_name, is_own, without_foreign_names
from free_video_llm.web.receiving import Receiving
from free_video_llm.web.uploads import PART_SECONDS, Uploads

pytest.importorskip("gradio", reason="the extra web is not installed")
httpx = pytest.importorskip("httpx", reason="the extra web is not installed")
UPLOAD = "/gradio_api/upload"
STAR = Path(samples.find("sample:star"))


@pytest.fixture(scope="module")
def server(llm) -> Iterator[Any]:
    with running(llm, file_bytes=1_000_000, stall_seconds=0.2) as made:
        yield made


@pytest.fixture
def client(server) -> Iterator[Any]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def send(client, **headers: str):
    files = {"files": ("clip.mp4", STAR.read_bytes())}
    return client.post(UPLOAD, files=files, headers={k.replace("_", "-"): v for k, v in
                                                     headers.items()})  # fmt: skip


# --- names and origins -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"127.0.0.1:7860", "127.0.0.1"),
        (b"LOCALHOST", "localhost"),
        (b"[::1]", "::1"),
        (b"[::1]:7860", "::1"),
        (b"videos.example.org:443", "videos.example.org"),
        (b"example.org@127.0.0.1", ""),
        (b"[::1].example.org", ""),
        (b"127.0.0.1:7860/evil", ""),
        (b"127.0.0.1:port", ""),
        (b"127.0.0.1 ", ""),
        (b"", ""),
        (b"\xff", ""),
    ],
)
def test_names_are_read_strictly(value: bytes, name: str):
    assert host_name(value) == name


@pytest.mark.parametrize(
    ("site", "origin", "own"),
    [
        (None, None, True),  # no browser
        ("same-origin", "https://other.example", True),  # a browser's word on a trusted address
        ("none", None, True),
        ("same-site", "http://127.0.0.1:1", False),
        ("cross-site", None, False),
        (None, "http://127.0.0.1:7860", True),
        (None, "https://Videos.example", True),
        (None, "http://127.0.0.1:7861", False),
        (None, "https://evil.example", False),
        (None, "null", False),
        (None, "http://[::1", False),
    ],
)
def test_only_a_page_of_the_server_changes_something(site, origin, own):
    headers = {b"host": b"127.0.0.1:7860"}
    if site is not None:
        headers[b"sec-fetch-site"] = site.encode()
    if origin is not None:
        headers[b"origin"] = origin.encode()
    assert is_own(headers, "videos.example") is own


def test_a_page_elsewhere_can_send_nothing_and_read_nothing(client, server):
    assert send(client, Origin="https://evil.example").status_code == 403
    assert send(client, Sec_Fetch_Site="cross-site").status_code == 403
    event = {"fn_index": 0, "data": [None], "session_hash": "x"}
    foreign = {"Origin": "http://127.0.0.1:1"}
    for path in ("run/predict", "queue/join"):
        assert client.post(f"/gradio_api/{path}", json=event, headers=foreign).status_code == 403
    assert server.service.sessions.uploads.nbytes() == 0
    config = client.get("/config", headers={"Origin": "http://127.0.0.1:1"})
    assert config.status_code == 200
    assert not [name for name in config.headers if name.startswith("access-control-")]
    assert send(client, Origin=server.url, Sec_Fetch_Site="same-origin").status_code == 200


def test_a_name_that_a_stranger_forwards_does_not_get_into_the_page(client):
    headers = {"X-Forwarded-Host": "evil.example"}
    assert "evil.example" not in client.get("/", headers=headers).text
    assert "evil.example" not in client.get("/config", headers=headers).text
    pairs = [(b"host", b"a"), (b"x-forwarded-host", b"videos.example:443")]
    assert without_foreign_names(pairs, {"videos.example"}) == pairs
    assert without_foreign_names(pairs, None) == pairs[:1]


# --- uploads that break off, stand still, or are too many --------------------------------------


def messages(*given: Any):
    """A server's `receive` that gives these; beyond them nothing ever comes."""
    left = list(given)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


PART = {"type": "http.request", "body": b"x", "more_body": True}
LAST = {"type": "http.request", "body": b"x", "more_body": False}


def test_a_request_that_stands_still_ends():
    async def play():
        standing = Receiving(messages(PART), size=1, stall_seconds=0.01)
        return [await standing(), await standing()], standing

    (first, second), standing = asyncio.run(play())
    assert first == PART
    assert second == {"type": "http.disconnect"}
    assert standing.late
    assert standing.ended


def test_a_request_that_drips_ends():
    now = [0.0]

    async def play() -> int:
        dripping = Receiving(
            messages(*[PART] * 100), size=1_000_000, stall_seconds=30, clock=lambda: now[0]
        )
        for number in range(100):
            if (await dripping())["type"] == "http.disconnect":
                return number
            now[0] += 29
        return 100

    assert asyncio.run(play()) == 4  # 60 s and 50 s for a megabyte


def test_what_is_whole_waits_for_its_answer():
    async def play():
        whole = Receiving(messages(PART, LAST), size=2, stall_seconds=0.01)
        received = [await whole(), await whole()]
        with pytest.raises(TimeoutError):  # still waiting: nothing was put in the place of it
            await asyncio.wait_for(whole(), 0.1)
        return received, whole

    received, whole = asyncio.run(play())
    assert received == [PART, LAST]
    assert not whole.ended


@pytest.fixture
def raw(server):
    """Sends the head of an upload and some of it; the open connection."""
    opened = []

    def begin(size: int, content: bytes) -> socket.socket:
        host, port = server.socket.getsockname()
        connection = socket.create_connection((host, port), timeout=60)
        opened.append(connection)
        form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
        head = (
            f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        connection.sendall(head.encode() + form + content)
        return connection

    yield begin
    for connection in opened:
        connection.close()


def test_an_upload_that_stands_still_is_ended_and_leaves_nothing(server, raw, caplog):
    uploads: Uploads = server.service.sessions.uploads
    uploads.sweep(now=4e9)
    connection = raw(900_000, b"x" * 300_000)
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 408 " in answer.splitlines()[0]
    assert b"stood still" in answer
    assert uploads.nbytes() == 0
    assert "Traceback" not in caplog.text


def test_an_upload_that_breaks_off_leaves_nothing(server, raw, caplog, monkeypatch):
    uploads: Uploads = server.service.sessions.uploads
    uploads.sweep(now=4e9)
    ended = threading.Event()
    delete = uploads._delete_parts

    def deleting(now: float) -> None:
        delete(now)
        ended.set()

    monkeypatch.setattr(uploads, "_delete_parts", deleting)
    raw(900_000, b"x" * 300_000).close()
    assert ended.wait(60)
    assert uploads.nbytes() == 0
    assert "Traceback" not in caplog.text


def test_room_is_kept_for_what_is_arriving(uploads: Uploads):
    with uploads.receiving(60, room=100) as first:
        assert first
        with uploads.receiving(60, room=100) as second:
            assert not second
        with uploads.receiving(40, room=100) as third:
            assert third
    with uploads.receiving(100, room=100) as again:
        assert again
    place = uploads.folder / "0" / "clip.mp4"
    place.parent.mkdir()
    place.write_bytes(b"x" * 50)
    with uploads.receiving(51, room=100) as more:
        assert not more


def test_parts_without_a_sender_are_deleted(uploads: Uploads):
    old, fresh = uploads.folder / "old", uploads.folder / "fresh"
    with uploads.receiving(10, room=100):
        old.write_bytes(b"x")
        fresh.write_bytes(b"x")
        now = fresh.stat().st_mtime
        uploads.sweep(now=now + PART_SECONDS - 1)
        assert old.exists()
        assert fresh.exists()
        uploads.sweep(now=now + PART_SECONDS + 1)
        assert not old.exists()
        fresh.write_bytes(b"x")
        with uploads.receiving(10, room=100):
            pass
        assert fresh.exists()  # its sender may be the other one
    assert not fresh.exists()


def test_a_name_that_gradio_cannot_take_is_a_sentence(client):
    for name in (".htaccess", "..", "..mp4"):
        answer = client.post(UPLOAD, files={"files": (name, STAR.read_bytes())})
        assert answer.status_code in (200, 400), name
        if answer.status_code == 400:
            assert answer.text == "The server cannot take this file: give it another name."


# --- starting and ending ------------------------------------------------------------------------


def test_two_servers_that_start_at_once_on_one_port(tmp_path: Path):
    script = """
import sys
from free_video_llm.errors import ConfigError
from free_video_llm.web.listening import listen as _listen
first = _listen("127.0.0.1", 0)
try:
    _listen("127.0.0.1", first.getsockname()[1])
except ConfigError as error:
    sys.exit(str(error))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot listen on 127.0.0.1, port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_memory_of_a_session_does_not_grow_with_its_questions(server, client):
    (path,) = send(client).json()
    config = client.get("/config").json()
    ask = next(d["id"] for d in config["dependencies"] if len(d["targets"]) == 2)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}

    def question(number: int) -> int:
        event = {
            "fn_index": ask,
            "session_hash": "me",
            "data": [file, f"Is there a star, {number}?", "", "tiny", "paper", 8],
        }
        assert client.post("/gradio_api/queue/join", json=event).status_code == 200
        where, named = "/gradio_api/queue/data", {"session_hash": "me"}
        with client.stream("GET", where, params=named) as stream:
            (done,) = [line for line in stream.iter_lines() if "process_completed" in line]
        assert '"success":true' in done
        states = server.app._app.routes[-1].app.state_holder
        return len(states["me"].config_values)

    assert len({question(number) for number in range(4)}) == 1
