"""Picture models from end to end: a server that looks at what it is shown, and everything that is
ours around it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faulty_server import serve
from free_video_llm import CheckpointError, ConfigError, FeatureCache, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.evaluation.report import make_report
from free_video_llm.evaluation.run_dir import find_run
from free_video_llm.models.choose import model_for
from free_video_llm.models.servers import SERVERS, running, server_of
from media import make_video
from seeing_server import frames_in, look, pictures_in

pytest.importorskip("openai", reason="the extra server is not installed")
COLOUR = "What color is the square?"
SHADES = {"red": (220, 30, 30), "yellow": (230, 220, 20), "blue": (20, 50, 230)}


def clip_of(folder: Path, colour: str) -> Path:
    """A square of one colour that wanders over grey."""

    def picture(number: int, width: int, height: int) -> np.ndarray:
        pixels = np.full((height, width, 3), 128, np.uint8)
        pixels[40:120, 10 + number : 90 + number] = SHADES[colour]
        return pixels

    return make_video(
        folder / f"{colour}.mp4", frames=60, width=320, height=240, picture=picture, rate=10
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {colour: clip_of(folder, colour) for colour in SHADES}


@pytest.fixture
def server() -> Iterator[Any]:
    with serve(answer=look) as made:
        yield made


@pytest.fixture
def llm(server) -> VideoLLM:
    return VideoLLM.from_pretrained("openai:seer", base_url=server.url, scorer="tiny")


def test_a_model_behind_a_server_sees_what_the_plan_keeps(llm, server, clips, tmp_path: Path):
    video = llm.watch(clips["red"], frames=12)
    answer = video.ask(COLOUR, plan="prompt-3")
    assert answer.text == "red"
    assert len(answer.pictures) == 3
    sent = pictures_in(server.seen[0])
    assert [words for words, _ in sent] == [picture.words for picture in answer.pictures]
    assert [pixels.shape for _, pixels in sent] == [(240, 320, 3)] * 3
    kept = [kept.second for kept in answer.evidence.pathways[0].kept]
    assert [words for words, _ in sent] == [f"Frame at {second:.1f} s:" for second in kept]
    assert (answer.prompt_tokens, answer.answer_tokens, answer.cost) == (200, 12, 0.0015)
    assert answer.evidence.unit == "patches"
    assert "3 pictures" in repr(answer)
    data = answer.to_dict()
    assert data["pictures"] == [words for words, _ in sent]
    assert (data["tokens"]["visual"], data["tokens"]["answer"], data["cost"]) == (0, 12, 0.0015)
    assert data["evidence"]["unit"] == "patches"
    assert answer.save_picture(tmp_path / "why.svg").read_text().count("patches") >= 1
    assert answer.timings.project > 0
    assert answer.timings.generate > 0


def test_choices_and_batches(llm, server, clips):
    red, yellow = llm.watch(clips["red"], frames=8), llm.watch(clips["yellow"], frames=40)
    answers = llm.ask(
        [(red, COLOUR), (yellow, COLOUR), (red, "And now?")],
        plan="prompt-3",
        options=[["blue", "red"], ["yellow", "green"], []],
    )
    assert [answer.text for answer in answers] == ["B", "A", "red"]


def test_the_video_is_encoded_once_and_cached(llm, server, clips, tmp_path: Path):
    cache = FeatureCache(tmp_path)
    first = llm.watch(clips["red"], frames=6, cache=cache)
    assert len(cache.files()) == 1
    again = VideoLLM.from_pretrained("openai:seer", base_url=server.url, scorer="tiny")
    second = again.watch(clips["red"], frames=6, cache=FeatureCache(tmp_path))
    assert second.from_cache
    assert first.ask(COLOUR).text == second.ask(COLOUR).text == "red"


def test_what_a_picture_model_has_not_is_told(llm):
    video = llm.watch("sample:star", frames=4)
    for wrong, words in (
        ({"plan": "paper@released"}, "released rules"),
        ({"conv_mode": "plain"}, "no conv_mode"),
        ({"num_beams": 2}, "num_beams is not what"),
    ):
        with pytest.raises(ConfigError, match=words):
            video.ask(COLOUR, **wrong)
    with pytest.raises(ConfigError, match="is shown pictures"):
        _ = llm.image_llm


def test_fewer_pictures_than_kept_frames_is_a_warning(server):
    llm = VideoLLM.from_pretrained(
        "openai:seer", base_url=server.url, scorer="tiny", max_images=2, max_pixels=5000
    )
    with pytest.warns(UserWarning, match="takes 2 pictures"):
        answer = llm.watch("sample:star", frames=8).ask(COLOUR, plan="uniform")
    assert len(answer.pictures) == 2
    assert "takes 2 pictures" in answer.warnings[0]
    assert all(w * h <= 5000 for h, w, _ in (p.pixels.shape for p in answer.pictures))


def test_frames_go_as_a_video_with_their_places(server, clips):
    llm = VideoLLM.from_pretrained(
        "vllm:seer", base_url=server.url, scorer="tiny", frames_as="video", max_pixels=20_000
    )
    with pytest.warns(UserWarning, match="regions were not cut"):
        answer = llm.watch(clips["blue"], frames=12).ask(COLOUR, plan="paper-small")
    assert answer.text == "blue"
    frames, about = frames_in(server.seen[0])
    kept = sorted({k.frame for part in answer.evidence.pathways for k in part.kept})
    assert about["frames_indices"] == [int(answer.evidence.frames.indices[k]) for k in kept]
    assert (about["fps"], about["total_num_frames"]) == (10, 60)
    assert [picture.words for picture in answer.pictures] == [
        f"Frame at {i / 10:.1f} s:" for i in about["frames_indices"]
    ]
    assert all(h * w <= 20_000 for h, w, _ in (frame.shape for frame in frames))


def test_each_frame_goes_twice_where_a_model_joins_two(server, clips):
    llm = VideoLLM.from_pretrained(
        "vllm:seer", base_url=server.url, scorer="tiny", frames_as="video-twice", max_images=2
    )
    with pytest.warns(UserWarning, match="takes 2 frames: 1 were left out"):
        assert llm.watch(clips["red"], frames=12).ask(COLOUR, plan="prompt-3").text == "red"
    frames, about = frames_in(server.seen[0])
    first, again, *_ = about["frames_indices"]
    assert len(frames) == 4
    assert first == again
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])


def test_frames_at_uneven_times_have_their_milliseconds(server, tmp_path: Path):
    times = [0, 100, 1100, 1150, 4000, 4033, 5000]
    path = make_video(tmp_path / "uneven.mp4", frames=7, times=times)
    llm = VideoLLM.from_pretrained(
        "vllm:seer", base_url=server.url, scorer="tiny", frames_as="video"
    )
    llm.watch(path, frames=7).ask("What?", plan="uniform")
    _, about = frames_in(server.seen[0])
    assert about["fps"] == 1000
    assert set(about["frames_indices"]) <= set(times)


def test_only_a_server_is_sent_a_video():
    with pytest.raises(ConfigError, match="frames_as=video is for models behind a vLLM server"):
        VideoLLM.from_pretrained("tiny", frames_as="video")


def test_names_of_servers():
    assert server_of("openai:gpt")[1] == "gpt"
    assert server_of("ollama:qwen3-vl:8b")[0].url == "http://127.0.0.1:11434/v1"
    for name in ("tiny", "./model", "org/name", "C:/models/llava", ":x"):
        assert server_of(name) is None
    with pytest.raises(ConfigError, match="names no model: write vllm:MODEL"):
        server_of("vllm:")
    assert len({server.prefix for server in SERVERS}) == len(SERVERS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float16"}, "dtype is not for a model behind a server"),
        ({"conv_mode": "plain"}, "conv_mode is not for a model behind a server"),
        ({"load_in_4bit": True}, "bits and RoPE scaling"),
        ({"base_url": 7}, "base_url is an address, not 7"),
        ({"max_images": 0}, "max_images is a whole number of 1 or more"),
        ({"max_pixels": 10}, "max_pixels is a whole number of 1024 or more"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ConfigError, match=words):
        VideoLLM.from_pretrained("openai:m", scorer="tiny", **options)
    with pytest.raises(ConfigError, match="base_url is for a model behind a server"):
        VideoLLM.from_pretrained("tiny", base_url="http://127.0.0.1:1/v1")


def test_local_servers_that_run_are_found(server, monkeypatch):
    import free_video_llm.models.servers as module

    here = module.Server("ollama", server.url, "Ollama")
    gone = module.Server("vllm", "http://127.0.0.1:9/v1", "vLLM")
    monkeypatch.setattr(module, "SERVERS", (here, gone, *SERVERS[:1]))
    assert running() == {"ollama": ("judge-1-exact-0613",)}


def test_on_the_command_line(server, clips, capsys, tmp_path: Path):
    model = ["--model", "openai:seer", "--base-url", server.url, "--scorer", "tiny"]
    picture = tmp_path / "why.png"
    words = ["ask", str(clips["red"]), COLOUR, *model, "--plan", "paper-small"]
    assert main([*words, "--picture", str(picture)]) == 0
    out = capsys.readouterr()
    assert out.out.strip() == "red"
    assert "6 pictures: " in out.err
    assert "patches" in out.err
    assert picture.stat().st_size > 10_000
    assert main([*words, "--json", "--option", "red", "--option", "blue"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["answers"]
    assert document["answer"] == "A"
    assert main([*words, "--profile"]) == 2
    assert "is shown pictures" in capsys.readouterr().err
    assert (
        main(["compare-plans", str(clips["red"]), COLOUR, *model, "--plans", "prompt-3,uniform"])
        == 0
    )
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["plan", "patches", "seconds", "answer"]
    assert [line.split()[-1] for line in table[1:]] == ["red", "red"]


def test_in_an_evaluation(server, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "toy", "--out", "toy", "--videos", "3", "--questions", "2"]) == 0
    Path("run.yaml").write_text(
        f"model: openai:seer\nbase_url: {server.url}\nscorer: tiny\nplan: prompt-3\nframes: 6\n"
        "sets: [{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}]\n"
    )
    assert main(["eval", "run.yaml"]) == 0
    run = find_run("outputs/artifacts/toy/run")
    report = make_report(run)
    assert report.total.answered == report.total.asked == 6
    assert report.run["model"]["fingerprint"].startswith(f"seer at {server.url}; ")
    row = next(run.rows())
    assert row.answer is not None
    assert (row.answer.tokens["visual"], row.answer.tokens["prompt"]) == (0, 200)
    assert len(server.seen) == 6
    assert main(["eval", "run.yaml"]) == 0  # nothing is asked twice
    assert len(server.seen) == 6


def test_a_video_of_one_s_own_wants_a_model_that_knows_more(
    clips, server, capsys, monkeypatch, tmp_path: Path
):
    import free_video_llm.models.servers as module

    here = module.Server("ollama", server.url, "Ollama")
    monkeypatch.setattr(module, "SERVERS", (here,))
    monkeypatch.delenv("FVL_MODEL")
    assert main(["ask", str(clips["red"]), COLOUR]) == 4
    error = capsys.readouterr().err
    assert error.startswith(
        "fvl: no model is named: add --model, set FVL_MODEL, or fvl config set model"
    )
    ways = [line.split()[1] for line in error.splitlines()[1:]]
    assert ways[-2:] == ["ollama:judge-1-exact-0613", "openai:gpt-4o-mini"]
    assert main(["ask", "sample:star", "What color is the star?", "--quiet"]) == 0
    assert capsys.readouterr().out == "red\n"
    assert main(["ask", str(tmp_path / "missing.mp4"), COLOUR]) == 3
    assert "no such file" in capsys.readouterr().err
    assert main(["ask", str(clips["red"]), COLOUR, "--model", "tiny", "--quiet"]) == 0
    monkeypatch.setenv("FVL_MODEL", "tiny")
    assert main(["ask", str(clips["red"]), COLOUR, "--quiet"]) == 0


def test_an_address_is_a_video_of_one_s_own_and_a_pipe_is_refused_first(
    monkeypatch, tmp_path: Path, capsys
):
    monkeypatch.delenv("FVL_MODEL")
    monkeypatch.setattr("free_video_llm.models.choose.running", dict)
    with pytest.raises(CheckpointError, match="no model is named"):
        model_for("https://example.com/a.mp4")
    os.mkfifo(tmp_path / "pipe")
    assert main(["ask", str(tmp_path / "pipe"), COLOUR]) == 3
    assert "is a pipe" in capsys.readouterr().err


def test_one_s_settings_name_the_model(clips, monkeypatch, tmp_path: Path, capsys):
    monkeypatch.delenv("FVL_MODEL")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = tmp_path / "free-video-llm.toml"
    settings.write_text('model = "tiny"\n')
    assert main(["ask", str(clips["red"]), COLOUR, "--quiet"]) == 0
    monkeypatch.setenv("FVL_MODEL", "ollama:x")  # which goes before
    assert model_for(str(clips["red"])) == "ollama:x"
    monkeypatch.delenv("FVL_MODEL")
    capsys.readouterr()
    for text, words in (
        ("model = ", "cannot read"),
        ("modell = 'x'", "unknown setting in"),
        ("model = 3", "model is a text, not 3"),
    ):
        settings.write_text(text)
        assert main(["ask", str(clips["red"]), COLOUR]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    monkeypatch.setenv("FVL_CONFIG", str(tmp_path / "none.toml"))
    assert main(["ask", str(clips["red"]), COLOUR]) == 2
    assert "which is no file" in capsys.readouterr().err


def test_the_largest_model_that_fits_is_named(clips, monkeypatch):
    monkeypatch.delenv("FVL_MODEL")
    monkeypatch.setattr("free_video_llm.models.choose.running", dict)
    for memory, name in (
        (4.0, "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"),
        (8.0, "OpenGVLab/InternVL3-1B-hf"),
        (80.0, "Qwen/Qwen3-VL-2B-Instruct"),
    ):
        with pytest.raises(CheckpointError) as caught:
            model_for(str(clips["red"]), memory_gb=memory)
        assert name in str(caught.value).splitlines()[1]
    with pytest.raises(CheckpointError) as caught:
        model_for(str(clips["red"]), memory_gb=3.0)
    assert [line.split()[1] for line in str(caught.value).splitlines()[1:]] == [
        "ollama:qwen2.5vl:3b", "openai:gpt-4o-mini",
    ]  # fmt: skip


def test_servers_that_run_are_listed(server, capsys, monkeypatch):
    import free_video_llm.models.servers as module

    monkeypatch.setattr(module, "SERVERS", (module.Server("vllm", server.url, "vLLM"),))
    assert main(["models"]) == 0
    assert "runs: judge-1-exact-0613" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["name"] == "vllm:judge-1-exact-0613"
    assert main(["doctor"]) in (0, 1)
    assert "server    vllm: vllm:judge-1-exact-0613" in capsys.readouterr().out
