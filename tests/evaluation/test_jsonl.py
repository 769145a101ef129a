"""Append-only files: torn lines, damaged lines, two writers, full disks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.jsonl import LineWriter, read_lines, write_whole


def test_what_is_appended_is_read_back(tmp_path: Path):
    path = tmp_path / "new" / "x.jsonl"
    values = [{"a": "é\n\u2028\"'", "b": [1, 2.5, None]}, {"c": "\ud800 alone"}]
    with LineWriter(path) as writer:
        writer.append(values)
        assert list(read_lines(path)) == values
    assert path.read_bytes().count(b"\n") == 2
    assert list(read_lines(tmp_path / "none")) == []


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_goes_on_after_its_last_whole_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "x.jsonl"
    values = [{"n": i, "text": "é" * i} for i in range(6)]
    lines = [(json.dumps(v, ensure_ascii=False) + "\n").encode() for v in values]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert list(read_lines(path)) == values[:kept]
    with LineWriter(path) as writer:
        writer.append([{"new": True}])
    assert list(read_lines(path)) == [*values[:kept], {"new": True}]


def test_a_long_torn_line_is_dropped(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b'{"b": "' + b"x" * 300_000)
    LineWriter(path).close()
    assert path.read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\0\0\0", b"\xff", b"[" * 100_000])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"b": 2}\n')
    with pytest.raises(ConfigError, match="line 2 is damaged"):
        list(read_lines(path))


def test_two_writers_are_refused(tmp_path: Path):
    with (
        LineWriter(tmp_path / "x.jsonl"),
        pytest.raises(ConfigError, match="another process is writing"),
    ):
        LineWriter(tmp_path / "x.jsonl")
    LineWriter(tmp_path / "x.jsonl").close()


def test_numbers_that_json_has_not_are_refused(tmp_path: Path):
    with LineWriter(tmp_path / "x.jsonl") as writer, pytest.raises(ValueError, match="JSON"):
        writer.append([{"a": float("nan")}])
    assert (tmp_path / "x.jsonl").read_bytes() == b""


def test_a_full_disk_leaves_whole_lines_and_one_line_of_error():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises((ConfigError, OSError)):
        LineWriter(full).append([{"a": 1}])


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path):
    path = write_whole(tmp_path / "new" / "x.txt", "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        write_whole(tmp_path / "file" / "x", "")
