"""What may not be read, asked for, or sent: each is refused in one line, and nothing is read."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from running import asked, serving

from media import make_video

KEY = "a-key-of-this-test"


class Trap:
    """A server of a private network, which counts who comes, and can lead on."""

    def __init__(self, video: bytes) -> None:
        trap = self
        self.asked: list[str] = []
        self.leads_to = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                trap.asked.append(self.path)
                if self.path.startswith("/away"):
                    self.send_response(302)
                    self.send_header("Location", trap.leads_to)
                    self.end_headers()
                    return
                self.send_response(200)
                if self.path.startswith("/liar"):
                    self.send_header("Content-Length", "999999999999")
                self.end_headers()
                for _ in range(2000 if self.path.startswith("/endless") else 1):
                    with contextlib.suppress(OSError):
                        self.wfile.write(video)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def trap(tmp_path_factory) -> Iterator[Trap]:
    made = Trap(make_video(tmp_path_factory.mktemp("trap") / "v.mp4", frames=4).read_bytes())
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder that is allowed, beside what is not; links lead from the one to the other."""
    root = tmp_path_factory.mktemp("root")
    inside, outside = root / "inside", root / "inside-not"
    for place in (inside, outside, inside / "mixed"):
        place.mkdir()
    make_video(inside / "good.mp4", frames=4)
    make_video(outside / "secret.mp4", frames=4)
    (outside / "secret.png").write_bytes(b"secret")
    (inside / "link.mp4").symlink_to(outside / "secret.mp4")
    (inside / "away").symlink_to(outside)
    (inside / "mixed" / "a.png").symlink_to(outside / "secret.png")
    (inside / "loop.mp4").symlink_to(inside / "loop.mp4")
    os.mkfifo(inside / "pipe.mp4")
    (inside / "empty.mp4").write_bytes(b"")
    return inside


@pytest.fixture(scope="module")
def guarded(tiny, trap, folder) -> Iterator[Any]:
    """With a key, one host that is allowed, and that folder."""
    from free_video_llm.serve.settings import Bounds, Reach

    reach = Reach(hosts=frozenset({"videos.example"}), folders=(folder,))
    bounds = Bounds(body_bytes=400_000, video_bytes=300_000, stall_seconds=0.5)
    with serving(tiny, keys=(KEY,), reach=reach, bounds=bounds) as server:
        yield server


