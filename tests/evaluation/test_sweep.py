"""Sweeps: one configuration with lists; and the table and chart of their runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.config_file import parse_configs, read_config
from free_video_llm.evaluation.results_table import Cell, ResultsTable, render
from free_video_llm.evaluation.statistics import Share
from free_video_llm.evaluation.sweep import expand

TEXT = "sets: [toy]\nplan: [lean, 'slow=prompt:1/concat']\nframes: [8, 12]\n"


def test_every_combination_is_a_run_named_for_what_differs():
    configs = parse_configs(TEXT, name="try")
    assert [(c.name, c.plan, c.frames) for c in configs] == [
        ("try-lean-8", "lean", 8), ("try-lean-12", "lean", 12),
        ("try-concat-8", "slow=prompt:1/concat", 8), ("try-concat-12", "slow=prompt:1/concat", 12),
    ]  # fmt: skip
    (one,) = parse_configs("sets: [toy]\nplan: lean\n", name="x")
    assert one.name == "x"
    named = expand({"model": ["a/b-7b", "tiny"], "name": "mine"}, name="x")
    assert [c["name"] for c in named] == ["mine-b-7b", "mine-tiny"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sets: [toy]\nplan: []\n", "empty list"),
        ("sets: [toy]\nplan: [lean, lean]\n", "the same twice"),
        ("sets: [toy]\nframes: [8, x]\n", "frames is a whole number"),
        (f"sets: [toy]\nframes: {list(range(1, 600))}\n", "at most 500"),
    ],
)
def test_wrong_lists(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_configs(text, name="x")


def test_one_run_is_asked_for_where_one_is_needed(tmp_path):
    (tmp_path / "s.yaml").write_text(TEXT)
    with pytest.raises(ConfigError, match="sweep of 4 runs"):
        read_config(tmp_path / "s.yaml")


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["prepare", "toy", "--videos", "4", "--questions", "3"]) == 0
        (folder / "sweep.yaml").write_text(
            "sets: [{set: toy, questions: toy/Toy_QA.csv, videos: toy/videos}]\n"
            "model: tiny\nplan: [lean, uniform-3]\nframes: [8, 12]\n"
        )
        assert main(["eval", "sweep.yaml"]) == 0
    return folder


def test_a_sweep_is_run_and_its_runs_make_one_table(swept, monkeypatch, capsys):
    monkeypatch.chdir(swept)
    runs = sorted(map(str, Path("outputs/artifacts/toy").iterdir()))
    assert len(runs) == 4
    capsys.readouterr()
    assert main(["eval", "sweep.yaml", "--json"]) == 0
    assert [o["new"] for o in json.loads(capsys.readouterr().out)] == [0] * 4
    files = ["--table", "all.md", "--chart", "all.png"]
    assert main(["report", *runs, *files]) == 0
    said = capsys.readouterr().out
    assert "sweep-lean-12" in said
    assert "toy (contains)" in said
    table = Path("all.md").read_text().splitlines()
    assert len(table) == 6
    assert table[2].startswith("| sweep-lean-12 |")
    with Image.open("all.png") as chart:
        assert chart.width > 1000
    assert main(["report", *runs, "--table", "all.csv", "--metric", "exact", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    rows = list(csv.reader(Path("all.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["method", "toy (exact)", "tokens", "s/question"]
    assert rows[1][2] == "144"
    assert main(["report", *runs, "--table", "all.tex"]) == 0
    assert Path("all.tex").read_text().count(r"\\") == 5
    for wrong in (["--table", "x.txt"], ["--chart", "x.gif"], ["--metric", "none"]):
        assert main(["report", *runs, *wrong]) == 2


def test_a_table_by_hand():
    cells = {
        ("a|b", "one"): Cell("choice", Share(1, 2), 100.0, 1.0),
        ("a|b", "two"): Cell("contains", Share(3, 4), 200.0, 3.0),
        ("c_d", "one"): Cell("choice", Share(0, 0), None, None),
    }
    table = ResultsTable(("a|b", "c_d"), ("one", "two"), cells)
    heading, first, second = table.rows()
    assert heading == ("method", "one (choice)", "two (contains)", "tokens", "s/question")
    assert first == ("a|b", "50.0 ±40.5", "75.0 ±32.7", "150", "2.00")
    assert second == ("c_d", "–", "–", "–", "–")
    assert r"| a\|b | 50.0" in render(table, "md")
    assert r"c\_d & -- & --" in render(table, "tex")
    assert "a|b,50.0 ±40.5" in render(table, "csv")
