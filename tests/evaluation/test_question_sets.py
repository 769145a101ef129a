"""Question sets: the real CSV files, the released layout, hostile and broken files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared_files import CSV, real_csv

from free_video_llm import samples
from free_video_llm.benchmarks import (
    SETS,
    Question,
    QuestionSet,
    get_set,
    read_questions,
    register,
    unregister,
)
from free_video_llm.benchmarks.read import write_layout
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.run_dir import RunFolder

#: Rows and videos of the real files, counted by the csv module.
COUNTS = {
    "msvd": (6415, 245),
    "msrvtt": (12278, 497),
    "tgif": (13691, 7132),
    "activitynet": (8000, 800),
    "nextqa": (4996, 570),
    "intentqa": (2044, 524),
    "egoschema": (500, 500),
    "star": (7098, 3373),
}


@pytest.mark.parametrize("name", CSV)
def test_every_row_of_the_real_files_is_read_and_told_apart(name):
    questions = list(read_questions(get_set(name), real_csv(name)))
    rows, videos = COUNTS[name]
    assert len(questions) == rows
    assert len({q.video for q in questions}) == videos
    assert len({q.identity for q in questions}) == rows
    assert [q.row for q in questions] == list(range(1, rows + 1))
    assert not [q for q in questions if q.problem]
    assert all(bool(q.options) == get_set(name).choices for q in questions)


def test_tgif_has_half_as_many_ids_as_rows():
    questions = list(read_questions(get_set("tgif"), real_csv("tgif")))
    assert len({q.question_id for q in questions}) == 7132
    assert {q.kind for q in questions} == {"object", "number", "color", "location"}


@pytest.mark.parametrize("name", CSV)
def test_the_released_layout_gives_the_same_questions_back(name, tmp_path: Path):
    chosen = get_set(name)
    rows, files = write_layout(chosen, real_csv(name), tmp_path)
    assert rows == COUNTS[name][0]
    expected = {
        "activitynet": ["test_q.json", "test_a.json"],
        **{choice: ["val_qa.json"] for choice in ("nextqa", "intentqa", "egoschema", "star")},
    }.get(name, ["val_q.json", "val_a.json"])
    assert [file.name for file in files] == expected
    assert all(file.parent == tmp_path / chosen.folder for file in files)
    assert sorted(p.name for p in files[0].parent.iterdir()) == sorted(expected)
    original = list(read_questions(chosen, real_csv(name)))
    for source in (tmp_path, tmp_path / chosen.folder, files[0]):
        assert list(read_questions(chosen, source)) == original


def test_the_released_entries_have_the_released_keys(tmp_path: Path):
    source = tmp_path / "x.csv"
    source.write_text(
        ",video_id,answer,question,video_name,question_id,question_type\n"
        '1,v_a,no,"is it, so",v_a,v_a_3,3\n'
    )
    _, (questions, answers) = write_layout(get_set("activitynet"), source, tmp_path)
    assert json.loads(questions.read_text()) == [
        {"video_name": "a", "question_id": "v_a_3", "question": "is it, so"}
    ]
    assert json.loads(answers.read_text()) == [{"answer": "no", "type": 3, "question_id": "v_a_3"}]


# --- files that are not quite right -----------------------------------------------------------

HEADER = ",video_name,question,answer,question_id,question_type\n"


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path: Path, name: str = "toy") -> list[Question]:
    return list(read_questions(get_set(name), path))


def test_a_bom_crlf_and_a_quoted_newline(tmp_path: Path):
    text = HEADER + '1,a,"what\nis ""it""?",x,1,0\n2,b.mp4,who?,"y, z",2,0\n'
    data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    first, second = read(write(tmp_path / "x.csv", data))
    assert first.question == 'what\r\nis "it"?'
    assert (first.row, second.row) == (1, 2)
    assert (second.video, second.answer) == ("b", "y, z")


def test_an_empty_answer_is_a_row_with_a_problem(tmp_path: Path):
    rows = read(write(tmp_path / "x.csv", HEADER + "1,a,q,,1,0\n2,a,,x,1,0\n3,,q,x,1,0\n"))
    assert [q.problem for q in rows] == [
        "the row has no correct answer",
        "the question is empty",
        "the row names no video",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            ",video_name,questoin,answer\n1,a,b,c\n",
            "lacks the column 'question' (is it 'questoin'?",
        ),
        ("", "is empty"),
        (HEADER + "1,a,b\n", "row 1 (line 2) has 3 fields, the header 6"),
        (HEADER + '1,a,"b,c,1,0\n', "line 2"),
        (HEADER.encode() + b"1,a,\xff,c,1,0\n", "not UTF-8"),
        ("video_name,question,question,answer\n", "comes twice"),
        (HEADER + "1,a," + "x" * 200_000 + ",c,1,0\n", "field larger than"),
    ],
)
def test_a_broken_csv_file_is_told_in_one_line(tmp_path: Path, data, words):
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path / "x.csv", data))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_wrong_kind_of_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="no question file"):
        read(tmp_path / "none.csv.gz")
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match=r"a \.csv file"):
        read(write(tmp_path / "x.txt", "x"))
    with pytest.raises(ConfigError, match="fvl prepare toy"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"val_q.json": "[", "val_a.json": "[]"}, "is not JSON"),
        ({"val_q.json": "{}", "val_a.json": "[]"}, "not a list"),
        ({"val_q.json": "[1]", "val_a.json": "[1]"}, "entry 1 is not an object"),
        ({"val_q.json": "[]", "val_a.json": "[{}]"}, "has 0 entries"),
        ({"val_q.json": "[{}]", "val_a.json": "[{}]"}, "lacks 'video_name'"),
        (
            {"val_q.json": '[{"question_id": 1}]', "val_a.json": '[{"question_id": 2}]'},
            "another question_id",
        ),
        ({"val_q.json": "[" * 100_000, "val_a.json": "[]"}, "is not JSON"),
        ({"val_q.json": "[]"}, "no val_a.json"),
    ],
)
def test_a_broken_layout_is_told_in_one_line(tmp_path: Path, files, words):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path)
    assert words in str(caught.value)


MEASURE = """
import resource, sys
from free_video_llm.benchmarks import get_set, read_questions
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(1 for _ in read_questions(get_set("toy"), sys.argv[1]))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_two_million_rows_are_read_in_constant_memory(tmp_path: Path):
    path = tmp_path / "large.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for start in range(0, 2_000_000, 10_000):
            file.write(
                "".join(
                    f"{i},v{i // 20},what is it?,x,{i},0\n" for i in range(start, start + 10_000)
                )
            )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    rows, grown_kb = (int(word) for word in done.stdout.split())
    assert rows == 2_000_000
    assert grown_kb < 8_000


