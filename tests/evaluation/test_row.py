"""A row is read as it was written, and every value of it is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_rows, row, write_judge, write_run

from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.compare import compare_runs
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.evaluation.report import make_report
from free_video_llm.evaluation.row import Row
from free_video_llm.evaluation.run_dir import find_run

GONE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """An answered row with another value, or none, at a place such as "tokens.visual"."""
    whole = json.loads(json.dumps(row(1, "a dog")))
    *above, last = path.split(".")
    place = whole
    for name in above:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return whole


@pytest.mark.parametrize("made", [row(1, "a dog"), row(2, None), row(3, "(B)", options=("a", "b"))])
def test_a_row_is_read_as_it_was_written(made):
    read = Row.from_dict(made)
    assert read.to_dict() == made
    assert json.dumps(read.to_dict()) == json.dumps(made)  # in the same order
    assert read.identity == (made["row"], made["video"], made["question"])
    assert (read.answer is None) == (read.status == "failed") == bool(read.reason)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("status", GONE, "status is 'answered' or 'failed', not None"),
        ("status", "zzz", "status is 'answered' or 'failed', not 'zzz'"),
        ("prediction", GONE, "it has no prediction"),
        ("prediction", 7, "prediction is a text, not 7"),
        ("row", [1], "row is a whole number of 0 or more, not [1]"),
        ("row", True, "row is a whole number of 0 or more, not True"),
        ("video", None, "video is a text, not None"),
        ("options", "ab", "options is a list of its kind, not 'ab'"),
        ("options", [1], "options is a list of its kind, not [1]"),
        ("tokens", [], "tokens is a JSON object, not []"),
        ("tokens.visual", -1, "visual is a whole number of 0 or more, not -1"),
        ("timings.decode", GONE, "it has no decode"),
        ("timings.prefill", float("nan"), "prefill is a number, not nan"),
        ("batch", 0, "batch is a whole number of 1 or more, not 0"),
        ("evidence", GONE, "it has no evidence"),
        ("evidence.sampled", GONE, "it has no sampled"),
        ("evidence.pathways.0.frames.0.region", [0.5], "a region is four numbers"),
        ("warnings", None, "warnings is a list of its kind, not None"),
    ],
)
def test_a_value_that_is_missing_or_of_another_kind_is_named(
    tmp_path: Path, capsys, path, value, words
):
    with pytest.raises(ValueError, match=r"^.") as caught:
        Row.from_dict(changed(path, value))
    assert str(caught.value) == words
    run = write_run(tmp_path / "run", [row(2, "a cat")])
    with run.results_file().open("a") as file:
        file.write(json.dumps(changed(path, value)) + "\n")
    other = write_run(tmp_path / "other", [row(2, "a cat")])
    for use in (
        lambda: list(find_run(run.path).rows()),
        lambda: make_report(run),
        lambda: compare_runs([other, run]),
        lambda: run.drop_failed(),
    ):
        with pytest.raises(ConfigError, match="line 2 is no row of a run") as told:
            use()
        assert words in str(told.value)
        assert "results.jsonl" in str(told.value)
    assert main(["report", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [{"status": "zzz"}, {"pred": "maybe"}, {"score": "5"}, {"row": None}, {"question": 1}],
)
def test_a_judgement_is_checked(tmp_path: Path, change):
    run = write_run(tmp_path / "run", [row(1, "a dog")])
    write_judge(run, {1: ("yes", 5)})
    assert make_report(run).judges[0].verdicts
    file = run.path / "judge-j.jsonl"
    file.write_text(json.dumps(json.loads(file.read_text()) | change) + "\n")
    with pytest.raises(ConfigError, match=r"line 1 is no judgement: .*; judge again"):
        make_report(run)


def test_failed_rows_are_taken_out_and_the_others_stay_as_they_are(tmp_path: Path):
    run = write_run(tmp_path / "run", [row(1, "a dog"), row(2, None), row(3, "a cat")])
    lines = run.results_file().read_bytes().splitlines()
    assert run.drop_failed() == 1
    assert run.results_file().read_bytes().splitlines() == [lines[0], lines[2]]
    assert [made["row"] for made in made_rows(run)] == [1, 3]


def test_a_file_that_is_deleted_while_it_is_written_ends_the_run(tmp_path: Path):
    path = tmp_path / "results.jsonl"
    with LineWriter(path) as writer:
        writer.append([{"a": 1}])
        path.unlink()
        with pytest.raises(ConfigError, match="deleted while it was written"):
            writer.append([{"a": 2}])
