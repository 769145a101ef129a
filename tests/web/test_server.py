"""The server from outside: what it serves, what it refuses, how it starts and ends."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
from page_server import running

from free_video_llm import samples
from free_video_llm.cli.main import main
from free_video_llm.cli.web import offered
from free_video_llm.web.uploads import Uploads

pytest.importorskip("gradio", reason="the extra web is not installed")
from free_video_llm.web import downloads
from free_video_llm.web.downloads import MOST_WAITING

httpx = pytest.importorskip("httpx", reason="the extra web is not installed")
API = "/gradio_api"
STAR = Path(samples.find("sample:star"))


@pytest.fixture(scope="module")
def server(llm) -> Iterator[Any]:
    with running(llm, file_bytes=1_000_000) as made:
        yield made


@pytest.fixture
def client(server) -> Iterator[Any]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def send(client, content: bytes, name: str = "clip.mp4"):
    return client.post(f"{API}/upload", files={"files": (name, content)})


def test_the_page_names_no_address_outside(client):
    page = client.get("/")
    assert page.status_code == 200
    assert set(re.findall(r"https?://[^/\"'\s<>\\]*", page.text)) <= {
        str(client.base_url).rstrip("/")
    }
    assert "default-src 'self'" in page.headers["content-security-policy"]
    config = client.get("/config")
    assert config.status_code == 200
    assert "fonts.googleapis" not in page.text + config.text + client.get(f"{API}/theme.css").text


def test_only_what_the_page_needs_is_served(client):
    for path in (
        "/docs", "/openapi.json", f"{API}/info", f"{API}/openapi.json", f"{API}/runs",
        f"{API}/run-history/records", f"{API}/proxy=https://example.org", "/monitoring",
        f"{API}/vibe-code", f"{API}/component_server", f"{API}/process_recording", "/login",
        f"{API}/call/ask", f"{API}/deep_link", "/gradio_api/mcp/", "/answers/none/why.png",
    ):  # fmt: skip
        assert client.get(path).status_code == 404, path
    # No event can be called by name, nor by number without the queue.
    assert client.post(f"{API}/run/ask", json={"data": []}).status_code == 404
    config = client.get("/config").json()
    assert {d["api_visibility"] for d in config["dependencies"]} == {"private"}


def test_no_file_of_the_server_can_be_fetched(client, server, tmp_path: Path):
    secret = server.service.sessions.uploads.folder.parent / "secret.txt"
    secret.write_text("secret")
    ours = Path(samples.__file__)
    for path in ("/etc/passwd", str(secret), str(ours), f"{samples.FOLDER}/../../samples.py",
                 "https://example.org/", "//etc/passwd", "a\0b"):  # fmt: skip
        answer = client.get(f"{API}/file={path}".replace("\0", "%00"))
        assert answer.status_code == 403, path
        assert "secret" not in answer.text
    part = client.get(f"{API}/file={STAR}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, STAR.read_bytes()[10:20])


def test_no_path_of_the_server_can_be_asked_about(client, server):
    config = client.get("/config").json()
    (clip,) = [c["id"] for c in config["components"] if c["type"] == "video"]
    (choose,) = [d for d in config["dependencies"] if d["targets"] == [[clip, "change"]]]
    (ask,) = [d for d in config["dependencies"] if len(d["inputs"]) == 8 and len(d["outputs"]) == 3]

    def send_event(number: int, data: list[Any], where: str = "run/predict"):
        body = {"fn_index": number, "session_hash": "thief", "data": data}
        return client.post(f"{API}/{where}", json=body)

    folder = server.service.sessions.uploads.folder
    for path in ("/etc/passwd", samples.__file__, str(folder.parent), f"{folder}/../x",
                 "http://example.org/x.mp4", "https://127.0.0.1/x.mp4", 7, None):  # fmt: skip
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert send_event(choose["id"], [file]).status_code == 403, path
        for data in ([file, "Who?", "", "tiny", "paper", 50, "", ""],
                     [None, {"deep": [file]}, "", "tiny", "paper", 50, "", ""]):  # fmt: skip
            assert send_event(ask["id"], data, "queue/join").status_code == 403, path
    # Gradio's own check, which the gate stands before.
    assert server.app._app.routes[-1].app.get_blocks().has_launched
    assert server.service.sessions.get("thief").clip is None
    assert send_event(ask["id"], ["x" * 300_000], "queue/join").status_code == 413
    assert client.post(f"{API}/queue/join", content=b"[" * 10_000).status_code == 400
    # What waits in the queue cannot be called past it.
    assert send_event(ask["id"], [None, "Who?", "", "tiny", "paper", 50, "", ""]).status_code != 200
    server.service.sessions.end("thief")
    body = {"fn_index": choose["id"], "data": [None]}  # of no session
    assert "comes from no page" in client.post(f"{API}/run/predict", json=body).text
    assert len(server.service.sessions) == 0


def test_a_file_that_is_too_large_is_refused_by_the_server(client, server):
    answer = send(client, b"x" * 1_100_000)
    assert answer.status_code == 413
    assert answer.text == "The file is 1.1 MB; at most 1.0 MB are allowed."
    within = send(client, b"x" * 1_010_000)  # within what a form may add: Gradio's own limit
    assert within.status_code == 413
    assert server.service.sessions.uploads.nbytes() == 0

    def pieces() -> Iterator[bytes]:
        yield b"x"

    assert client.post(f"{API}/upload", content=pieces()).status_code == 411


def test_the_room_for_uploads_is_bounded(client, server):
    uploads: Uploads = server.service.sessions.uploads
    sent = [send(client, bytes([n]) * 990_000) for n in range(21)]
    assert [answer.status_code for answer in sent] == [200] * 20 + [507]
    assert uploads.nbytes() <= server.service.limits.upload_bytes
    uploads.sweep(now=4e9)
    assert uploads.nbytes() == 0


def test_the_server_answers_only_to_its_names(client):
    for host in ("evil.example", "127.0.0.1.evil.example:7860", ""):
        assert client.get("/", headers={"Host": host}).status_code == 403
    assert client.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_starting_and_ending_by_ctrl_c_leaves_nothing(tmp_path: Path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    # As in a terminal, whatever the tests themselves were started under (nohup, "&").
    start = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if hasattr(signal, 'SIGHUP'): signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from free_video_llm.cli.main import main\n"
        "sys.exit(main(['web', '--port', '0']))"
    )
    command = [sys.executable, "-c", start]
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        numbers.append(signal.SIGHUP)
    for number in numbers:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
            with httpx.Client(base_url=url) as client:
                assert client.get("/").status_code == 200
                assert send(client, STAR.read_bytes()).status_code == 200
                (folder,) = tmp_path.glob("fvl-web-*")
                assert [p.name for p in folder.rglob("*.mp4")] == ["clip.mp4"]
                assert folder.stat().st_mode & 0o077 == 0
                with client.stream("GET", f"{API}/heartbeat/visitor") as open_page:
                    assert open_page.status_code == 200
                    process.send_signal(number)
                    _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130
        assert errors.strip() == "fvl: interrupted"
        assert list(tmp_path.glob("fvl-web-*")) == []


def test_downloads_wait_in_a_line_that_is_bounded(server, client, llm, monkeypatch):
    sessions = server.service.sessions
    session = sessions.get("drawing")
    answer = llm.watch("sample:star", frames=4).ask("Is there a star?")
    address = f"/answers/{sessions.add_result(session, 'answer', (answer,))}/why.png"
    go_on = threading.Event()

    def render(*_: Any) -> bytes:
        assert go_on.wait(60)
        return b"picture"

    monkeypatch.setattr(downloads, "render", render)
    with ThreadPoolExecutor(MOST_WAITING + 3) as pool:
        asked = [pool.submit(client.get, address, timeout=60) for _ in range(MOST_WAITING + 3)]
        refused = list(itertools.islice(as_completed(asked), 3))  # none is drawn yet
        assert client.get("/config").status_code == 200  # served all the while
        go_on.set()
    for future in refused:
        assert future.result().status_code == 503
        assert future.result().json()["detail"].startswith("Many pictures are being drawn")
    drawn = [future.result().content for future in asked if future not in refused]
    assert drawn == [b"picture"] * MOST_WAITING


def test_nobody_s_page_costs_little(server):
    queue = server.app._app.routes[-1].app.get_blocks()._queue
    assert queue.sleep_when_free == 0.05
    assert queue.stopped is False


def test_wrong_options_are_told_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = {
            ("--port", port): (2, "cannot listen on 127.0.0.1, port"),
            ("--port", "99999"): (2, "cannot listen on 127.0.0.1, port 99999"),
            ("--plan", "nonsense"): (2, "cannot read the plan 'nonsense'"),
            ("--max-minutes", "0"): (2, "--max-minutes is more than 0, not 0"),
            ("--frames", "300"): (2, "--frames 300 is more than --max-frames 200"),
            ("--model", "./missing", "--port", "0"): (4, "missing"),
        }
        for options, (code, text) in cases.items():
            assert main(["web", *options]) == code
            error = capsys.readouterr().err
            assert text in error
            assert len(error.strip().splitlines()) == 1


def test_without_the_extra_it_says_what_to_install():
    script = (
        "import sys; sys.modules['gradio'] = None\n"
        "from free_video_llm.cli.main import main\n"
        "sys.exit(main(['web']))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 5
    assert ended.stderr == ("fvl: the web page needs Gradio: pip install 'free-video-llm[web]'\n")


def test_strangers_are_offered_only_what_is_named(monkeypatch):
    """On this machine what fits into its memory, and what its local servers have."""
    from free_video_llm.models import servers
    from free_video_llm.profiling import memory

    monkeypatch.setattr(servers, "running", lambda: {"ollama": ("qwen3-vl",)})
    monkeypatch.setattr(memory, "total_gb", lambda: 64.0)
    local = offered("tiny", [], local=True)
    assert local[:2] == ("tiny", "ollama:qwen3-vl")
    assert "llava-hf/llava-v1.6-vicuna-7b-hf" in local
    monkeypatch.setattr(memory, "total_gb", lambda: 4.0)
    assert "llava-hf/llava-v1.6-vicuna-7b-hf" not in offered("tiny", [], local=True)
    assert offered("tiny", [], local=False) == ("tiny",)
    assert offered("./mine", [], local=False) == ("./mine", "tiny")
    assert offered("tiny", ["./mine"], local=True) == ("tiny", "./mine")


def test_help_does_not_load_gradio():
    script = (
        "import sys\nfrom free_video_llm.cli.main import build_parser\n"
        "text = build_parser().format_help()\n"
        "assert 'web' in text\n"
        "assert not {'gradio', 'torch', 'free_video_llm.web'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
