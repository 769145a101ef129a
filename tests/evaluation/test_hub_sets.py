"""The question sets of today in their files' own forms, made small; and a set of one's own."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from free_video_llm.benchmarks import Question, get_set, read_questions
from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError
from free_video_llm.samples import find


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="the extra sets is not installed")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


def write(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def all_of(name: str, path: Path) -> list[Question]:
    return list(read_questions(get_set(name), path))


def test_video_mme(tmp_path):
    row = {
        "video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Law",
        "url": "https://…", "videoID": "fFjv93ACGo8", "question_id": "001-1",
        "task_type": "Counting Problem", "question": "How many?",
        "options": ["A. Three.", "B. Four.", "C. Five.", "D. Six."], "answer": "C",
    }  # fmt: skip
    path = parquet(tmp_path / "videomme" / "test-00000-of-00001.parquet", [row, row])
    first, second = all_of("videomme", path)
    assert (first.video, first.answer, first.letter) == ("fFjv93ACGo8", "Five.", "C")
    assert first.options == ("Three.", "Four.", "Five.", "Six.")
    assert (first.kind, first.question_id) == ("short: Counting Problem", "001-1")
    assert (first.row, second.row) == (1, 2)
    assert all_of("videomme", path.parent) == [first, second]


def test_mlvu(tmp_path):
    row = {"video": "movie101_66.mp4", "duration": 480.0, "question": "What colour?",
           "candidates": ["Yellow", "Red", "Blue", "Green"], "answer": "Red",
           "question_type": "plotQA"}  # fmt: skip
    write(tmp_path / "1_plotQA.json", [row, row])
    write(tmp_path / "10_other.json", [row | {"question_type": "other"}])
    write(tmp_path / "2_needle.json", [row | {"question_type": "needle"}])
    found = all_of("mlvu", tmp_path)
    assert [q.kind for q in found] == ["plotQA", "plotQA", "needle", "other"]
    assert [q.row for q in found] == [1, 2, 3, 4]
    assert (found[0].video, found[0].letter) == ("movie101_66", "B")
    other = {"video_name": "a.mp4", "question": "Which?\n(A) one\n(B) two", "answer": "B",
             "task_type": "AR"}  # fmt: skip
    (asked,) = all_of("mlvu", write(tmp_path / "test.json", [other]))
    assert (asked.question, asked.options, asked.answer) == ("Which?", ("one", "two"), "two")


def test_long_video_bench_and_its_subtitles(tmp_path):
    from free_video_llm.benchmarks.subtitles import find_lines

    row = {"video_id": "86Cxy", "video_path": "86Cxy.mp4", "question": "What then?",
           "candidates": ["a", "b", "c", "d", "e"], "correct_choice": 3, "id": "86Cxy_0",
           "question_category": "TOS", "duration_group": 600, "subtitle_path": "86Cxy_en.json",
           "starting_timestamp_for_subtitles": 100}  # fmt: skip
    (asked,) = all_of("longvideobench", write(tmp_path / "lvb_val.json", [row]))
    assert (asked.video, asked.letter, asked.kind) == ("86Cxy", "D", "600 s: TOS")
    words = tmp_path / "subtitles"
    entries = [
        {"start": "00:00:01.000", "end": "00:01:39.000", "line": "before"},
        {"start": "00:01:42.500", "end": "00:01:44.000", "line": "one"},
        {"timestamp": [110.0, None], "text": "two"},
    ]
    write(words / "86Cxy_en.json", entries)
    lines = find_lines(str(words), asked, Path("86Cxy.mp4"))
    assert [(line.start, line.text) for line in lines] == [(2.5, "one"), (10.0, "two")]
    assert find_lines(None, asked, Path("x.mp4")) is None
    other = Question(row=1, video="other", question="?", answer="a", subtitles="../lvb_val.json")
    assert find_lines(str(words), other, Path("x.mp4")) is None


def test_lvbench(tmp_path):
    entries = [
        {"uid": "0", "question": "What year?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633",
         "answer": "D", "question_type": ["key information retrieval", "reasoning"],
         "time_reference": "00:15-00:19"},
        {"uid": "1", "question": "Who?\n(A) he\n(B) she", "answer": "A", "question_type": []},
    ]  # fmt: skip
    path = tmp_path / "video_info.meta.jsonl"
    rows = [{"key": "Cm73", "type": "cartoon", "qa": entries}, {"key": "Dn84", "qa": entries[:1]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = all_of("lvbench", path)
    assert [(q.row, q.video, q.answer) for q in found] == [
        (1, "Cm73", "1633"), (2, "Cm73", "he"), (3, "Dn84", "1633")
    ]  # fmt: skip
    assert found[0].question == "What year?"
    assert found[0].kind == "key information retrieval + reasoning"


def test_mvbench_and_its_stretches(tmp_path):
    row = {"video": "ZS9XR.mp4", "question": "What happened?",
           "candidates": ["a", "b", "c"], "answer": "b"}  # fmt: skip
    write(tmp_path / "action_sequence.json", [row | {"start": 3.5, "end": 12.0}])
    write(tmp_path / "state_change.json", [row])
    first, second = all_of("mvbench", tmp_path)
    assert (first.kind, first.ranges) == ("action sequence", ((3.5, 12.0),))
    assert (second.kind, second.ranges, second.letter) == ("state change", (), "B")


def test_next_qa_and_ego_schema_in_the_hubs_form(tmp_path):
    row = {"video": 4010069381, "frame_count": 369, "width": 640, "height": 480,
           "question": "how do the two man play", "answer": 1, "qid": 6, "type": "CH",
           "a0": "roll", "a1": "tap", "a2": "strum", "a3": "hit", "a4": "pat"}  # fmt: skip
    (asked,) = all_of("nextqa", parquet(tmp_path / "MC.parquet", [row]))
    assert (asked.video, asked.answer, asked.kind) == ("4010069381", "tap", "causal: how")
    row = {"question_idx": "7", "question": "Why?", "video_idx": "00b9a0de",
           "option": ["A. one", "B. two", "C. three", "D. four", "E. five"],
           "answer": "3"}  # fmt: skip
    (asked,) = all_of("egoschema", parquet(tmp_path / "Subset.parquet", [row]))
    assert (asked.video, asked.answer, asked.question_id) == ("00b9a0de", "four", "7")


def test_temp_compass(tmp_path):
    rows = [
        {"video_id": "1018", "question": "Which way?\nA. up\nB. down", "answer": "B. down",
         "dim": "direction"},
        {"video_id": "1018", "question": "Is it going up?", "answer": "No", "dim": "direction"},
    ]  # fmt: skip
    first, second = all_of("tempcompass", parquet(tmp_path / "t.parquet", rows))
    assert (first.question, first.options, first.answer) == ("Which way?", ("up", "down"), "down")
    assert (second.options, second.letter) == (("yes", "no"), "B")


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("videomme", {"question": "?"}, "videoID"),
        ("own", {"video": "a", "qestion": "?"}, "is it 'qestion'"),
        ("own", {"video": "a", "question": "?", "answer": "b", "options": "[1"}, "options"),
        ("own", {"video": "a", "question": "?", "answer": "b", "start": 5, "end": 1}, "5"),
    ],
)
def test_a_wrong_row_is_named(name, row, said, tmp_path):
    good = {"video": "a", "question": "?", "answer": "b"}
    rows = [row] if name != "own" else [good, row]
    with pytest.raises(ConfigError, match=rf"row {len(rows)}: .*{said}"):
        all_of(name, write(tmp_path / "x.json", rows))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("x.json", b"[1", "is no JSON"),
        ("x.json", b'{"a": 1}', "not a list"),
        ("x.json", b"[1]", "row 1 is no object"),
        ("x.jsonl", b"{", "is no JSONL"),
        ("x.csv", b"\xff\xfe", "UTF-8"),
        ("x.parquet", b"PAR1", "Parquet"),
        ("x.txt", b"?", "questions are"),
    ],
)
def test_a_broken_file_is_told_in_one_line(file, content, said, tmp_path):
    if file.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="the extra sets is not installed")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=said) as error:
        all_of("own", tmp_path / file)
    assert "\n" not in str(error.value)


# --- a set of one's own ----------------------------------------------------------------------

OWN = """video,question,answer,options,start,end
star,What color is the star?,red,blue|red|green,,
star,Where is the moon?,top right,,0:00,0:05
steady,What color is the moon?,B,"[""blue"", ""red""]",1,
nowhere,What?,nothing,,,
"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("star", "steady"):
        (folder / f"{name}.mp4").write_bytes(Path(find(f"sample:{name}")).read_bytes())
    return folder


