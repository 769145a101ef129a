"""The page's HTML: buttons where they belong, and nothing that people wrote is taken for HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest

from free_video_llm.answer import Answer
from free_video_llm.picture.styles import marks_for
from free_video_llm.samples import find
from free_video_llm.web import markup
from free_video_llm.web.kept_frames import MOST_IN_STRIP, MOST_THUMBNAILS, kept_frames
from free_video_llm.web.service import Reply
from free_video_llm.web.sessions import Asked, Clip
from free_video_llm.web.timeline import timeline

BAD = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>&amp;"
VOID = {"img", "i", "br", "path", "polygon", "polyline", "rect", "circle"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Elements(HTMLParser):
    """Every element in order, with its own text; checks that tags are closed as opened."""

    found: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        self.found.append(element)
        if tag != "img":
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.found.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1].text += data

    def of_class(self, name: str) -> list[Element]:
        return [e for e in self.found if name in (e.attributes.get("class") or "").split()]


def parse(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    elements.close()
    assert elements.open == []
    return elements


@pytest.fixture(scope="module")
def video(llm):
    return llm.watch(find("sample:star"), frames=20)


@pytest.fixture(scope="module")
def answer(video) -> Answer:
    return video.ask("What color is the star?")


def test_the_timeline_has_a_button_for_every_sampled_and_kept_frame(answer):
    page = parse(timeline(answer))
    marks = page.of_class("fvl-mark")
    assert all(mark.tag == "button" and mark.attributes["type"] == "button" for mark in marks)
    lanes = page.of_class("fvl-lane")
    assert [lane.attributes["aria-label"] for lane in lanes] == [
        "sampled: 20 frames", "slow: 3 frames", "middle: 5 frames", "fast: 20 frames",
    ]  # fmt: skip
    assert [lane.attributes["role"] for lane in lanes] == ["group"] * 4
    seconds = [float(mark.attributes["data-second"]) for mark in marks]
    evidence = answer.evidence
    assert seconds[:20] == pytest.approx(evidence.frames.seconds, abs=1e-4)
    slow = sorted(kept.second for kept in evidence.pathways[0].kept)
    assert seconds[20:23] == pytest.approx(slow, abs=1e-4)
    # Where a mark stands is its share of the clip.
    for mark, second in zip(marks, seconds, strict=True):
        left = float(mark.attributes["style"].removeprefix("left:").removesuffix("%"))
        assert left == pytest.approx(100 * second / 7.5, abs=0.01)
    # One stop of the Tab key for each lane.
    assert sum(mark.attributes["tabindex"] == "0" for mark in marks) == 4
    label = marks[20].attributes["aria-label"]
    assert label.startswith(f"slow, {slow[0]:.1f}")
    assert label.endswith(": show it in the player")


def test_pathways_wear_the_pictures_colours_and_shapes(answer):
    page = parse(timeline(answer))
    marks = marks_for(["slow", "middle", "fast"])
    fills = [glyph.attributes["fill"] for glyph in page.of_class("fvl-glyph")]
    assert [fills.count(marks[name].color) for name in marks] == [1 + 3 + 3, 1 + 5 + 5, 1 + 20]
    triangles = [e for e in page.found if (e.attributes.get("points") or "").startswith("6,1 ")]
    assert len(triangles) == 1 + 3 + 3
    assert len(page.of_class("fvl-spot")) == 8  # the overview's are not on the curve


def test_thumbnails_of_the_kept_frames_with_time_similarity_and_region(answer):
    page = parse(kept_frames(answer))
    thumbs = page.of_class("fvl-thumb")
    kept = [k for part in answer.evidence.pathways[:2] for k in part.kept]
    assert [float(t.attributes["data-second"]) for t in thumbs] == pytest.approx(
        [k.second for k in kept], abs=1e-4
    )
    scores = [e.text for e in page.of_class("fvl-score")]
    assert scores == [f"{k.score:.3f}".replace("-", "−") for k in kept]
    frames = [e for e in page.found if e.tag == "path"]
    assert len(frames) == 2 * 8  # a light line under the coloured one
    assert frames[1].attributes["stroke"] == marks_for(["slow"])["slow"].color
    numbers = [float(n) for n in re.findall(r"[\d.]+", frames[1].attributes["d"])]
    left, top, right, bottom = kept[0].region
    assert (min(numbers[0::2]), max(numbers[0::2])) == pytest.approx((left, right), abs=1e-3)
    assert (min(numbers[1::2]), max(numbers[1::2])) == pytest.approx((top, bottom), abs=1e-3)
    assert len(page.of_class("fvl-small")) == MOST_IN_STRIP
    images = [e for e in page.found if e.tag == "img"]
    assert all(e.attributes["src"].startswith("data:image/jpeg;base64,") for e in images)


def test_whole_frames_and_more_than_can_be_shown(video):
    plain = parse(kept_frames(video.ask("Is there a star?", plan="uniform")))
    assert len(plain.of_class("fvl-thumb")) == 8
    assert [e for e in plain.found if e.tag == "path"] == []
    many = video.llm.watch(find("sample:star"), frames=60)
    page = kept_frames(many.ask("Is there a star?", plan="all=all/temporal_global_pool"))
    assert "Overview" in page
    page = kept_frames(many.ask("Is there a star?", plan="some=uniform:30/spatial_1d_max_pool"))
    assert len(parse(page).of_class("fvl-thumb")) == MOST_THUMBNAILS
    assert "and 6 more frames" in page


def test_a_clip_of_one_frame(llm, tmp_path):
    from media import make_video

    video = llm.watch(make_video(tmp_path / "one.mp4", frames=1))
    answer = video.ask("Is there a star?")
    page = parse(timeline(answer) + kept_frames(answer) + markup.tokens(answer))
    assert all(float(m.attributes["data-second"]) == 0.0 for m in page.of_class("fvl-mark"))


def test_nothing_that_people_wrote_is_html(answer):
    written = replace(
        answer,
        question=BAD,
        text=BAD,
        options=(BAD, "b"),
        warnings=(BAD,),
        plan=replace(answer.plan, name=BAD),
        evidence=replace(
            answer.evidence,
            pathways=tuple(replace(part, name=BAD) for part in answer.evidence.pathways[:1]),
        ),
    )
    reply = Reply((written, written), BAD, True)
    pieces = [
        markup.answer_card(reply),
        markup.comparison(reply),
        markup.asked_before([Asked(BAD, BAD, BAD)]),
        markup.clip_facts(Clip(find("sample:star"), BAD, 1.0, 2, 3)),
        markup.error(BAD),
        markup.plan_facts(answer.plan, BAD, frames=50, side=12),
        markup.tokens(written),
        timeline(written),
        kept_frames(written),
        markup.downloads(BAD, "why"),
    ]
    for piece in pieces:
        page = parse(piece)
        assert "script" not in {e.tag for e in page.found}
        assert not any(e.attributes.get("src") == "x" for e in page.found)
        assert not any(name.startswith("on") for e in page.found for name in e.attributes)
    card = parse(pieces[0])
    assert card.of_class("fvl-question")[0].text == BAD
    assert card.of_class("fvl-said")[0].text == BAD


def test_what_an_answer_cost(answer):
    times = replace(answer.timings, decode=0.5, encode=0.75, prompt=0.1, select=0.1, project=0.1,
                    prefill=0.1, generate=0.1)  # fmt: skip
    timed = replace(answer, timings=times)
    assert markup.cost(Reply((timed,), "r", True)) == (
        "Watched in 1.2 s, once for all questions; answered in 0.50 s."
    )
    assert markup.cost(Reply((timed, timed), "r", False)) == (
        "Answered in 1.0 s; the clip was watched before (1.2 s)."
    )
    assert markup.spent(Reply((timed,), "r", True)) == pytest.approx(1.75)
    assert markup.spent(Reply((timed,), "r", False)) == pytest.approx(0.5)


def test_progress_names_each_step_and_counts():
    page = parse(markup.progress({"decode": (50, 50), "encode": (20, 50)}))
    bars = [e for e in page.found if e.tag == "progress"]
    assert [(b.attributes["value"], b.attributes["max"]) for b in bars] == [
        ("50", "50"), ("20", "50"),
    ]  # fmt: skip
    spans = [e.text for e in page.found if e.tag == "span"]
    assert spans == ["Reading frames 50 of 50", "Looking at frames 20 of 50"]
    waiting = parse(markup.progress({"load": (0, 0)}))
    assert [e.attributes for e in waiting.found if e.tag == "progress"] == [
        {"aria-label": "Loading the model"}
    ]


def test_only_tiny_has_its_notice():
    assert "tiny knows only its own world" in markup.notice("tiny")
    assert markup.notice("llava-hf/llava-1.5-7b-hf") == ""


def test_a_silent_model_is_said_to_be(answer):
    assert "the model said nothing" in markup.said(replace(answer, text=" "))


def test_sentences():
    assert markup.sentence("what is\nwrong") == "What is wrong."
    assert markup.sentence("clip.mp4: is not a video") == "clip.mp4: is not a video."
    assert markup.sentence("Why?") == "Why?"
