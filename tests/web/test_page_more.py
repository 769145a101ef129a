"""Stretches, addresses, follow-ups and the example on arrival: behind the page, and on it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from page_server import running
from visitor import SCREENSHOTS, Visitor

from free_video_llm import ConfigError, VideoError
from free_video_llm.samples import find
from free_video_llm.web import limits as bounds
from free_video_llm.web import service as module
from free_video_llm.web.limits import Limits
from free_video_llm.web.models import Models
from free_video_llm.web.service import Service, Wish
from free_video_llm.web.sessions import Session

STAR, MOON = "What color is the star?", "Where is the moon?"


@pytest.fixture
def service(sessions, llm) -> Service:
    return Service(sessions, Models(["tiny"], lambda name: llm), Limits())


@pytest.fixture
def session(service, upload) -> Session:
    session = service.sessions.get("me")
    service.choose(session, str(upload("sample:star")))
    return session


def wish(question: str = STAR, **more: Any) -> Wish:
    return Wish(question=question, model="tiny", frames=10, **more)


def quiet(*_: Any) -> None:
    pass


def test_a_stretch_is_looked_at_alone(service, session):
    reply = service.ask(session, wish(start="0:02", end="4"), "uniform", quiet)
    seconds = reply.answers[0].evidence.frames.seconds
    assert seconds.min() >= 2
    assert seconds.max() < 4
    assert service.ask(session, wish(start="0:02", end="4"), "lean", quiet).watched is False
    assert service.ask(session, wish(), "lean", quiet).watched is True
    for start, end in (("x", ""), ("5", "2")):
        with pytest.raises(ConfigError):
            service.ask(session, wish(start=start, end=end), "lean", quiet)


def test_follow_ups_are_those_of_a_conversation(service, session, llm):
    with pytest.raises(ConfigError, match="nothing to follow up"):
        service.follow(session, MOON, quiet)
    first = service.ask(session, wish(), "uniform", quiet).answers[0]
    pieces: list[str] = []
    talk = service.follow(session, MOON, pieces.append)
    video = llm.watch(find("sample:star"), frames=10)
    chat = video.chat(plan="uniform", said=[(STAR, first.text)])
    wanted = [chat.ask(MOON).text, chat.ask("Is there a ring?").text]
    assert [turn.text for turn in talk.turns] == [first.text, wanted[0]]
    assert "".join(pieces) == wanted[0]
    talk = service.follow(session, "Is there a ring?", pieces.append)
    assert [turn.text for turn in talk.turns[1:]] == wanted
    service.choose(session, None)
    with pytest.raises(ConfigError, match="nothing to follow up"):
        service.follow(session, MOON, quiet)


@pytest.fixture
def clips(tmp_path_factory) -> Iterator[str]:
    """The address of a server that has a clip."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "star.mp4").write_bytes(Path(find("sample:star")).read_bytes())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def allow_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tests' own server were one of the public internet."""
    whole = module.FetchLimits
    monkeypatch.setattr(
        module, "FetchLimits", lambda **how: whole(**{**how, "allow_private": True})
    )


def test_a_clip_from_an_address(service, clips, monkeypatch):
    session = service.sessions.get("me")
    with pytest.raises(VideoError, match="private"):
        service.fetch(session, f"{clips}/star.mp4")
    for address in ("file:///etc/passwd", "star.mp4", "ftp://x/y"):
        with pytest.raises(VideoError, match="no https"):
            service.fetch(session, address)
    allow_private(monkeypatch)
    path = service.fetch(session, f" {clips}/star.mp4 ")
    assert path.is_relative_to(service.sessions.uploads.folder)
    clip = service.choose(session, str(path))
    assert clip is not None
    assert (clip.name, clip.width) == ("star.mp4", 320)
    with pytest.raises(VideoError, match="404"):
        service.fetch(session, f"{clips}/none.mp4")


def test_a_server_that_fetches_nothing(sessions, llm, clips):
    closed = Service(sessions, Models(["tiny"], lambda name: llm), Limits(fetches=False))
    with pytest.raises(ConfigError, match="fetches no addresses"):
        closed.fetch(sessions.get("me"), f"{clips}/star.mp4")
    assert bounds.check_stretch("", " ") == ()