def test_a_csv_is_a_set(tmp_path, videos, monkeypatch, capsys):
    """Every row accounts for itself; the stretch is looked at, the options are chosen among."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my own.csv").write_text(OWN)
    command = ["eval", "my own.csv", "--videos", str(videos), "--plan", "uniform", "--frames", "8"]
    assert main([*command, "--json"]) == 1  # one video is not there
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["rows"], outcome["answered"], outcome["failed"]) == (4, 3, 1)
    assert Path(outcome["folder"]) == Path("outputs/artifacts/own/my_own")
    rows = [json.loads(s) for s in (tmp_path / outcome["folder"] / "results.jsonl").open()]
    by_row = {row["row"]: row for row in rows}
    assert by_row[2]["evidence"]["sampled"]["seconds"][-1] < 5
    assert by_row[3]["evidence"]["sampled"]["seconds"][0] >= 1
    assert (by_row[3]["options"], by_row[3]["answer"]) == (["blue", "red"], "red")
    assert "nowhere" in by_row[4]["reason"]
    assert main(["report", outcome["folder"]]) == 0


def test_subtitles_of_a_set(tmp_path, videos, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"video": "star", "question": "What color is the star?", "answer": "red"}]
    (tmp_path / "q.jsonl").write_text(json.dumps(rows[0]) + "\n")
    words = tmp_path / "words"
    words.mkdir()
    (words / "star.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nIt is called Vega.\n")
    command = ["eval", "q.jsonl", "--videos", str(videos), "--plan", "uniform", "--frames", "8"]
    tokens = []
    for more in (["--name", "without"], ["--name", "with", "--subtitles", str(words)]):
        assert main([*command, *more]) == 0
        folder = tmp_path / "outputs" / "artifacts" / "own" / more[1]
        tokens.append(json.loads((folder / "results.jsonl").read_text())["tokens"]["prompt"])
    assert tokens[1] > tokens[0]


def test_a_csv_without_a_model_is_told_three_ways(tmp_path, videos, monkeypatch, capsys):
    monkeypatch.delenv("FVL_MODEL")
    (tmp_path / "q.csv").write_text(OWN)
    assert main(["eval", str(tmp_path / "q.csv"), "--videos", str(videos)]) == 4
    assert "--model" in capsys.readouterr().err


# --- the Hub ---------------------------------------------------------------------------------


class FakeHub:
    """What of the Hub's API a dataset's files are fetched by."""

    def __init__(self, files: dict[str, bytes], *, gated: bool = False, lies: int = 0) -> None:
        hub = self
        self.fetched: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                if self.path.startswith("/api/datasets/"):
                    siblings = [
                        {"rfilename": name, "size": len(content) + lies}
                        for name, content in files.items()
                    ]
                    about = {"id": "x/y", "sha": "a" * 40, "gated": gated and "auto",
                             "siblings": siblings, "cardData": {"license": "mit"}}  # fmt: skip
                    return self.send(json.dumps(about).encode(), body, {})
                name = self.path.partition("/resolve/" + "a" * 40 + "/")[2]
                if gated:
                    head = {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask for it"}
                    return self.send(b"", body, head, status=403)
                if body:
                    hub.fetched.append(name)
                head = {
                    "ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"',
                    "X-Repo-Commit": "a" * 40,
                }
                return self.send(files[name], body, head)

            def send(self, content: bytes, body: bool, head: dict[str, str], status=200) -> None:
                self.send_response(status)
                for key, value in {**head, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hubs() -> Iterator[list[FakeHub]]:
    made: list[FakeHub] = []
    yield made
    for hub in made:
        hub.server.shutdown()
        hub.server.server_close()


FILES = {"json/action_count.json": b"[]", "json/state_change.json": b"[1]", "video/a.zip": b"zip",
         "README.md": b"about"}  # fmt: skip


def test_a_set_is_fetched_from_the_hub_and_not_twice(hubs, tmp_path):
    from free_video_llm.benchmarks.hub import fetch_set, list_set

    hubs.append(hub := FakeHub(FILES))
    listing = list_set(get_set("mvbench"), endpoint=hub.url)
    assert (listing.licence, listing.gated, len(listing.questions)) == ("mit", False, 2)
    assert [file.bytes for file in listing.videos] == [3]
    paths = fetch_set(listing, tmp_path, endpoint=hub.url)
    assert [path.read_bytes() for path in paths] == [b"[]", b"[1]"]
    fetch_set(listing, tmp_path, videos=True, endpoint=hub.url)
    assert sorted(hub.fetched) == sorted(name for name in FILES if name != "README.md")


def test_what_the_hub_refuses_or_lies_about(hubs, tmp_path):
    from free_video_llm.benchmarks.hub import fetch_set, list_set

    hubs.append(gated := FakeHub(FILES, gated=True))
    listing = list_set(get_set("mvbench"), endpoint=gated.url)
    assert listing.gated
    with pytest.raises(ConfigError, match=r"asked for|cannot be fetched"):
        fetch_set(listing, tmp_path, endpoint=gated.url)
    hubs.append(liar := FakeHub(FILES, lies=1))
    with pytest.raises(ConfigError, match="the Hub says 3"):
        fetch_set(list_set(get_set("mvbench"), endpoint=liar.url), tmp_path, endpoint=liar.url)
    with pytest.raises(ConfigError, match="--csv"):
        list_set(get_set("toy"))


def test_the_command_says_what_there_is(hubs, tmp_path, monkeypatch, capsys):
    from free_video_llm.benchmarks import hub as module

    hubs.append(hub := FakeHub(FILES))
    for name in ("list_set", "fetch_set"):
        whole = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, _whole=whole, **k: _whole(*a, **k, endpoint=hub.url)
        )
    assert main(["prepare", "mvbench"]) == 0
    said = capsys.readouterr().out
    assert "OpenGVLab/MVBench" in said
    assert "licence: mit" in said
    assert "questions: 2 files" in said
    assert main(["prepare", "mvbench", "--fetch", "--into", str(tmp_path)]) == 0
    assert "in a configuration" in capsys.readouterr().out
    assert (tmp_path / "mvbench" / "json" / "action_count.json").is_file()
    assert main(["prepare", "videomme", "--csv", "x.csv"]) == 2
