"""The command line as a user meets it: output, errors in one line, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from free_video_llm.cli.main import build_parser, main
from free_video_llm.plans.presets import PRESETS
from free_video_llm.samples import find

STAR = "sample:star"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_ask_prints_the_answer_and_says_what_it_rests_on(capsys):
    code, out, err = run(capsys, "ask", STAR, "What color is the star?")
    assert code == 0
    assert out.strip() in ("red", "green", "blue", "yellow", "purple", "orange", "white", "pink")
    assert "slow:" in err
    assert "1,240 of 7,200 visual tokens" in err
    assert "knows only" not in err


def test_several_questions_give_a_line_each(capsys):
    code, out, _ = run(capsys, "ask", STAR, "Is there a star?", "Is there a star", "--quiet")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert out.splitlines()[0] == "Is there a star? yes"


def test_json_holds_answers_and_evidence(capsys, tmp_path: Path):
    picture = tmp_path / "deep" / "why.png"
    code, out, _ = run(
        capsys, "ask", STAR, "Is there a star?", "Where is the star?", "--json",
        "--plan", "paper-small", "--frames", "20", "--picture", str(picture),
    )  # fmt: skip
    assert code == 0
    document = json.loads(out)
    assert document["schema"] == 1
    assert [a["question"] for a in document["answers"]] == [
        "Is there a star?",
        "Where is the star?",
    ]
    assert document["answers"][0]["tokens"]["visual"] == 6 * 45
    assert len(document["answers"][0]["evidence"]["sampled"]["seconds"]) == 20
    saved = [Path(a["picture"]) for a in document["answers"]]
    assert [p.name for p in saved] == ["why-1.png", "why-2.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in saved)


def test_tiny_says_that_it_knows_only_its_world(capsys, tmp_path: Path):
    other = tmp_path / "mine.mp4"
    other.write_bytes(Path(find("sample:needle")).read_bytes() + b"\0" * 8)
    code, _, err = run(capsys, "ask", str(other), "Is there a star?")
    assert code == 0
    notices = [line for line in err.splitlines() if "knows only coloured shapes" in line]
    assert len(notices) == 1
    assert "--model llava-hf/llava-v1.6-vicuna-7b-hf" in notices[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "missing.mp4", "What?"], 3, "missing.mp4"),
        (["ask", "sample:stra", "What?"], 3, "did you mean 'star'"),
        (["ask", STAR, "What?", "--plan", "slofast"], 2, "did you mean 'slowfast'"),
        (["ask", STAR, "What?", "--model", "no-such-folder"], 4, "no-such-folder"),
        (["ask", STAR, "What?", "--picture", "why.bmp"], 2, ".png"),
        (["ask", STAR, "What?", "--load-in-4bit"], 2, "4-bit loading needs a CUDA GPU"),
        (["ask", STAR, "What?", "--option", "one"], 2, "at least two"),
        (["ask", STAR, " "], 2, "question is empty"),
        (["compare-plans", STAR, "What?", "--plans", "paper,nix"], 2, "nix"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(capsys, monkeypatch, arguments, code, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    got, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert got == code
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith("fvl: ")
    assert words in lines[0]


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["ask", STAR, "What?", "--frames", "0"])
    assert stopped.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_ctrl_c_is_told_in_a_line(capsys, monkeypatch):
    def interrupt(*_args: object, **_kw: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("free_video_llm.cli.ask.load_model", interrupt)
    code, _, err = run(capsys, "ask", STAR, "What?")
    assert code == 130
    assert err.startswith("fvl: interrupted")


def test_plans_lists_every_preset_with_its_tokens(capsys):
    code, out, _ = run(capsys, "plans")
    assert code == 0
    assert all(name in out for name in PRESETS)
    assert "2,648" in out
    code, out, _ = run(capsys, "plans", "--side", "12", "--json")
    tokens = {p["name"]: p["tokens"] for p in json.loads(out)["plans"]}
    assert tokens["paper"] == 1240
    assert tokens["slowfast"] == 10 * 72 + 50 * 16


def test_models_and_samples(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert "llava-hf/llava-v1.6-vicuna-7b-hf" in out
    assert "licence" in out
    code, out, _ = run(capsys, "samples")
    assert code == 0
    assert "sample:star" in out


def test_doctor_says_what_can_run(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    tiny = next(m for m in found["models"] if m["name"] == "tiny")
    assert tiny == {"name": "tiny", "cached": True, "runs": ["CPU, in seconds"]}
    assert found["packages"]["torch"]
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert out.startswith("machine")


def test_compare_plans_prints_a_row_for_each(capsys):
    code, out, _ = run(
        capsys, "compare-plans", STAR, "Is there a star?", "--plans", "uniform-3,prompt-3"
    )
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["plan", "uniform-3", "prompt-3"]
    assert all("216" in line for line in out.splitlines()[1:])


def test_every_command_has_help_with_examples(capsys):
    actions = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert {"ask", "plans", "models", "doctor", "convert", "compare-plans"} <= set(actions)
    for name, parser in actions.items():
        assert "examples:" in parser.format_help(), name


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys; import free_video_llm; from free_video_llm.cli.main import build_parser; "
        "build_parser().format_help(); "
        "heavy = ('torch', 'transformers', 'av', 'matplotlib', 'numpy', 'openai', 'ray'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