def send(
    server: Any, body: Any, *, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, dict[str, Any]]:
    """A request's status and what came."""
    connection = http.client.HTTPConnection(*server.socket.getsockname(), timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    given = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", path, data, {k: v for k, v in given.items() if v})
    reply = connection.getresponse()
    read = json.loads(reply.read())
    connection.close()
    return reply.status, read


def data_of(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


#: Addresses, with the status and what the line says; PORT is the trap's.
ADDRESSES = {
    "this machine": ("http://127.0.0.1:PORT/v.mp4", 403, "not fetched from"),
    "by its name": ("http://localhost:PORT/v.mp4", 403, "not fetched from"),
    "in IPv6": ("http://[::1]:PORT/v.mp4", 403, "not fetched from"),
    "IPv4 in IPv6": ("http://[::ffff:127.0.0.1]:PORT/v.mp4", 403, "not fetched from"),
    "as one number": ("http://2130706433:PORT/v.mp4", 403, "not fetched from"),
    "in octal": ("http://0177.0.0.1:PORT/v.mp4", 403, "not fetched from"),
    "in short": ("http://127.1:PORT/v.mp4", 403, "not fetched from"),
    "nought": ("http://0.0.0.0:PORT/v.mp4", 403, "not fetched from"),
    "a cloud's metadata": ("http://169.254.169.254/latest/meta-data/", 403, "not fetched from"),
    "a private network": ("http://10.0.0.1/v.mp4", 403, "not fetched from"),
    "a name that hides it": ("http://127.0.0.1.nip.example/v.mp4", 403, "not fetched from"),
    "as another's user": ("http://videos.example@127.0.0.1:PORT/v.mp4", 400, "no user"),
    "with a password": ("http://u:p@videos.example/v.mp4", 400, "no user"),
    "as a prefix": ("http://videos.example.evil.example/v.mp4", 403, "not fetched from"),
    "as a suffix": ("http://evilvideos.example/v.mp4", 403, "not fetched from"),
    "behind a backslash": (r"http://127.0.0.1:PORT\@videos.example/", 400, "no user"),
    "behind a fragment": ("http://127.0.0.1:PORT#videos.example/", 403, "not fetched from"),
    "another port of a host": ("http://127.0.0.1:PORT/?videos.example", 403, "not fetched from"),
    "no host": ("http:///v.mp4", 400, "no web address"),
    "no port": ("http://videos.example:port/v.mp4", 400, "no web address"),
    "half of IPv6": ("http://[::1/v.mp4", 400, "no web address"),
    "FTP": ("ftp://127.0.0.1/v.mp4", 400, "sent as a data"),
    "gopher": ("gopher://127.0.0.1:PORT/_GET", 400, "sent as a data"),
    "a store": ("s3://bucket/v.mp4", 400, "sent as a data"),
    "the Hub": ("hf://datasets/x/v.mp4", 400, "sent as a data"),
    "FFmpeg's concat": ("concat:/etc/passwd|/etc/hosts", 400, "sent as a data"),
    "FFmpeg's subfile": ("subfile,,start,0,end,0,,:/etc/passwd", 400, "sent as a data"),
    "FFmpeg's pipe": ("pipe:0", 400, "sent as a data"),
    "a file": ("/etc/passwd", 403, "not below"),
    "as an address": ("file:///etc/passwd", 403, "not below"),
    "of another machine": ("file://server/etc/passwd", 400, "no other machine"),
    "out of the folder": ("../inside-not/secret.mp4", 403, "not below"),
    "out of it in per cent": ("file:///%2e%2e/etc/passwd", 403, "not below"),
    "beside it by prefix": ("FOLDER-not/secret.mp4", 403, "not below"),
    "by a link": ("link.mp4", 403, "not below"),
    "by a linked folder": ("away/secret.mp4", 403, "not below"),
    "by a link among pictures": ("mixed", 403, "lead elsewhere"),
    "a link to itself": ("loop.mp4", 403, "not below"),
    "a pipe": ("pipe.mp4", 403, "not below"),
    "a device": ("/dev/zero", 403, "not below"),
    "the process itself": ("/proc/self/environ", 403, "not below"),
    "a NUL": ("good.mp4\0.png", 403, "not below"),
    "a long name": ("x" * 5000, 403, "not below"),
    "nothing there": ("none.mp4", 403, "not below"),
    "an empty file": ("empty.mp4", 400, "empty"),
    "no sample": ("sample:../../weights", 400, "unknown sample"),
    "a page": (data_of(b"<html>", "text/html"), 400, "neither video nor picture"),
    "no base64": ("data:video/mp4;base64,$$", 400, "base64"),
    "no comma": ("data:video/mp4;base64", 400, "comma"),
    "no video": (data_of(b"x" * 100), 400, ""),
    "an empty video": (data_of(b""), 400, "empty"),
    "a playlist that names others": (
        data_of(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:PORT/v.mp4\n#EXT-X-ENDLIST\n"),
        400,
        "",
    ),
    "a list of files": (data_of(b"ffconcat version 1.0\nfile /etc/passwd\n"), 400, ""),
    "too large": (data_of(b"x" * 400_000), 413, "larger than"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses(name, guarded, trap, folder):
    address, status, said = ADDRESSES[name]
    if "base64," in address and "PORT" not in address:
        content = base64.b64decode(address.partition(",")[2], validate=False)
        if b"PORT" in content:
            address = data_of(content.replace(b"PORT", str(trap.port).encode()))
    address = address.replace("PORT", str(trap.port)).replace("FOLDER", str(folder))
    before = list(trap.asked)
    got, reply = send(guarded, asked(video=address))
    said_of_it = reply["error"]["message"]
    assert got == status, reply
    assert said in said_of_it
    assert "\n" not in said_of_it
    assert len(said_of_it) < 400
    assert trap.asked == before
    assert "/tmp/" not in said_of_it or "/tmp/" in address  # where the server keeps it


def test_a_host_that_is_allowed_may_not_be_a_private_one(tiny, trap):
    """Whatever its name says, as with a name that is pointed elsewhere after it was looked at."""
    from free_video_llm.serve.settings import Reach

    before = list(trap.asked)
    with serving(tiny, reach=Reach(hosts=frozenset({"localhost", "*"}))) as server:
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
            video = f"http://{host}:{trap.port}/v.mp4"
            status, reply = send(server, asked(video=video))
            assert status == 400
            assert "private" in reply["error"]["message"]
    assert trap.asked == before


def test_what_a_host_leads_on_to(tiny, trap):
    """Where its own network is allowed, the hosts still are those that were named."""
    from free_video_llm.serve.settings import Bounds, Reach

    reach = Reach(hosts=frozenset({f"127.0.0.1:{trap.port}"}), private=True)
    with serving(tiny, reach=reach, bounds=Bounds(video_bytes=1_000_000)) as server:
        good = f"http://127.0.0.1:{trap.port}"
        assert send(server, asked(video=f"{good}/v.mp4"))[0] == 200
        for target, said in (
            (f"http://localhost:{trap.port}/v.mp4", "not among the hosts"),
            ("http://169.254.169.254/", "not among the hosts"),
            ("file:///etc/passwd", "no web address"),
            ("/away/again", "leads on"),
        ):
            trap.leads_to = target
            status, reply = send(server, asked(video=f"{good}/away"))
            assert (status, said in reply["error"]["message"]) == (400, True), reply
        for path, said in (("/liar", "GB"), ("/endless", "larger than")):
            status, reply = send(server, asked(video=good + path))
            assert (status, said in reply["error"]["message"]) == (400, True), reply


#: What is sent around a body, with the status and what the line says.
HEADS: dict[str, tuple[dict[str, str], int, str]] = {
    "no key": ({"Authorization": ""}, 401, "key"),
    "a wrong key": ({"Authorization": f"Bearer {KEY}x"}, 401, "key"),
    "a part of it": ({"Authorization": f"Bearer {KEY[:-1]}"}, 401, "key"),
    "an empty one": ({"Authorization": "Bearer "}, 401, "key"),
    "as a password": ({"Authorization": f"Basic {KEY}"}, 401, "key"),
    "letters of no key": ({"Authorization": "Bearer \xff\xfe"}, 401, "key"),
    "a name that is not ours": ({"Host": "evil.example"}, 403, "that name"),
    "a user in the name": ({"Host": "evil@127.0.0.1"}, 403, "that name"),
    "a page elsewhere": ({"Origin": "https://evil.example"}, 403, "other addresses"),
    "a page elsewhere, as browsers say": ({"Sec_Fetch_Site": "cross-site"}, 403, "other addresses"),
    "a form": ({"Content_Type": "text/plain"}, 415, "JSON"),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name, guarded):
    headers, status, said = HEADS[name]
    got, reply = send(guarded, asked(), **headers)
    assert (got, said in reply["error"]["message"]) == (status, True), reply


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "JSON"), (b"{", "JSON"), (b"\xff", "JSON"), (b"[" * 100_000, "JSON"),
     (b'{"messages": 1}', "messages"), (b"null", "object"), (b'"hi"', "object")],
)  # fmt: skip
def test_bodies(body, said, guarded):
    status, reply = send(guarded, body)
    assert (status, said in reply["error"]["message"]) == (400, True), reply


def raw(server: Any, *pieces: bytes) -> bytes:
    """What comes back for bytes that are sent as they are, until the server ends it."""
    with socket.create_connection(server.socket.getsockname(), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while more := connection.recv(65536):
            found += more
        return found


HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + KEY.encode() + b"\r\n"
)


def test_a_length_that_is_too_large_is_refused_before_anything_is_read(guarded):
    found = raw(guarded, HEAD + b"Content-Length: 99999999999999999999\r\n\r\n")
    assert b" 413 " in found.splitlines()[0]


def test_a_body_without_an_end_is_read_no_further_than_allowed(guarded):
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    found = raw(guarded, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 8)
    assert b" 413 " in found.splitlines()[0]


def test_who_stops_sending_is_refused(guarded):
    found = raw(guarded, HEAD + b"Content-Length: 1000\r\n\r\n", b"{")
    assert b" 408 " in found.splitlines()[0]


def test_who_sends_no_head_is_left(tiny, monkeypatch):
    from free_video_llm.serve import server

    monkeypatch.setattr(server, "_SILENT_SECONDS", 0.2)
    with serving(tiny) as made:
        assert raw(made) == b""
        assert raw(made, b"POST / HT") == b""


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/../etc/passwd", "/docs", "/openapi.json", "//x"])
def test_other_paths(path, guarded):
    status, reply = send(guarded, asked(), path=path)
    assert (status, reply["error"]["message"]) == (404, "there is nothing here")


def test_what_is_open_without_a_key_tells_nothing_of_what_was_asked(guarded):
    send(guarded, asked("What is the secret?"))
    for path in ("/health", "/ready", "/metrics"):
        connection = http.client.HTTPConnection(*guarded.socket.getsockname(), timeout=60)
        connection.request("GET", path)
        reply = connection.getresponse()
        assert reply.status == 200
        assert b"secret" not in reply.read()
        connection.close()
