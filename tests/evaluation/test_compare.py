"""Comparing runs: paired rows, intervals, and what keeps two runs from being compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import row, write_judge, write_run

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.compare import compare_runs, describe


def run(folder: Path, name: str, said: dict[int, str | None], **changes):  # type: ignore[no-untyped-def]
    tokens = changes.pop("tokens", 10)
    return write_run(folder / name, [row(i, p, tokens=tokens) for i, p in said.items()], **changes)


def test_only_rows_that_both_answered_are_paired(tmp_path):
    first = run(tmp_path, "a", {1: "dog", 2: "cat", 3: None, 4: "cat", 5: "dog"})
    second = run(tmp_path, "b", {1: "dog", 2: "dog", 3: "dog", 4: "dog", 5: None})
    (c,) = compare_runs([first, second])
    assert (c.pairs, c.answered_only_first, c.answered_only_second) == (3, 1, 1)
    assert c.metric == "contains"
    assert c.means == (pytest.approx(1 / 3), 1.0)
    assert c.difference.value == pytest.approx(2 / 3)
    assert c.p == 0.5
    assert c.equal_tokens
    assert c.notes == ()
    assert c.discordant == (0, 2)
    told = c.to_dict()
    assert told["mcnemar_p"] == 0.5
    assert (told["right_only_first"], told["right_only_second"]) == (0, 2)
    assert ("discordant", "right only in first 0, only in second 2") in describe(c)
    assert ("pairs", "3 (answered only in first 1, only in second 1: left out)") in describe(c)
    assert any("+66.7 points" in text for _, text in describe(c))


def test_unequal_tokens_and_other_settings_are_said(tmp_path):
    first = run(tmp_path, "a", {1: "dog", 9: "cat"})
    settings = {
        "plan": {}, "frames": 8, "decode": "exact", "resize": "bicubic", "max_new_tokens": 3,
        "batch": 3, "conv_mode": None,
    }  # fmt: skip
    model = {"name": "other", "fingerprint": "sha256:g"}
    second = run(tmp_path, "b", {1: "dog", 9: "cat"}, tokens=20, settings=settings, model=model)
    (c,) = compare_runs([first, second], metric="f1")
    assert not c.equal_tokens
    assert c.tokens == (10, 20)
    assert set(c.notes) == {"different models", "different frames: 4 and 8"}
    assert c.p is None
    assert ("tokens", "NOT equal") in describe(c)


def test_a_judge_that_both_have_is_the_measure(tmp_path):
    first = run(tmp_path, "a", {1: "x", 2: "x", 5: "x"})
    second = run(tmp_path, "b", {1: "x", 2: "x", 5: "x"})
    write_judge(first, {1: ("yes", 5), 2: ("no", 1), 5: ("no", 1)})
    write_judge(second, {1: ("yes", 5), 2: ("yes", 4), 5: None})
    (c,) = compare_runs([first, second])
    assert (c.metric, c.pairs, c.means) == ("j", 2, (0.5, 1.0))
    about = second.path / "judge-j.json"
    about.write_text(about.read_text().replace("judge-1-0613", "judge-1-1106"))
    (c,) = compare_runs([first, second])
    assert any("different judges" in note for note in c.notes)


def test_the_first_is_the_base_of_all(tmp_path):
    runs = [run(tmp_path, name, {1: "dog", 2: "cat"}) for name in "abc"]
    comparisons = compare_runs(runs)
    assert [(c.first, c.second) for c in comparisons] == [("toy/a", "toy/b"), ("toy/a", "toy/c")]
    assert all(c.difference.value == 0 and c.p == 1 for c in comparisons)


def test_what_cannot_be_compared(tmp_path):
    first = run(tmp_path, "a", {1: "dog"})
    other = {"rows": 1, "videos": 1, "kinds": {}, "hash": "sha256:2"}
    second = run(tmp_path, "b", {1: "dog"}, questions=other)
    with pytest.raises(ConfigError, match="same questions"):
        compare_runs([first, second])
    with pytest.raises(ConfigError, match="two runs"):
        compare_runs([first])
    third = run(tmp_path, "c", {2: "dog"})
    with pytest.raises(ConfigError, match="no row in common"):
        compare_runs([first, third])
    with pytest.raises(ConfigError, match="did you mean 'contains'"):
        compare_runs([first, third], metric="contain")


def test_runs_with_pictures_are_compared_by_their_prompts(tmp_path):
    def shown(number: int, prompt: int) -> dict:
        made = row(number, "dog")
        return made | {"tokens": {"visual": 0, "by_pathway": {}, "prompt": prompt, "answer": 2}}

    first = write_run(tmp_path / "a", [shown(n, 100) for n in range(1, 5)])
    second = write_run(tmp_path / "b", [shown(n, 140) for n in range(1, 5)])
    (comparison,) = compare_runs([first, second])
    assert (comparison.counted, comparison.tokens) == ("prompt", (100.0, 140.0))
    assert not comparison.equal_tokens
    assert comparison.to_dict()["prompt_tokens"] == [100.0, 140.0]
    assert "140.0 prompt tokens" in dict(describe(comparison))["second"]
    (same,) = compare_runs([first, first])
    assert same.equal_tokens
