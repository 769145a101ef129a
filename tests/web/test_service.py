"""The page's verbs without the page: what is watched anew and what is not, and every refusal."""

from __future__ import annotations

import threading

import pytest

from free_video_llm import ConfigError, PlanError, VideoError, VideoLLM
from free_video_llm.web.limits import Limits
from free_video_llm.web.models import Models
from free_video_llm.web.progress import Running
from free_video_llm.web.service import Service, Wish
from free_video_llm.web.sessions import Sessions
from media import make_video

COLOR = Wish(question="What color is the star?", model="tiny", frames=50)


def quiet(step: str, done: int, total: int) -> None:
    """Progress for nobody."""


@pytest.fixture
def service(uploads, llm) -> Service:
    return Service(
        Sessions(uploads, Limits()), Models(["tiny", "twin"], lambda name: llm), Limits()
    )


def test_a_clip_is_watched_once_for_all_questions(service, upload):
    session = service.sessions.get("a")
    clip = service.choose(session, str(upload("sample:star")))
    assert (clip.sample, clip.width, clip.seconds) == ("star", 320, pytest.approx(7.5))
    steps = []
    first = service.ask(session, COLOR, "paper", lambda *step: steps.append(step))
    assert first.watched
    assert first.answers[0].text == "red"
    assert ("decode", 50, 50) in steps
    assert ("encode", 50, 50) in steps
    assert steps[-1] == ("answer", 0, 1)
    watched = session.watched
    moon = Wish(question="Where is the moon?", model="tiny", frames=50)
    second = service.ask(session, moon, "paper-small", quiet)
    assert not second.watched
    assert session.watched is watched
    assert second.answers[0].timings.encode == first.answers[0].timings.encode
    assert [asked.answer for asked in session.asked] == [second.answers[0].text, "red"]


def test_frames_model_and_pixels_are_watched_anew(service, upload):
    session = service.sessions.get("a")
    service.choose(session, str(upload("sample:star")))
    wishes = [
        (COLOR, "paper", True),
        (Wish(question="Is there a moon?", model="tiny", frames=20), "paper", True),
        (Wish(question="Is there a moon?", model="twin", frames=20), "paper", True),
        (Wish(question="Is there a star?", model="twin", frames=20), "paper@released", True),
        (Wish(question="Is there a ring?", model="twin", frames=20), "paper@released", False),
    ]
    for wish, plan, anew in wishes:
        assert service.ask(session, wish, plan, quiet).watched is anew


def test_choosing_the_same_file_again_changes_nothing(service, upload):
    session = service.sessions.get("a")
    path = upload("sample:star")
    clip = service.choose(session, str(path))
    service.ask(session, COLOR, "paper", quiet)
    assert service.choose(session, str(path)) is clip
    assert session.watched is not None
    assert service.choose(session, None) is None
    assert not path.exists()


def test_a_sample_is_known_by_content_and_name(service, upload):
    session = service.sessions.get("a")
    assert service.choose(session, str(upload("sample:star", "holiday.mp4"))).sample is None
    assert service.choose(session, str(upload("sample:star", "needle.mp4"))).sample is None
    assert service.choose(session, str(upload("sample:star"))).sample == "star"


def test_a_bad_file_leaves_no_clip_and_no_file(service, upload, tmp_path):
    session = service.sessions.get("a")
    good = upload("sample:star")
    service.choose(session, str(good))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    bad = upload(text)
    with pytest.raises(VideoError, match=r"^text\.mp4: is not a video"):
        service.choose(session, str(bad))
    assert session.clip is None
    assert not good.exists()
    assert not bad.exists()
    with pytest.raises(ConfigError, match="no clip yet"):
        service.ask(session, COLOR, "paper", quiet)


def test_a_clip_that_does_not_say_how_long_it_is_is_refused_when_read(
    uploads, upload, llm, tmp_path
):
    limits = Limits(clip_seconds=5)
    service = Service(Sessions(uploads, limits), Models(["tiny"], lambda name: llm), limits)
    session = service.sessions.get("a")
    path = make_video(tmp_path / "live.mkv", rate=10, container_options={"live": "1"})
    assert service.choose(session, str(upload(path))).seconds == 0
    with pytest.raises(VideoError, match=r"^live\.mkv is 6\.0 s long; at most 5\.0 s"):
        service.ask(session, COLOR, "paper", quiet)
    assert session.watched is None


