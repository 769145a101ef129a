"""What is said in a video: where it comes from, and what of it stands in the prompt."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from free_video_llm import VideoError, VideoLLM
from free_video_llm.asking import SAID
from free_video_llm.cli.main import main
from free_video_llm.samples import find
from free_video_llm.video.spoken import word_scores
from free_video_llm.video.subtitles import Line, find_subtitles, lines_near, read_subtitles

SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\nHello <i>there</i>,\nworld.\n\n"
    "2\n00:00:03,000 --> 00:00:04,000\n{\\an8}A star, you see\n\n"
    "3\n00:10:00,000 --> 00:10:01,000\nMuch later\n"
)
VTT = (
    "WEBVTT\n\n00:01.000 --> 00:02.500\nHello <b>there</b>,\nworld.\n\n"
    "00:03.000 --> 00:04.000 align:start\nA star, you see\n\n10:00.000 --> 10:01.000\nMuch later\n"
)
WANTED = (
    Line(1.0, 2.5, "Hello there, world."),
    Line(3.0, 4.0, "A star, you see"),
    Line(600.0, 601.0, "Much later"),
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return Path(shutil.copy(find("sample:star"), tmp_path / "film.mp4"))


def with_track(clip: Path, subtitles: Path, out: Path) -> Path:
    """The clip with a track of text, its packets as they are."""
    with (
        av.open(str(clip)) as video,
        av.open(str(subtitles)) as words,
        av.open(str(out), "w") as whole,
    ):
        streams = [
            whole.add_stream_from_template(s)
            for s in (video.streams.video[0], words.streams.subtitles[0])
        ]
        for source, stream in zip((video, words), streams, strict=True):
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    whole.mux(packet)
    return out


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
def test_every_form_gives_the_same_lines(name: str, tmp_path: Path, clip: Path):
    path = tmp_path / name
    path.write_text(SRT if name.endswith("srt") else VTT, encoding="utf-8")
    assert read_subtitles(str(path)) == WANTED
    if name.endswith("srt"):
        whole = with_track(clip, path, tmp_path / "whole.mkv")
        assert read_subtitles(str(whole)) == WANTED
        assert find_subtitles(str(whole)) == str(whole)


def test_the_file_beside_a_video_is_found(clip: Path):
    with pytest.raises(VideoError, match="it has no subtitles"):
        find_subtitles(str(clip))
    beside = [clip.with_name(name) for name in ("film.en.srt", "film.vtt", "filmed.srt")]
    for path in (beside[2], beside[0], beside[1]):
        path.write_text(VTT, encoding="utf-8")
        wanted = {beside[2]: None, beside[0]: beside[0], beside[1]: beside[1]}[path]
        if wanted is None:
            with pytest.raises(VideoError):
                find_subtitles(str(clip))
        else:
            assert find_subtitles(str(clip)) == str(wanted)


@pytest.mark.parametrize("text", ["", "no subtitles at all", "WEBVTT\n\n"])
def test_what_is_no_subtitle_is_one_line(text: str, tmp_path: Path):
    path = tmp_path / "a.vtt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VideoError) as caught:
        read_subtitles(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(VideoError, match="no such file"):
        read_subtitles(str(tmp_path / "gone.srt"))


def test_lines_nearest_to_the_frames_stand_in_time_order():
    lines = [Line(n, n + 1, f"line {n}") for n in range(20)]
    near = lines_near(lines, [15.5, 3.2], most_characters=7 * 3 + 3)
    assert [line.start for line in near] == [2, 3, 15]  # 0.2, 0 and 0 s away
    assert lines_near(lines, [], most_characters=13) == lines[:2]
    assert lines_near(lines, [1.0], most_characters=3) == []


@pytest.mark.parametrize("plan", ["lean", "paper"])
def test_what_is_said_stands_in_the_prompt_and_in_the_evidence(plan: str, clip: Path):
    llm = VideoLLM.from_pretrained("tiny")
    path = clip.with_suffix(".srt")
    path.write_text(SRT, encoding="utf-8")
    question = "What color is the star?"
    plain = llm.watch(clip).ask(question, plan=plan, max_new_tokens=3)
    for subtitles in ("auto", path):
        answer = llm.watch(clip, subtitles=subtitles).ask(question, plan=plan, max_new_tokens=3)
        assert "Subtitles:\n[1.0 s] Hello there, world.\n[3.0 s] A star, you see" in answer.prompt
        assert answer.prompt.index("Much later") < answer.prompt.index(question)
        assert answer.question == question
        assert answer.evidence.said == WANTED
        assert answer.to_dict()["evidence"]["said"][0] == {
            "start": 1.0, "end": 2.5, "text": "Hello there, world.",
        }  # fmt: skip
        assert answer.visual_tokens.scores.equal(plain.visual_tokens.scores)  # of the pictures
    assert "Subtitles" not in plain.prompt
    assert plain.evidence.said == ()


def test_a_long_talk_is_cut_to_what_is_near(clip: Path):
    talk = "\n\n".join(
        f"{n}\n00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\n"
        f"{'word ' * 12}{n}"
        for n in range(600)
    )
    path = clip.with_suffix(".srt")
    path.write_text(talk, encoding="utf-8")
    video = VideoLLM.from_pretrained("tiny").watch(clip, subtitles=path)
    answer = video.ask("Is there a star?", plan="lean", max_new_tokens=2)
    assert sum(len(line.text) for line in answer.evidence.said) <= SAID
    kept = [one.second for one in answer.evidence.pathways[0].kept]
    assert all(any(line.start <= s + 1 for line in answer.evidence.said) for s in kept)
    assert max(line.start for line in answer.evidence.said) < 60
    chat = video.chat(plan="lean", max_new_tokens=2)
    assert "Subtitles:" in chat.ask("Is there a star?").prompt


def test_the_command(clip: Path, capsys):
    command = ["ask", str(clip), "Is there a star?", "--model", "tiny", "--subtitles"]
    assert main([*command, "auto"]) == 3
    assert "it has no subtitles" in capsys.readouterr().err
    clip.with_suffix(".vtt").write_text(VTT, encoding="utf-8")
    assert main([*command, "auto", "--json"]) == 0
    assert '"A star, you see"' in capsys.readouterr().out


def test_frames_are_chosen_by_what_is_said_too(clip: Path):
    """A name that no picture shows: the frames while it is said; by the released rules as ever."""
    llm = VideoLLM.from_pretrained("tiny")
    question, plan = "Vega", "prompt-3"

    def seconds(subtitles: Path | None) -> list[float]:
        found = llm.watch(clip, subtitles=subtitles).find(question, plan=plan)
        return [kept.second for kept in found.pathways[0].kept]

    def away(begin: int, found: list[float]) -> list[float]:
        return [max(begin + 0.5 - second, second - begin - 1.5, 0.0) for second in found]

    # It is said where the pictures alone would not have led.
    alone = seconds(None)
    begin = max((0, 5), key=lambda begin: min(away(begin, alone)))
    assert min(away(begin, alone)) > 1
    path = clip.with_suffix(".srt")
    path.write_text(
        "1\n00:00:02,500 --> 00:00:03,500\nHere we are.\n\n"
        f"2\n00:00:0{begin},500 --> 00:00:0{begin + 1},500\nAnd this one is called Vega.\n",
        encoding="utf-8",
    )
    assert max(away(begin, seconds(path))) <= 1
    released = llm.watch(clip, subtitles=path, rules="released")
    plain = llm.watch(clip, rules="released")
    one, other = (v.ask(question, plan=f"{plan}@released") for v in (released, plain))
    assert one.visual_tokens.frame.equal(other.visual_tokens.frame)


def test_words_that_nobody_says_change_nothing(clip: Path):
    path = clip.with_suffix(".srt")
    path.write_text(SRT, encoding="utf-8")
    llm = VideoLLM.from_pretrained("tiny")
    kept = [
        [k.frame for k in llm.watch(clip, subtitles=s).find("a ring", plan="lean").pathways[0].kept]
        for s in (None, path)
    ]
    assert kept[0] == kept[1]


def test_scores_of_words_by_hand():
    """Weights log(1 + 3 ÷ lines with the word): rare words count more; a line fades."""
    lines = [Line(0, 1, "the farmer"), Line(10, 11, "farmers thank"), Line(20, 21, "nothing")]
    seconds = np.array([0.5, 10.5, 12.5, 20.5, 40.0])
    farmer, thank = math.log1p(3 / 2), math.log1p(3 / 1)
    first = farmer / (farmer + thank)
    wanted = [first, 1.0, 1 - (12.5 - 11 - 1), 0.0, 0.0]
    assert word_scores(lines, "Who thanks the farmer?", seconds) == pytest.approx(wanted)
    assert not word_scores(lines, "Who is it?", seconds).any()
    assert not word_scores([], "farmer", seconds).any()
    other = [Line(0, 1, "Спасибо фермерам"), Line(9, 10, "да")]
    assert word_scores(other, "фермерам", np.array([0.5, 30.0])).tolist() == [1.0, 0.0]


def test_speech_becomes_lines_and_is_kept(clip: Path, tmp_path: Path, monkeypatch, capsys):
    """Segments of faster-whisper's form, as no model of it can be had here; asked for once."""
    import sys
    from types import ModuleType, SimpleNamespace

    heard: list[str] = []

    class WhisperModel:
        def __init__(self, name: str, **_: object) -> None:
            if name == "none":
                raise RuntimeError("no such model\nat all")

        def transcribe(self, path: str, **_: object):
            heard.append(path)
            said = [(5.5, 6.5, "  This is\n Vega. "), (6.6, 6.7, " ")]
            return (SimpleNamespace(start=a, end=b, text=t) for a, b, t in said), None

    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    monkeypatch.setenv("FVL_CACHE", str(tmp_path / "cache"))
    llm = VideoLLM.from_pretrained("tiny")
    for _ in "ab":
        video = llm.watch(clip, subtitles="speech")
        assert video.frames.subtitles == (Line(5.5, 6.5, "This is Vega."),)
    assert heard == [str(clip)]
    llm.watch(clip, subtitles="speech:large-v3")
    assert len(heard) == 2
    assert main(["ask", str(clip), "Vega?", "--model", "tiny", "--subtitles", "speech:none"]) == 2
    assert "cannot be loaded: no such model" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    assert main(["ask", str(clip), "?", "--model", "tiny", "--subtitles", "speech:x"]) == 5
    assert "free-video-llm[speech]" in capsys.readouterr().err
