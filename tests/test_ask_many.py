"""Many videos and questions by one command: rows in every form, failures that are rows, and a file
that a stopped command goes on with."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from free_video_llm import ConfigError, VideoLLM
from free_video_llm.cli import ask_many as ask_many_module
from free_video_llm.cli.main import main
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.many.inquiry import Inquiry, expand, read_inquiries, split_words
from free_video_llm.many.run import Outcome, ask_many, batches
from free_video_llm.samples import find

STAR, RING = Path(find("sample:star")), Path(find("sample:needle"))
COLOR, THERE = "What color is the star?", "Is there a star?"
TINY = ["--model", "tiny", "--plan", "lean"]


@pytest.fixture(scope="module")
def llm() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three clips, one of them no video, and what is no clip at all."""
    folder = tmp_path_factory.mktemp("clips")
    shutil.copy(STAR, folder / "a.mp4")
    shutil.copy(RING, folder / "b10.mp4")
    (folder / "b9.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    return folder


def rows_of(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


# --- which words are what -----------------------------------------------------------------------


def test_leading_words_that_are_sources_are_videos(folder: Path, monkeypatch):
    monkeypatch.chdir(folder)
    assert split_words(["a.mp4", "b9.mp4", COLOR, THERE], []) == (
        ["a.mp4", "b9.mp4"],
        [COLOR, THERE],
    )
    assert split_words(["a.mp4", "*.mp4", "sample:star", "https://x/y", COLOR], [])[1] == [COLOR]
    assert split_words(["gone", COLOR], []) == (["gone"], [COLOR])
    assert split_words(["a.mp4", "gone.mp4", COLOR], [])[0] == ["a.mp4", "gone.mp4"]
    assert split_words(["a.mp4", COLOR], ["q"]) == (["a.mp4", COLOR], ["q"])
    for words, what in (
        (["a.mp4"], "a question is missing"),
        (["a.mp4", "b9.mp4"], "'b9.mp4' is a file, not a question"),
        (["a.mp4", COLOR, "b9.mp4"], "videos come first"),
        (["a.mp4", "-"], "not read as one"),
        (["a.mp4", "@notes.txt"], "not read as one"),
    ):
        with pytest.raises(ConfigError, match=what):
            split_words(words, [])


def test_folders_and_patterns_name_their_videos_in_natural_order_each_once(folder: Path, tmp_path):
    clips = [str(folder / name) for name in ("a.mp4", "b9.mp4", "b10.mp4")]
    assert expand([str(folder)]) == clips
    assert expand([str(folder), clips[0], str(folder / "b*.mp4")]) == clips
    (tmp_path / "1.png").write_bytes(b"x")
    assert expand([str(tmp_path), "sample:star"]) == [str(tmp_path), "sample:star"]
    with pytest.raises(ConfigError, match="finds no file"):
        expand([str(folder / "*.mkv")])


# --- files of questions -------------------------------------------------------------------------


FORMS = {
    "q.csv": "video,question,options,start,end,answer,other\n"
    "a.mp4,Who?,,,,he,x\na.mp4,Which?,cat | dog,1:00,90,dog,x\n",
    "q.jsonl": '{"video": "a.mp4", "question": "Who?", "answer": "he"}\n\n'
    '{"video": "a.mp4", "question": "Which?", "options": ["cat", "dog"], "start": "1:00", '
    '"end": 90, "answer": "dog"}\n',
    "q2.csv": "video,question,option_1,option_2,option_3,start,end,answer\n"
    "a.mp4,Who?,,,,,,he\na.mp4,Which?,cat,dog,,60,1:30,dog\n",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("piped", [False, True])
def test_every_form_gives_the_same_questions(name: str, piped: bool, tmp_path: Path):
    wanted = [
        Inquiry(video="a.mp4", question="Who?", expected="he"),
        Inquiry(
            video="a.mp4", question="Which?", options=("cat", "dog"), ranges=((60.0, 90.0),),
            expected="dog",
        ),
    ]  # fmt: skip
    if piped:
        assert read_inquiries("-", standard_input=FORMS[name]) == wanted
    else:
        (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
        assert read_inquiries(tmp_path / name) == wanted


def test_a_text_file_asks_of_every_video_of_the_command(tmp_path: Path):
    (tmp_path / "q.txt").write_text("Who?\n\n  Where, and why?\n", encoding="utf-8")
    found = read_inquiries(tmp_path / "q.txt", videos=["a", "b"])
    assert [(i.video, i.question) for i in found] == [
        ("a", "Who?"), ("b", "Who?"), ("a", "Where, and why?"), ("b", "Where, and why?"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="row 1: it names no video"):
        read_inquiries(tmp_path / "q.txt")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"video": "a"}, "question is a text"),
        ({"video": 3, "question": "Who?"}, "video is a text"),
        ({"video": "a", "question": "Who?", "options": ["x"]}, "at least two"),
        ({"video": "a", "question": "Who?", "options": "[1"}, "options are a list"),
        ({"video": "a", "question": "Who?", "options": {"a": 1}}, "options are a list"),
        ({"video": "a", "question": "Who?", "start": "x"}, "a time is"),
        ({"video": "a", "question": "Who?", "start": 3, "end": 2}, "ends after it begins"),
    ],
)
def test_a_wrong_row_is_named(row: dict, what: str, tmp_path: Path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"video": "a", "question": "Ok?"}\n' + json.dumps(row), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"row 2: .*{what}"):
        read_inquiries(path)
    for text, said in (("", "no questions"), ("{", "no JSON"), ("[1]", "no JSON object")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            read_inquiries(path)


# --- asking -------------------------------------------------------------------------------------


def test_batches_are_of_one_video_in_the_order_of_first_questions():
    asked = [Inquiry(video=v, question=str(n)) for n, v in enumerate("abbabca")]
    found = batches(asked, 2)
    assert [[(i.video, i.question) for i in batch] for batch in found] == [
        [("a", "0"), ("a", "3")], [("a", "6")], [("b", "1"), ("b", "2")], [("b", "4")],
        [("c", "5")],
    ]  # fmt: skip


def test_each_video_is_watched_once_and_what_fails_is_a_row(llm, folder: Path):
    watched: list[str] = []

    def watch(inquiry: Inquiry):
        watched.append(inquiry.video)
        return llm.watch(inquiry.video, frames=8)

    names = [str(folder / name) for name in ("a.mp4", "b9.mp4")]
    asked = [Inquiry(video=v, question=q) for q in (COLOR, THERE) for v in names]
    asked.append(Inquiry(video=names[0], question="Which?", options=("a star", "a ring")))
    outcomes = [o for some in ask_many(llm, asked, watch, plan="lean") for o in some]
    assert watched == names
    assert [o.answer is None for o in outcomes] == [False, False, False, True, True]
    assert all("is not a video" in o.reason for o in outcomes[3:])
    alone = llm.watch(names[0], frames=8).ask(COLOR, plan="lean")
    assert outcomes[0].answer.text == alone.text


def test_an_answer_is_right_case_and_ends_aside(llm):
    answer = llm.watch(STAR, frames=8).ask(COLOR, plan="lean")
    asked = Inquiry(video="a", question=COLOR, expected=f"{answer.text.upper()}.")
    assert Outcome(asked, answer).right
    assert not Outcome(Inquiry(video="a", question=COLOR, expected="no"), answer).right
    assert Outcome(Inquiry(video="a", question=COLOR), answer).right is None
    assert Outcome(asked, reason="x").right is None


# --- the command --------------------------------------------------------------------------------


def test_text_for_people(folder: Path, capsys):
    assert main(["ask", str(folder / "a.mp4"), str(folder / "b10.mp4"), COLOR, *TINY]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{folder / 'a.mp4'}: ")
    assert len(out) == 2
    assert main(["ask", str(folder), "-q", COLOR, "-q", THERE, *TINY]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert f"{folder / 'a.mp4'}: {COLOR}: " in out
    assert err.count("is not a video") == 2


def test_rows_in_every_form_are_the_same(folder: Path, capsys):
    command = ["ask", str(folder), COLOR, *TINY]
    assert main([*command, "--format", "jsonl"]) == 1
    rows = rows_of(capsys.readouterr().out)
    assert [row["status"] for row in rows] == ["answered", "failed", "answered"]
    assert set(rows[0]) == set(ask_many_module.COLUMNS)
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "rows": rows}
    assert main([*command, "--format", "csv"]) == 1
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["answer"] for row in read] == [row["answer"] or "" for row in rows]
    assert json.loads(read[0]["seconds"]) == rows[0]["seconds"]


def test_standard_input_and_ranges_of_rows(capsys, monkeypatch):
    lines = [
        {"video": "sample:star", "question": COLOR, "start": 1, "end": 2, "answer": "red"},
        {"video": "sample:star", "question": COLOR},
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, lines))))
    assert main(["ask", "--questions", "-", "--format", "jsonl", *TINY]) == 0
    first, second = rows_of(capsys.readouterr().out)
    assert all(1 <= second < 2 for second in first["seconds"])
    assert first["ranges"] == [[1.0, 2.0]]
    assert second["ranges"] == []
    assert first["right"] is not None