def test_refusals(service, upload):
    session = service.sessions.get("a")
    service.choose(session, str(upload("sample:star")))
    with pytest.raises(ConfigError, match="the question is empty"):
        service.ask(session, Wish(question=" ", model="tiny", frames=50), "paper", quiet)
    with pytest.raises(ConfigError, match="unknown model"):
        service.ask(session, Wish(question="Who?", model="/etc", frames=50), "paper", quiet)
    with pytest.raises(PlanError, match="cannot read the plan 'nonsense'"):
        service.ask(session, COLOR, "nonsense", quiet)
    with pytest.raises(ConfigError, match="makes 7,200 tokens of 50 frames"):
        service.ask(session, COLOR, "all=all/concat", quiet)
    with pytest.raises(ConfigError, match="makes 33,554,432 tokens"):
        service.ask(session, COLOR, "a=prompt:2/adaptive_2d_pool:4096x4096", quiet)
    with pytest.raises(ConfigError, match="2 to 6 plans"):
        service.compare(session, COLOR, ["paper"], quiet)
    with pytest.raises(ConfigError, match="from 1 to 200"):
        service.ask(session, Wish(question="Who?", model="tiny", frames=1e9), "paper", quiet)


def test_plans_are_compared_on_one_watching(service, upload):
    session = service.sessions.get("a")
    service.choose(session, str(upload("sample:needle")))
    wish = Wish(question="What color is the diamond?", model="tiny", frames=50)
    reply = service.compare(session, wish, ["paper", "uniform-3", "prompt-3"], quiet)
    assert [answer.plan.name for answer in reply.answers] == ["paper", "uniform-3", "prompt-3"]
    assert [answer.evidence.tokens for answer in reply.answers] == [1240, 216, 216]
    assert reply.answers[0].text == "yellow"
    assert len(service.sessions.find_result(reply.result)) == 3
    assert not service.ask(session, wish, "paper", quiet).watched


def test_sessions_that_ask_at_once_get_their_own_answers(service, upload):
    wishes = {
        "a": ("star", "What color is the star?", "red"),
        "b": ("crossing", "What color is the circle?", "green"),
        "c": ("needle", "What color is the diamond?", "yellow"),
        "d": ("cuts", "What shape is the pink object?", "moon"),
    }
    for name, (clip, _, _) in wishes.items():
        service.choose(service.sessions.get(name), str(upload(f"sample:{clip}")))
    got: dict[str, list[str]] = {name: [] for name in wishes}
    start = threading.Barrier(len(wishes))

    def visit(name: str) -> None:
        wish = Wish(question=wishes[name][1], model="tiny", frames=50)
        start.wait()
        for _ in range(3):
            reply = service.ask(service.sessions.get(name), wish, "paper", quiet)
            got[name].append(reply.answers[0].text)

    threads = [threading.Thread(target=visit, args=(name,)) for name in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {name: [answer] * 3 for name, (_, _, answer) in wishes.items()}


def test_an_answer_to_a_clip_that_was_changed_meanwhile_is_dropped(service, upload):
    session = service.sessions.get("a")
    service.choose(session, str(upload("sample:star")))
    other = str(upload("sample:cuts"))

    def change(step: str, done: int, total: int) -> None:
        if step == "answer":
            service.choose(session, other)

    with pytest.raises(ConfigError, match="the clip was changed"):
        service.ask(session, COLOR, "paper", change)
    assert session.asked == []
    assert session.results == {}


def test_running_gives_the_steps_and_raises_what_was_raised():
    def work(report) -> str:
        report("decode", 1, 2)
        report("answer", 0, 1)
        return "done"

    running = Running(work)
    steps = list(running)
    assert steps[0] == {"decode": (1, 2)}
    assert steps[-1] == {"decode": (1, 2), "answer": (0, 1)}
    assert running.result() == "done"

    def fail(report) -> VideoLLM:
        raise PlanError("no")

    failing = Running(fail)
    assert list(failing) == []
    with pytest.raises(PlanError, match="no"):
        failing.result()


def test_a_model_that_is_shown_pictures(uploads, upload):
    """The page's answer says what was shown; its parts are made as for any other."""
    pytest.importorskip("openai", reason="the extra server is not installed")
    from faulty_server import serve
    from free_video_llm.web import handlers, markup
    from seeing_server import look

    with serve(answer=look) as server:

        def load(name: str) -> VideoLLM:
            return VideoLLM.from_pretrained("openai:seer", base_url=server.url, scorer="tiny")

        served = Service(Sessions(uploads, Limits()), Models(["openai:seer"], load), Limits())
        session = served.sessions.get("a")
        served.choose(session, str(upload("sample:star")))
        wish = Wish(question="Is it dark?", model="openai:seer", frames=12)
        reply = served.ask(session, wish, "paper-small", quiet)
        both = served.compare(session, wish, ["prompt-3", "uniform"], quiet)
    (answer,) = reply.answers
    assert len(answer.pictures) == 6
    page = handlers.answer_page(reply, [])
    assert "patches" in page
    assert "Is it dark?" in page
    assert "<td>" in markup.comparison(both)
    (kept,) = served.sessions.find_result(reply.result)
    assert kept.to_dict() == answer.to_dict()
