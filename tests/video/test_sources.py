"""Every form of a video gives equal frames; a server that lies, leads on or never ends is told."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from free_video_llm import Clip, ConfigError, VideoError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.video import fetch as fetch_module
from free_video_llm.video import http_get
from free_video_llm.video.fetch import fetch, is_address, locate
from free_video_llm.video.http_get import FetchLimits
from free_video_llm.video.stills import Still, read_stills
from media import make_video

FRAMES = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES, rate=4)


@pytest.fixture(scope="module")
def pictures(path: Path) -> np.ndarray:
    """The clip's frames at full size, uint8 [T,H,W,3]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def llm() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


class Server(BaseHTTPRequestHandler):
    """Serves one clip in several ways."""

    clip = b""
    asked: list[str] = []  # noqa: RUF012
    elsewhere = ""

    def do_GET(self) -> None:
        Server.asked.append(self.path)
        headers = {"Content-Type": "video/mp4", "Content-Length": str(len(self.clip))}
        body, status = self.clip, 200
        if self.path == "/on":
            status, headers["Location"], body = 302, "/clip.mp4", b""
            headers["Content-Length"] = "0"
        elif self.path == "/elsewhere":
            status, headers["Location"], body = 301, self.elsewhere, b""
            headers["Content-Length"] = "0"
        elif self.path == "/round":
            status, headers["Location"], body = 307, "/round", b""
            headers["Content-Length"] = "0"
        elif self.path == "/lying":
            headers["Content-Length"] = str(len(self.clip) + 100)
        elif self.path == "/huge":
            headers["Content-Length"] = str(10**13)
            body = b""
        elif self.path == "/endless":
            del headers["Content-Length"]
        elif self.path == "/page":
            headers |= {"Content-Type": "text/html; charset=utf-8"}
        elif self.path == "/empty":
            headers["Content-Length"], body = "0", b""
        elif self.path == "/gone":
            status = 404
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
            while self.path == "/endless":
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(path: Path, tmp_path_factory) -> Iterator[str]:
    Server.clip = path.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def test_every_form_of_a_file_gives_equal_frames(llm, path, address, tmp_path):
    wanted = llm.watch(path, frames=6)
    data = path.read_bytes()
    with open(path, "rb") as file:
        forms = {
            "text": str(path),
            "bytes": data,
            "memory": io.BytesIO(data),
            "file": file,
            "data": f"data:video/mp4;base64,{base64.b64encode(data).decode()}",
            "http": f"{address}/clip.mp4",
            "redirected": f"{address}/on",
        }
        for name, form in forms.items():
            video = llm.watch(form, frames=6)
            assert np.array_equal(video.frames.pixels, wanted.frames.pixels), name
            assert np.array_equal(video.frames.seconds, wanted.frames.seconds), name
            assert torch.equal(video.features.frame_vectors, wanted.features.frame_vectors), name


def test_every_form_of_pictures_gives_equal_frames(llm, path, pictures):
    wanted = llm.watch(path, frames=6, resize="pil")
    images = [Image.fromarray(picture) for picture in pictures]
    batch = SimpleNamespace(
        data=torch.from_numpy(pictures.transpose(0, 3, 1, 2)), pts_seconds=torch.arange(FRAMES) / 4
    )
    forms = {
        "images": Clip(images, fps=4),
        "array": Clip(pictures, fps=4),
        "seconds": Clip(pictures, seconds=[n / 4 for n in range(FRAMES)]),
        "channels first": Clip(pictures.transpose(0, 3, 1, 2), fps=4),
        "tensor": Clip(torch.from_numpy(pictures), fps=4),
        "torchcodec": batch,
    }
    for name, form in forms.items():
        video = llm.watch(form, frames=6)
        assert np.array_equal(video.frames.pixels, wanted.frames.pixels), name
        assert np.array_equal(video.frames.seconds, wanted.frames.seconds), name
        assert (video.frames.total, video.frames.duration) == (FRAMES, 3.0), name
        assert (video.frames.width, video.frames.height) == (64, 48), name
    for form in (images, pictures, torch.from_numpy(pictures)):  # one a second
        assert llm.watch(form, frames=FRAMES).frames.seconds.tolist() == list(range(FRAMES))
    (whole,) = read_stills(
        llm.watch(Clip(images, fps=4), frames=6).frames, [Still(2)], most_pixels=10**6
    )
    assert np.array_equal(whole, pictures[wanted.frames.indices[2]])
    part = llm.watch(Clip(pictures, fps=4), fps=4, ranges=[(1, 2)])
    assert part.frames.indices.tolist() == [4, 5, 6, 7]


def test_a_fetched_file_lives_as_long_as_its_video(llm, path):
    video = llm.watch(path.read_bytes(), frames=4)
    kept = Path(video.reading.source)
    assert kept.is_file()
    assert video.frames.name == "bytes"
    (whole,) = read_stills(video.frames, [Still(1)], most_pixels=10**6)
    assert whole.shape == (48, 64, 3)  # not from the small frames
    answer = video.ask("Is there a star?", plan="paper@released", max_new_tokens=2)
    assert answer.evidence.frames.as_released
    folder = kept.parent
    del video, answer
    import gc

    gc.collect()
    assert not folder.exists()