class StoppedError(BaseException):
    """Ends a command as a kill does."""


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_stopped_command_goes_on_to_the_same_file(form: str, tmp_path: Path, monkeypatch, capsys):
    """Stopped at every row: before it is written, and within its line."""
    lines = [
        {"video": v, "question": q, "answer": "red"}
        for v in ("sample:star", str(RING), str(tmp_path / "gone.mp4"))
        for q in (COLOR, THERE, "Is there a red star?\nOr not?")
    ]
    questions = tmp_path / "q.jsonl"
    questions.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = ["ask", "--questions", str(questions), "--batch", "2", *TINY]
    whole = tmp_path / f"whole.{form}"
    assert main([*command, "--output", str(whole)]) == 1
    wanted = whole.read_bytes()
    append = LineWriter.append_text
    for stop in range(10):
        path = tmp_path / f"{stop}.{form}"
        left = stop

        def stopping(self, texts, path=path, stop=stop):
            nonlocal left
            for text in texts:
                if left == 0:
                    with open(path, "ab") as file:  # a part of the line is there
                        file.write(text.encode()[: stop * 7])
                    raise StoppedError
                append(self, [text])
                left -= 1

        monkeypatch.setattr(LineWriter, "append_text", stopping)
        try:
            main([*command, "--output", str(path)])
        except StoppedError:
            pass
        else:
            assert stop > len(wanted.splitlines()) - 1
        monkeypatch.setattr(LineWriter, "append_text", append)
        assert main([*command, "--output", str(path)]) == 1
        assert path.read_bytes() == wanted, stop
    capsys.readouterr()
    assert main([*command, "--output", str(whole)]) == 1  # nothing is left to do
    assert "0 rows" in capsys.readouterr().err
    assert whole.read_bytes() == wanted
    assert main([*command, "--output", str(whole), "--quiet"]) == 1
    assert capsys.readouterr().err == ""


def test_a_file_of_others_rows_is_refused(tmp_path: Path, capsys):
    path = tmp_path / "a.jsonl"
    command = ["ask", "sample:star", COLOR, *TINY, "--output", str(path)]
    assert main(command) == 0
    for text, what in (
        ('{"a": 1}\n', "holds no rows"),
        (path.read_text(encoding="utf-8").replace("color", "colour"), "rows of other questions"),
    ):
        path.write_text(text, encoding="utf-8")
        assert main(command) == 2
        assert what in capsys.readouterr().err
    for wrong in (["--output", str(tmp_path / "a.txt")], ["--output", str(tmp_path / "a.json")],
                  ["--format", "csv", "--picture", "a.png"]):  # fmt: skip
        assert main(["ask", "sample:star", COLOR, *TINY, *wrong]) == 2


def test_wrong_words_are_one_line(capsys):
    for words, what in (
        ([], "a video is missing"),
        (["sample:star"], "a question is missing"),
        (["--questions", "gone.csv"], "cannot read gone.csv"),
        (["--questions", "gone.csv", "-q", "x"], "leave -q and"),
    ):
        assert main(["ask", *words]) == 2
        assert what in capsys.readouterr().err
