"""The server as its clients see it: the same answers as in process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import io
import json
import logging
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import STAR, asked, serving

from free_video_llm import VideoLLM
from free_video_llm.samples import find
from media import make_gif, make_video

PLAN = {"plan": "uniform", "frames": 8}
SAMPLES = ("star", "steady", "glimpse")
QUESTIONS = ("What color is the star?", "Where is the moon?", "Is there a star?")


def in_process(llm: VideoLLM, question: str = STAR, video: str = "sample:star", **how: Any) -> str:
    return llm.watch(video, frames=8).ask(question, plan="uniform", **how).text


def messages(question: str = STAR, video: str = "sample:star") -> list[Any]:
    return asked(question, video)["messages"]


def test_the_official_client(client, tiny):
    for question in QUESTIONS:
        reply = client.chat.completions.create(model="tiny", messages=messages(question))
        assert reply.choices[0].message.content == in_process(tiny, question)
        assert reply.choices[0].finish_reason == "stop"
    answer = tiny.watch("sample:star", frames=8).ask(QUESTIONS[-1], plan="uniform")
    assert reply.usage.prompt_tokens == answer.prompt_tokens
    assert reply.usage.visual_tokens == len(answer.visual_tokens)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_the_official_client_streams(client, tiny):
    stream = client.chat.completions.create(
        model="tiny", messages=messages("What is in the video?"), stream=True, max_tokens=12,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    pieces = [
        c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content
    ]
    whole = in_process(tiny, "What is in the video?", max_new_tokens=12)
    assert "".join(pieces) == whole
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert chunks[-2].fvl["watched_before"] in (True, False)
    assert chunks[-1].usage.visual_tokens > 0


def test_the_official_client_without_blocking(made, tiny):
    openai = pytest.importorskip("openai")

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{made.url}/v1", api_key="none") as client:
            several = [
                client.chat.completions.create(model="tiny", messages=messages(question))
                for question in QUESTIONS
            ]
            return [r.choices[0].message.content for r in await asyncio.gather(*several)]

    assert asyncio.run(ask()) == [in_process(tiny, question) for question in QUESTIONS]


def test_curl(made, tiny):
    done = subprocess.run(
        ["curl", "--silent", "--fail", f"{made.url}/v1/chat/completions", "--json",
         json.dumps(asked())], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == in_process(tiny)


def test_turns_before_are_those_of_a_conversation(client, tiny):
    chat = tiny.watch("sample:star", frames=8).chat(plan="uniform")
    first, second = chat.ask(STAR).text, chat.ask("Where is the moon?").text
    turns = [*messages(), {"role": "assistant", "content": first},
             {"role": "user", "content": "Where is the moon?"}]  # fmt: skip
    reply = client.chat.completions.create(model="tiny", messages=turns)
    assert reply.choices[0].message.content == second
    stream = client.chat.completions.create(model="tiny", messages=turns, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == second


def test_a_video_that_is_sent(client, tiny):
    content = Path(find("sample:star")).read_bytes()
    video = "data:video/mp4;base64," + base64.b64encode(content).decode()
    create = client.chat.completions.create
    known = [
        create(model="tiny", messages=messages(video=video)).fvl["watched_before"] for _ in "ab"
    ]
    assert known == [False, True]  # by its content
    reply = create(model="tiny", messages=messages(video=video))
    assert reply.choices[0].message.content == in_process(tiny)


def pictures_of(sample: str, count: int) -> list[np.ndarray]:
    import av

    with av.open(find(sample)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[i * len(frames) // count] for i in range(count)]


def png(pixels: np.ndarray) -> str:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def test_pictures_in_order(client, tiny, tmp_path):
    pictures = pictures_of("sample:star", 6)
    parts = [{"type": "image_url", "image_url": {"url": png(p)}} for p in pictures]
    body = [{"role": "user", "content": [*parts, {"type": "text", "text": STAR}]}]
    reply = client.chat.completions.create(
        model="tiny", messages=body, extra_body={"fvl": {"plan": "uniform-3"}}
    )
    whole = tiny.watch([Image.fromarray(p) for p in pictures], frames=8)
    assert reply.choices[0].message.content == whole.ask(STAR, plan="uniform-3").text
    assert len(reply.fvl["kept_seconds"]) == 3


def test_an_animation_is_a_video(client, tmp_path):
    content = make_gif(tmp_path / "a.gif", frames=10).read_bytes()
    url = "data:image/gif;base64," + base64.b64encode(content).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    body = [{"role": "user", "content": [part, {"type": "text", "text": STAR}]}]
    reply = client.chat.completions.create(
        model="tiny", messages=body, extra_body={"fvl": {"plan": "slowfast", "evidence": True}}
    )
    assert reply.fvl["evidence"]["total_frames"] == 10
    assert "source" not in reply.fvl["evidence"]


def test_our_own_options(client, tiny):
    ours = {"plan": "lean", "fps": 4, "start": 1, "end": "0:04", "options": ["blue", "red"],
            "choose": "letters", "evidence": True}  # fmt: skip
    reply = client.chat.completions.create(
        model="tiny", messages=messages(), extra_body={"fvl": ours}
    )
    video = tiny.watch("sample:star", fps=4, ranges=[(1, 4)])
    answer = video.ask(STAR, plan="lean", options=["blue", "red"], choose="letters")
    assert reply.choices[0].message.content == answer.text
    assert reply.fvl["probabilities"] == pytest.approx(answer.probabilities)
    assert reply.fvl["evidence"]["sampled"]["seconds"] == pytest.approx(
        answer.evidence.frames.seconds.tolist(), abs=1e-3
    )
    assert reply.fvl["plan"] == "lean"


def test_subtitles_that_are_sent(client):
    words = "1\n00:00:00,000 --> 00:00:09,000\nThe star is called Vega.\n"
    reply = client.chat.completions.create(
        model="tiny", messages=messages(), extra_body={"fvl": {"subtitles": words, "evidence": 1}}
    )
    assert [line["text"] for line in reply.fvl["evidence"]["said"]] == ["The star is called Vega."]


def test_instructions_are_read_and_do_not_choose_frames(client):
    body = [{"role": "system", "content": "Answer in one word."}, *messages()]
    create, ours = client.chat.completions.create, {"fvl": {"plan": "prompt-3"}}
    told = create(model="tiny", messages=body, extra_body=ours)
    untold = create(model="tiny", messages=messages(), extra_body=ours)
    assert told.usage.prompt_tokens > untold.usage.prompt_tokens
    assert told.fvl["kept_seconds"] == untold.fvl["kept_seconds"]


def test_what_waits_together_is_answered_together(made, client, tiny):
    """The first holds the engine until the others wait."""
    engine = made.desk.engine
    entered, go = threading.Event(), threading.Event()
    use = engine.models.use

    def held(name: str) -> Any:
        entered.set()
        assert go.wait(60)
        return use(name)

    engine.models.use = held
    try:
        with ThreadPoolExecutor(4) as pool:
            create = client.chat.completions.create
            first = pool.submit(create, model="tiny", messages=messages())
            assert entered.wait(60)
            others = [
                pool.submit(create, model="tiny", messages=messages(question, f"sample:{sample}"))
                for question, sample in zip(QUESTIONS, SAMPLES, strict=False)
            ]
            while engine.waiting < 3 and not any(other.done() for other in others):
                time.sleep(0.01)
            go.set()
            assert first.result().fvl["answered_together"] == 1
            replies = [other.result() for other in others]
    finally:
        engine.models.use = use
    assert [reply.fvl["answered_together"] for reply in replies] == [3, 3, 3]
    for question, sample, reply in zip(QUESTIONS, SAMPLES, replies, strict=True):
        alone = in_process(tiny, question, f"sample:{sample}")
        assert reply.choices[0].message.content == alone


def test_one_that_fails_leaves_the_others(made, tiny, monkeypatch):
    from free_video_llm.serve import engine as module

    whole = module.answer_together

    def fails(llm: Any, videos: Any, calls: Any) -> Any:
        if any("Is there" in call.question for call in calls):
            raise MemoryError
        return whole(llm, videos, calls)

    monkeypatch.setattr(module, "answer_together", fails)
    jobs = [job_of(made, question) for question in QUESTIONS]
    made.desk.engine._answer(jobs)
    assert [job.future.result().answer.text for job in jobs[:2]] == [
        in_process(tiny, question) for question in QUESTIONS[:2]
    ]
    assert isinstance(jobs[2].future.exception(), MemoryError)


def job_of(made: Any, question: str) -> Any:
    from free_video_llm.serve.calls import read_call
    from free_video_llm.serve.engine import Job

    call = read_call(asked(question), made.desk.settings)
    return Job(call, made.desk.sources.locate(call.addresses, pictures=False))


def test_more_than_the_queue_holds_are_told_to_come_again(tiny):
    from free_video_llm.serve.settings import Bounds

    openai = pytest.importorskip("openai")
    with serving(tiny, bounds=Bounds(queue=1)) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
        with made.desk.place():
            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(model="tiny", messages=messages())
            assert refused.value.response.headers["retry-after"] == "1"
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model="tiny", messages=messages(), stream=True)
        assert client.chat.completions.create(model="tiny", messages=messages()).choices


def test_who_goes_away_is_not_answered(made, tiny):
    """A job that is cancelled before its turn costs nothing."""
    job = job_of(made, STAR)
    job.cancelled.set()
    made.desk.engine.submit(job)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        job.future.result(60)
    assert job.future.cancelled()


def test_a_stream_that_is_left_is_stopped(made):
    from free_video_llm.serve.answering import answer_alone

    job = job_of(made, "What is in the video?")
    pieces: list[str] = []

    def heard(text: str) -> None:
        pieces.append(text)
        job.cancelled.set()

    llm = made.desk.engine.models.loaded("tiny")
    video = llm.watch("sample:star", frames=8)
    answer = answer_alone(llm, video, job.call, on_text=heard, cancelled=job.cancelled)
    whole = video.ask("What is in the video?", plan="uniform")
    assert len(answer.token_ids) <= len(whole.token_ids)
    assert whole.text.startswith(answer.text)


def test_a_stream_that_never_begins_gives_its_place_back(made):
    """Whoever asked went away before the first piece could be sent."""
    from free_video_llm.serve.app import streamed

    async def rest() -> Any:
        yield "data: x\n\n"

    held = contextlib.ExitStack()
    held.enter_context(made.desk.place())
    response = streamed([], rest(), held)
    assert made.desk.under_way == 1
    del response
    gc.collect()
    assert made.desk.under_way == 0


def test_videos_are_let_go_for_others(tiny):
    from free_video_llm.serve.settings import Bounds

    openai = pytest.importorskip("openai")
    with serving(tiny, bounds=Bounds(memory_bytes=1)) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none")
        for _ in "ab":
            reply = client.chat.completions.create(model="tiny", messages=messages())
            assert reply.fvl["watched_before"] is False
        assert len(made.desk.engine.watched) == 0


def test_a_model_that_is_not_offered(client):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.NotFoundError, match="unknown model"):
        client.chat.completions.create(model="gpt-4o", messages=messages())
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


def test_health_and_metrics(made, client):
    import urllib.request

    client.chat.completions.create(model="tiny", messages=messages())

    def read(path: str) -> str:
        with urllib.request.urlopen(made.url + path) as reply:
            return reply.read().decode()

    assert json.loads(read("/health")) == {"status": "ok"}
    assert json.loads(read("/ready"))["ready"] is True
    text = read("/metrics")
    assert 'fvl_requests_total{path="/v1/chat/completions",status="200"}' in text
    assert "fvl_answer_seconds_count" in text
    assert 'fvl_tokens_total{kind="visual"}' in text
    assert 'fvl_videos_total{watched="before"}' in text


def test_requests_have_names_and_the_log_says_nothing_of_what_was_asked(client, caplog):
    from free_video_llm.serve.server import JsonLines, Words

    with caplog.at_level(logging.INFO, "free_video_llm"):
        raw = client.chat.completions.with_raw_response.create(
            model="tiny", messages=messages("What is the secret?"),
            extra_headers={"X-Request-Id": "my-name_1"},
        )  # fmt: skip
    assert raw.headers["x-request-id"] == "my-name_1"
    (record,) = [r for r in caplog.records if getattr(r, "about", {}).get("id") == "my-name_1"]
    line = json.loads(JsonLines().format(record))
    assert (line["path"], line["status"], line["model"]) == ("/v1/chat/completions", 200, "tiny")
    assert line["visual_tokens"] > 0
    assert "secret" not in JsonLines().format(record) + Words().format(record)


def test_a_wrong_name_of_a_request_is_not_repeated(client):
    raw = client.models.with_raw_response.list(extra_headers={"X-Request-Id": "a b\tc"})
    assert raw.headers["x-request-id"] != "a b\tc"


def test_a_server_that_stops_finishes_what_it_answers(tiny):
    openai = pytest.importorskip("openai")
    entered, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with serving(tiny) as made:
            use = made.desk.engine.models.use

            def held(name: str) -> Any:
                entered.set()
                assert go.wait(60)
                return use(name)

            made.desk.engine.models.use = held
            client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
            reply = pool.submit(client.chat.completions.create, model="tiny", messages=messages())
            assert entered.wait(60)
            threading.Timer(0.2, go.set).start()  # after the server has been told to stop
        assert reply.result().choices[0].message.content == in_process(tiny)


def test_a_file_below_a_folder_that_is_allowed(tiny, tmp_path):
    from free_video_llm.serve.settings import Reach

    openai = pytest.importorskip("openai")
    video = make_video(tmp_path / "v.mp4", frames=8)
    with serving(tiny, reach=Reach(folders=(tmp_path,))) as made:
        client = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none")
        create = client.chat.completions.create
        for name in ("v.mp4", str(video), f"file://{video}"):
            assert create(model="tiny", messages=messages(video=name)).choices
        make_video(video, frames=9)
        reply = create(model="tiny", messages=messages(video="v.mp4"))
        assert reply.fvl["watched_before"] is False  # it is another file now