def test_a_clip_of_ones_own_may_come_before_the_first_example(service, upload, monkeypatch, caplog):
    skip = pytest.importorskip("gradio", reason="the extra web is not installed").skip
    from free_video_llm.web.handlers import Handlers

    session, own = service.sessions.get("me"), str(upload("sample:star", "own.mp4"))
    watch = service._watch

    def watched(*asked: Any, **more: Any) -> Any:
        found = watch(*asked, **more)
        service.choose(session, own)  # while the example is answered
        return found

    monkeypatch.setattr(service, "_watch", watched)
    page: Any = SimpleNamespace(session_hash="me")
    with caplog.at_level("INFO"):
        assert Handlers(service).arrive("tiny", "paper", 10, page) == (skip(),) * 3
    assert session.clip is not None
    assert str(session.clip.path) == own
    told = [r for r in caplog.records if r.name == Handlers.__module__]
    assert [(r.levelname, r.exc_info) for r in told] == [("INFO", None)]


# --- in a browser ----------------------------------------------------------------------------


def test_the_first_example_is_answered_on_arrival(chromium, llm):
    with running(llm, arrival=True) as site, Visitor(chromium, site.url) as visitor:
        page = visitor.page
        page.wait_for_selector("#fvl-result .fvl-said")
        assert page.inner_text("#fvl-result .fvl-said") == "red"
        assert page.input_value("#fvl-question textarea, #fvl-question input") == STAR
        visitor.wait_for_clip()
        assert page.inner_text("#fvl-result .fvl-said") == "red"  # the clip's arrival leaves it
        page.fill("#fvl-follow textarea, #fvl-follow input", MOON)
        page.click("#fvl-send")
        page.wait_for_selector(".fvl-talk li:not([aria-busy])")
        assert MOON in page.inner_text(".fvl-talk")
        assert page.input_value("#fvl-follow textarea, #fvl-follow input") == ""
        page.click("#fvl-stop")  # where nothing is under way it does nothing
        page.screenshot(path=str(shot("page-on-arrival.png")), full_page=True)
        assert not visitor.errors


def test_an_address_and_a_stretch_on_the_page(chromium, llm, clips, monkeypatch):
    allow_private(monkeypatch)
    with running(llm) as site, Visitor(chromium, site.url) as visitor:
        page = visitor.page
        page.fill("#fvl-address textarea, #fvl-address input", f"{clips}/none.mp4")
        page.click("#fvl-fetch")
        page.wait_for_selector("#fvl-status .fvl-error")
        page.fill("#fvl-address textarea, #fvl-address input", f"{clips}/star.mp4")
        page.click("#fvl-fetch")
        visitor.wait_for_clip()
        page.click("#fvl-more button")
        page.fill("#fvl-start textarea, #fvl-start input", "0:04")
        visitor.ask(MOON)
        page.wait_for_selector("#fvl-result .fvl-said")
        first = float(page.get_attribute("#fvl-result [data-second]", "data-second"))
        assert first >= 4


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """axe-core, from npm; pages are read by it, and nothing of it is kept."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "axe-core@4.10.3", "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        (packed,) = folder.glob("*.tgz")
        subprocess.run(["tar", "-xzf", packed, "-C", folder], check=True)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        pytest.skip(f"axe-core cannot be had by npm: {error}")
    return (folder / "package" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_of_ours(scheme, chromium, llm, axe):
    """In either scheme: names, roles, contrast. Gradio's own parts are Gradio's affair."""
    with running(llm, arrival=True) as site:
        context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(site.url)
        page.wait_for_selector("#fvl-result .fvl-said", timeout=60_000)
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        ours = [
            (rule["id"], node["target"])
            for rule in found["violations"]
            for node in rule["nodes"]
            if any("fvl-" in str(target) for target in node["target"])
            and not any("#fvl-clip" in str(target) for target in node["target"])
        ]
        assert not ours
        paper = page.evaluate(
            "getComputedStyle(document.querySelector('.fvl-answer')).backgroundColor"
        )
        assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
        page.screenshot(path=str(shot(f"page-{scheme}.png")), full_page=True)
        context.close()


def shot(name: str) -> Path:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS / name