# --- registration -----------------------------------------------------------------------------


def test_a_set_needs_a_name_of_its_own():
    with pytest.raises(ConfigError, match="needs a name"):
        register(type("Nameless", (QuestionSet,), {}))
    with pytest.raises(ConfigError, match="already"):
        register(type("Other", (QuestionSet,), {"name": "msvd"}))
    try:
        register(type("Fine", (QuestionSet,), {"name": "fine"}))
        assert get_set("fine").video_folder == Path("fine/videos")
    finally:
        unregister("fine")
    assert "fine" not in SETS
    with pytest.raises(ConfigError, match="did you mean 'msrvtt'"):
        get_set("msrvt")


PLUGIN = """
from typing import ClassVar
from free_video_llm.benchmarks import QuestionSet

class Cooking(QuestionSet):
    name, title, folder = "cooking", "Cooking", "Cooking_QA"
    option_columns: ClassVar = ("a0", "a1")
    kinds: ClassVar = {"I": "ingredient"}
"""
USE = """
import sys
from free_video_llm.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def installed(folder: Path, code: str) -> Path:
    """A package as pip would install it: one module and its entry point."""
    folder.mkdir()
    (folder / "my_sets.py").write_text(code)
    about = folder / "my_sets-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-sets\nVersion: 1.0\n")
    entry = "[free_video_llm.question_sets]\ncooking = my_sets:Cooking\n"
    (about / "entry_points.txt").write_text(entry)
    return folder


def run_with(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", USE, *words],
        capture_output=True, text=True, env=environment, cwd=folder,
    )  # fmt: skip


def test_a_set_of_another_package_is_one_file(tmp_path: Path):
    """One class: it is prepared, checked, asked and reported as ours are."""
    folder = installed(tmp_path / "site", PLUGIN)
    (folder / "cooking.csv").write_text(
        "video_name,question,answer,question_id,question_type,a0,a1\n"
        "star.mp4,What color is the star?,red,1,I,red,blue\n"
    )
    assert "sets: msvd" in (shown := run_with(folder, "prepare", "--help").stdout)
    assert "tempcompass, cooking" in shown
    done = run_with(folder, "prepare", "cooking", "--csv", "cooking.csv", "--gt", "gt")
    assert done.returncode == 0, done.stderr
    assert list((folder / "gt" / "Cooking_QA").iterdir())
    (folder / "one.yaml").write_text(
        f"frames: 8\nsets: [{{set: cooking, questions: cooking.csv, videos: {samples.FOLDER}}}]\n"
    )
    done = run_with(folder, "eval", "one.yaml", "--json")
    assert done.returncode == 0, done.stderr
    run = RunFolder(folder / "outputs" / "artifacts" / "cooking" / "one")
    (row,) = run.rows()
    assert (row.question.kind, row.question.options) == ("ingredient", ("red", "blue"))
    assert row.answer is not None
    done = run_with(folder, "report", str(run.path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["set"] == "cooking"


def test_a_package_whose_sets_fail_is_a_warning(tmp_path: Path):
    folder = installed(tmp_path / "site", "raise RuntimeError('broken')")
    done = run_with(folder, "check", "nonsense")
    assert done.returncode == 2
    assert "the question sets of my_sets:Cooking cannot be used: broken" in done.stderr
    assert "unknown question set 'nonsense'" in done.stderr