def test_what_a_clip_is_not():
    good = np.zeros((2, 4, 4, 3), np.uint8)
    for wrong in (good.astype(float), good[0], np.zeros((2, 4, 4, 4), np.uint8), 3, "abc", [1, 2]):
        with pytest.raises(ConfigError, match="pictures"):
            Clip(wrong)
    with pytest.raises(VideoError, match="no pictures"):
        Clip([])
    with pytest.raises(VideoError, match="no pictures"):
        Clip(good[:0])
    with pytest.raises(ConfigError, match="not both"):
        Clip(good, fps=1, seconds=[0, 1])
    for times in ([0], [1, 0], [0, float("nan")], ["a", "b"]):
        with pytest.raises(ConfigError, match="2 ascending numbers"):
            Clip(good, seconds=times)
    for fps in (0, -1, True, float("inf")):
        with pytest.raises(ConfigError, match="fps is a number"):
            Clip(good, fps=fps)
    assert len(repr(Clip(good))) < 300


@pytest.mark.parametrize("wrong", [42, None, 3.5, {"a": 1}, object()])
def test_what_no_video_comes_from_is_said(llm, wrong):
    with pytest.raises(ConfigError, match="a video is a path, an address, bytes, an open file"):
        llm.watch(wrong)


@pytest.mark.parametrize(
    ("way", "what"),
    [
        ("/lying", "it ended after"),
        ("/huge", "at most 4 GB are fetched"),
        ("/page", "it is a page, not a video"),
        ("/empty", "it is empty"),
        ("/gone", "the server says 404"),
        ("/round", "leads on more than 5 times"),
    ],
)
def test_what_a_server_does_wrong_is_one_line(address, way, what):
    with pytest.raises(VideoError, match=what) as caught:
        fetch(address + way)
    assert "\n" not in str(caught.value)


def test_sizes_and_seconds_are_bounded(address, monkeypatch):
    with pytest.raises(VideoError, match=r"larger than 0\.001 GB"):
        fetch(f"{address}/endless", limits=FetchLimits(most_bytes=1_000_000))
    with pytest.raises(VideoError, match="larger than"):
        fetch(b"x" * 100, limits=FetchLimits(most_bytes=99))
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(fetch_module.time, "monotonic", lambda: next(clock))
    with pytest.raises(VideoError, match="was not there after 250 s"):
        fetch(f"{address}/endless", limits=FetchLimits(seconds=250))


def test_a_redirect_into_a_private_network_is_not_followed(address, monkeypatch):
    """The first server is made out to be a public one."""
    Server.elsewhere = f"{address.replace('127.0.0.1', 'localhost')}/clip.mp4"
    public = iter([False])
    is_private = http_get._is_private
    monkeypatch.setattr(
        http_get, "_is_private", lambda a: next(public, None) is None and is_private(a)
    )
    Server.asked.clear()
    with pytest.raises(VideoError, match=r"it leads to a private address"):
        fetch(f"{address}/elsewhere")
    assert Server.asked == ["/elsewhere"]  # nothing was sent to the second one
    assert Path(fetch(f"{address}/elsewhere", limits=FetchLimits(allow_private=True)).path).exists()
    monkeypatch.setattr(http_get, "_is_private", is_private)
    Server.asked.clear()
    with pytest.raises(VideoError, match="private address"):
        fetch(f"{address}/clip.mp4", limits=FetchLimits(allow_private=False))
    assert Server.asked == []
    for scheme in ("file:///etc/passwd", "ftp://example.com/a"):
        Server.elsewhere = scheme
        with pytest.raises(VideoError, match="no web address"):
            fetch(f"{address}/elsewhere")


@pytest.mark.parametrize(
    ("ip", "private"),
    [("127.0.0.1", True), ("10.1.2.3", True), ("169.254.169.254", True), ("::1", True),
     ("fe80::1%eth0", True), ("::ffff:192.168.0.1", True), ("0.0.0.0", True), ("100.64.0.1", True),
     ("8.8.8.8", False), ("2606:4700::1111", False), ("::ffff:8.8.8.8", False)],
)  # fmt: skip
def test_which_addresses_are_private(ip: str, private: bool):
    assert http_get._is_private(ip) is private


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("data:video/mp4;base64", "no video|no such file|comma"),
        ("data:video/mp4;base64,###", "no base64"),
        ("rtsp://cam/1", "addresses of this kind are not read"),
        ("memory://a", "addresses of this kind are not read"),
        ("s3://bucket/a.mp4", "s3"),
        ("http://127.0.0.1:1/a.mp4", "cannot be reached"),
        ("https://youtu.be/abc", "pip install yt-dlp"),
        ("https://www.youtube.com/watch?v=abc", "pip install yt-dlp"),
        (b"no video", "is not a video"),
        (io.StringIO("text"), "opened as text"),
    ],
)
def test_what_cannot_be_had_is_one_line(llm, source, what):
    with pytest.raises(VideoError, match=what) as caught:
        llm.watch(source)
    assert "\n" not in str(caught.value)
    assert "/fvl-" not in str(caught.value)  # the file it was fetched to is nobody's business


def test_addresses_and_paths(tmp_path, monkeypatch):
    assert is_address("s3://b/a.mp4")
    assert not any(map(is_address, ("a.mp4", "/a/b.mp4", "sample:star", "C:\\a.mp4", "file:///a")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "a.mp4").write_bytes(b"x")
    assert not is_address("http://a.mp4")  # such a file is there
    assert locate(tmp_path) == (str(tmp_path), None)


def test_the_command_takes_an_address(address, capsys):
    command = [
        "ask",
        f"{address}/clip.mp4",
        "Is there a star?",
        "--model",
        "tiny",
        "--plan",
        "lean",
    ]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() in ("yes", "no")
    assert main(["ask", f"{address}/gone", "Is there a star?", "--model", "tiny"]) == 3
    assert "the server says 404" in capsys.readouterr().err
