"""What is said in a video: where it comes from, and what of it stands in the prompt."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import pytest

from free_video_llm import VideoError, VideoLLM
from free_video_llm.asking import SAID
from free_video_llm.cli.main import main
from free_video_llm.samples import find
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
        # Frames and regions are chosen by the question alone.
        assert answer.visual_tokens.frame.equal(plain.visual_tokens.frame)
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
