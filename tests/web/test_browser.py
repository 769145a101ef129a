"""The page as people meet it, in a real Chromium: by mouse, by keyboard, on a telephone, by two."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import running
from visitor import PLAYER, QUESTION, SCREENSHOTS, Visitor

from free_video_llm.samples import find
from media import make_video

COLOR, MOON = "What color is the star?", "Where is the moon?"
BAD = "<img src=x onerror='window.hacked=1'> ${1 + 1} {{this}} <script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def server(llm, chromium) -> Iterator[Any]:
    with running(llm, models=("tiny", "llava-hf/llava-1.5-7b-hf")) as made:
        yield made


@pytest.fixture
def visitor(server, chromium) -> Iterator[Visitor]:
    with Visitor(chromium, server.url) as visitor:
        yield visitor
        assert visitor.outside() == []
        assert visitor.errors == []


def files(server) -> list[Path]:
    return [p for p in server.service.sessions.uploads.folder.rglob("*") if p.is_file()]


def test_upload_ask_and_ask_again_without_encoding(visitor, server, tmp_path: Path):
    mine = Path(shutil.copy(find("sample:star"), tmp_path / "my holiday.mp4"))
    visitor.upload(mine)
    visitor.wait_for_clip()
    assert "my holiday.mp4 7.5 s, 320×240" in visitor.page.text_content("#fvl-facts")
    assert "tiny knows only its own world" in visitor.page.text_content("#fvl-notice")
    visitor.ask(COLOR)
    assert visitor.answer_to(COLOR) == "red"
    assert visitor.fact("encoded") == "true"
    first = float(visitor.fact("seconds"))
    shown = " | ".join(visitor.page.evaluate("window.shown"))
    assert "Reading frames" in shown
    assert "Looking at frames" in shown
    (session,) = server.service.sessions._sessions.values()
    watched = session.watched[1]

    visitor.ask(MOON)
    assert visitor.answer_to(MOON) == "top right"
    assert visitor.fact("encoded") == "false"
    assert float(visitor.fact("seconds")) < first
    assert session.watched[1] is watched
    assert COLOR in visitor.page.text_content(".fvl-asked")
    visitor.screenshot(SCREENSHOTS / "web-desktop.png")
    assert visitor.too_wide() == []


def test_frames_and_marks_move_the_player(visitor):
    visitor.example("star")
    visitor.ask(COLOR)
    visitor.answer_to(COLOR)
    assert visitor.page.locator(".fvl-thumb").count() == 8
    assert visitor.page.locator(".fvl-lane >> nth=0").locator("button").count() == 50
    mark = ".fvl-lane >> nth=2 >> button >> nth=3"
    for place in (".fvl-thumb >> nth=5", ".fvl-small >> nth=9", mark):
        second = float(visitor.page.get_attribute(place, "data-second"))
        visitor.page.click(place)
        visitor.wait_for_player_at(second)
        assert "fvl-here" in visitor.page.get_attribute(place, "class")
    plot = visitor.page.locator(".fvl-plot").bounding_box()
    visitor.page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + plot["height"] / 2)
    visitor.page.wait_for_function(
        f"Math.abs(document.querySelector('{PLAYER}').currentTime - 3.75) < 0.1"
    )
    now = visitor.page.locator(".fvl-now").bounding_box()
    assert now["x"] == pytest.approx(plot["x"] + plot["width"] / 2, abs=8)


def test_keyboard_alone_is_enough(visitor, tmp_path: Path):
    page = visitor.page

    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(outline) != "none"
                return
        raise AssertionError(f"the Tab key does not come to {selector}")

    tab_to("#fvl-clip button")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(find("sample:crossing")))
    visitor.wait_for_clip()
    tab_to(QUESTION)
    page.keyboard.type("What color is the circle?")
    page.keyboard.press("Enter")
    assert visitor.answer_to("What color is the circle?") == "green"
    tab_to(".fvl-lane button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    second = float(page.evaluate("document.activeElement.dataset.second"))
    assert second == float(page.get_attribute(".fvl-lane button >> nth=2", "data-second"))
    page.keyboard.press("Enter")
    visitor.wait_for_player_at(second)
    assert "Player at" in page.text_content("#fvl-live")
    tab_to(".fvl-thumb:last-child")
    second = float(page.evaluate("document.activeElement.dataset.second"))
    page.keyboard.press("Space")
    visitor.wait_for_player_at(second)
    tab_to("#fvl-compare > button, #fvl-compare .label-wrap")
    page.keyboard.press("Enter")
    tab_to("#fvl-compare-button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".fvl-table")


def test_plans_side_by_side_and_downloads(visitor, tmp_path: Path):
    visitor.example("needle")
    question = "What color is the diamond?"
    visitor.ask(question)
    visitor.answer_to(question)
    visitor.page.click("#fvl-compare .label-wrap")
    visitor.page.click("#fvl-compare-button")
    visitor.page.wait_for_selector(".fvl-table")
    rows = visitor.page.locator(".fvl-table tbody tr")
    assert [rows.nth(n).locator("th").text_content() for n in range(rows.count())] == [
        "paper", "slowfast", "uniform"
    ]  # fmt: skip
    assert rows.nth(0).locator("td").all_text_contents()[0] == "1,240"
    assert rows.nth(0).locator("td").all_text_contents()[2] == "yellow"
    visitor.page.wait_for_function(
        "document.querySelector('.fvl-picture img').naturalWidth === 1200"
    )
    visitor.screenshot(SCREENSHOTS / "web-desktop-plans.png")
    assert visitor.too_wide() == []
    got = {}
    for link in (*visitor.page.locator("#fvl-result .fvl-downloads a").all(),
                 *visitor.page.locator("#fvl-comparison .fvl-downloads a").all()):  # fmt: skip
        with visitor.page.expect_download() as download:
            link.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        got[path.name] = path.read_bytes()
    assert got["why.png"][:4] == got["plans.png"][:4] == b"\x89PNG"
    assert got["why.pdf"][:5] == got["plans.pdf"][:5] == b"%PDF-"
    assert b"<svg" in got["why.svg"][:600]
    document = json.loads(got["why.json"])
    assert document["question"] == question
    assert document["answer"] == "yellow"
    assert document["evidence"]["source"] == "needle.mp4"
    assert document["tokens"]["visual"] == 1240
    assert len(json.loads(got["plans.json"])["answers"]) == 3


def test_errors_are_sentences_and_the_page_goes_on(visitor, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video " * 100)
    visitor.upload(broken)
    visitor.page.wait_for_selector("#fvl-status .fvl-error")
    assert "broken.mp4: is not a video" in visitor.error()
    assert str(tmp_path) not in visitor.error()
    visitor.screenshot(SCREENSHOTS / "web-desktop-error.png")
    visitor.page.click("#fvl-clip .top-panel button[aria-label='Clear']")
    visitor.page.wait_for_selector("#fvl-status .fvl-error", state="detached")
    visitor.ask(COLOR)
    visitor.page.wait_for_selector("#fvl-status .fvl-error")
    assert "There is no clip yet" in visitor.error()
    visitor.example("star")
    visitor.ask(" ")
    visitor.page.wait_for_selector("#fvl-status .fvl-error")
    assert "The question is empty" in visitor.error()
    visitor.page.fill("#fvl-plan input", "nonsense")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#fvl-plan-facts .fvl-error")
    visitor.ask(COLOR)
    visitor.page.wait_for_function(
        "document.querySelector('#fvl-status .fvl-error')?.textContent.includes('nonsense')"
    )
    visitor.page.fill("#fvl-plan input", "all=all/concat")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#fvl-plan-facts .fvl-error", state="detached")
    visitor.ask(COLOR)
    visitor.page.wait_for_function(
        "document.querySelector('#fvl-status .fvl-error')?.textContent.includes('7,200 tokens')"
    )
    visitor.page.fill("#fvl-plan input", "paper")
    visitor.page.keyboard.press("Enter")
    visitor.ask(COLOR)
    assert visitor.answer_to(COLOR) == "red"
    assert "Traceback" not in visitor.page.content()


def test_what_is_written_by_people_is_not_run(visitor):
    visitor.example("star")
    visitor.page.click("#fvl-more .label-wrap")
    visitor.page.fill("#fvl-options textarea", f"{BAD}\nred")
    visitor.ask(BAD)
    visitor.answer_to(BAD)
    assert visitor.page.text_content(".fvl-choices li >> nth=0") == BAD
    visitor.ask(COLOR)
    visitor.answer_to(COLOR)
    assert BAD in visitor.page.text_content(".fvl-asked")
    assert visitor.page.evaluate("window.hacked") is None
    assert visitor.page.locator("#fvl-result img[src=x]").count() == 0


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(visitor, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    visitor.example("star")
    visitor.page.click("#fvl-model input")
    visitor.page.click("text=llava-hf/llava-1.5-7b-hf")
    visitor.page.wait_for_selector("#fvl-status .fvl-error")
    assert "llava-1.5-7b-hf" in visitor.error()
    visitor.page.wait_for_function("document.querySelector('#fvl-model input').value === 'tiny'")
    visitor.ask(COLOR)
    assert visitor.answer_to(COLOR) == "red"


#: Counts the pieces with pictures that the browser's recorder has given out.
NOTE_RECORDING = """() => {
  const start = MediaRecorder.prototype.start;
  window.pieces = 0;
  MediaRecorder.prototype.start = function (...args) {
    this.addEventListener('dataavailable', event => { window.pieces += event.data.size > 1000; });
    window.recorder = this;
    return start.apply(this, args);
  };
}"""
RECORDED = """() => {
  if (window.recorder?.state === 'recording') window.recorder.requestData();
  return window.pieces >= 3;
}"""


def test_a_recording_can_be_asked_about(visitor, server):
    visitor.page.click("#fvl-clip button[aria-label='Capture from camera']")
    visitor.page.click("#fvl-clip >> text=Click to Access Webcam")
    visitor.page.wait_for_function(f"document.querySelector('{PLAYER}').currentTime > 0")
    visitor.page.evaluate(NOTE_RECORDING)
    visitor.page.click("#fvl-clip >> text=Record")
    # As much as there has to be in it, and not for so long: a busy machine begins late.
    visitor.page.wait_for_function(RECORDED, polling=300)
    visitor.page.click("#fvl-clip >> text=Stop")
    visitor.page.wait_for_selector("#fvl-facts .fvl-facts, #fvl-status .fvl-error")
    assert visitor.page.query_selector("#fvl-status .fvl-error") is None, visitor.error()
    visitor.ask("Is there a circle?")
    assert visitor.answer_to("Is there a circle?") in ("yes", "no")


def test_a_clip_that_the_browser_cannot_play_can_be_asked_about(visitor, tmp_path: Path):
    visitor.upload(make_video(tmp_path / "old.avi", codec="mpeg4"))
    visitor.page.wait_for_selector("#fvl-facts .fvl-facts")
    visitor.ask("Is there a star?")
    assert visitor.answer_to("Is there a star?") in ("yes", "no")
    visitor.page.click(".fvl-thumb >> nth=0")
    visitor.page.wait_for_selector("#fvl-live >> text=This browser cannot play", state="attached")


def test_two_people_at_once_get_their_own_answers(server, chromium):
    with Visitor(chromium, server.url) as one, Visitor(chromium, server.url) as other:
        one.example("star")
        other.example("crossing")
        one.page.fill(QUESTION, COLOR)
        other.page.fill(QUESTION, "What color is the circle?")
        one.page.click("#fvl-ask", no_wait_after=True)
        other.page.click("#fvl-ask", no_wait_after=True)
        assert other.answer_to("What color is the circle?") == "green"
        assert one.answer_to(COLOR) == "red"
        assert "star" in one.page.text_content("#fvl-facts")
        assert "crossing" in other.page.text_content("#fvl-facts")
        assert COLOR not in other.page.content().split('id="fvl-result"')[1]


def test_a_clip_is_deleted_when_its_page_is_closed(server, chromium, tmp_path: Path):
    mine = Path(shutil.copy(find("sample:cuts"), tmp_path / "secret.mp4"))
    with Visitor(chromium, server.url) as leaving:
        leaving.upload(mine)
        leaving.wait_for_clip()
        assert [p.name for p in files(server)].count("secret.mp4") == 1
        leaving.page.click("#fvl-clip .top-panel button[aria-label='Clear']")
        leaving.page.wait_for_selector("#fvl-facts .fvl-facts", state="detached")
        assert "secret.mp4" not in [p.name for p in files(server)]
        leaving.upload(mine)
        leaving.wait_for_clip()
        assert "secret.mp4" in [p.name for p in files(server)]
    with Visitor(chromium, server.url) as staying:
        staying.page.wait_for_function("true")
        for _ in range(200):
            if "secret.mp4" not in [p.name for p in files(server)]:
                break
            staying.page.wait_for_timeout(50)
        assert "secret.mp4" not in [p.name for p in files(server)]


def test_a_telephone_s_width(server, chromium):
    with Visitor(chromium, server.url, width=390, height=844) as visitor:
        assert visitor.too_wide() == []
        visitor.screenshot(SCREENSHOTS / "web-phone-start.png")
        visitor.example("star")
        assert visitor.too_wide() == []
        visitor.ask(COLOR)
        visitor.answer_to(COLOR)
        assert visitor.too_wide() == []
        # The answer is below the form: it has been brought into sight.
        visitor.page.wait_for_function(
            "(() => { const b = document.querySelector('.fvl-said').getBoundingClientRect();"
            " return b.top >= 0 && b.bottom <= innerHeight; })()"
        )
        visitor.page.click(".fvl-thumb >> nth=4")
        visitor.page.wait_for_function(
            f"(() => {{ const b = document.querySelector('{PLAYER}').getBoundingClientRect();"
            " return b.top >= 0 && b.bottom <= innerHeight; })()"
        )
        visitor.page.click("#fvl-compare .label-wrap")
        visitor.page.click("#fvl-compare-button")
        visitor.page.wait_for_selector(".fvl-table")
        visitor.page.wait_for_function("document.querySelector('.fvl-picture img').naturalWidth")
        assert visitor.too_wide() == []
        visitor.screenshot(SCREENSHOTS / "web-phone.png")
        assert visitor.outside() == []
