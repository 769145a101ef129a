"""Normalisation, offline metrics and statistics: exact values, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm.evaluation.metrics import Scores, read_letter, score_text
from free_video_llm.evaluation.normalise import normalise
from free_video_llm.evaluation.statistics import (
    Share,
    mcnemar,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Dogs", "a dog"),
        ("sits", "SITTING."),
        ("sat", "sit"),
        ("men", "the man"),
        ("women", "woman"),
        ("children", "child"),
        ("knives", "knife"),
        ("playing guitar", "plays guitar"),
        ("two", "2"),
        ("twenty-one", "21"),
        ("two hundred and five", "205"),
        ("1,000 people", "one thousand people"),
        ("T-shirt", "t shirt"),
        ("it’s", "it's"),
        ("ﬁre", "fire"),
        ("3.5 meters", "3.5 meter"),
    ],
)
def test_the_same_answer_in_other_clothes_is_equal(first, second):
    assert normalise(first) == normalise(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("red", "read"), ("cat", "dog"), ("no", "not"), ("1", "10"), ("two three", "23"),
        ("3.5", "35"), ("one of two", "12"), ("left", "right"), ("person", "man"),
    ],
)  # fmt: skip
def test_different_answers_stay_different(first, second):
    assert normalise(first) != normalise(second)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("the", ()),
        ("twenty and five", ("20", "and", "5")),
        ("nineteen eighty four", ("19", "84")),
        ("hundred", ("hundr",)),
        ("three million two thousand one", ("3002001",)),
        ("zero", ("0",)),
    ],
)
def test_normal_forms(text, words):
    assert normalise(text) == words


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_normalising_depends_on_case_and_articles_no_more(text):
    assert normalise(text) == normalise(f"  The {text} a") or not text.isascii()
    if text.isascii():
        assert normalise(text.upper()) == normalise(text.lower())


@pytest.mark.parametrize(
    ("prediction", "answer", "scores"),
    [
        ("couch", "couch", Scores(True, True, 1.0)),
        ("two men sit on the couch", "couch", Scores(False, True, 2 / 6)),
        ("No, there is no dog.", "yes", Scores(False, False, 0.0)),
        ("not", "no", Scores(False, False, 0.0)),
        ("ice cold cream", "ice cream", Scores(False, False, 0.8)),
        ("", "dog", Scores(False, False, 0.0)),
        ("the", "the", Scores(True, True, 1.0)),
        ("__import__('os').system('x')", "x", Scores(False, True, pytest.approx(2 / 5, abs=0.1))),
    ],
)
def test_scores_of_an_answer(prediction, answer, scores):
    found = score_text(prediction, answer)
    assert (found.exact, found.contains) == (scores.exact, scores.contains)
    assert found.f1 == pytest.approx(scores.f1, abs=0.1 if "import" in prediction else 1e-9)


@given(st.text(max_size=80), st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_exact_implies_containment_and_full_f1(prediction, answer):
    scores = score_text(prediction, answer)
    assert 0 <= scores.f1 <= 1
    assert not scores.exact or (scores.contains and scores.f1 == 1)
    assert score_text(answer, answer).exact


OPTIONS = ("a cat", "a dog", "a bird", "fish")


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("A", "A"), ("(B)", "B"), ("B) a dog", "B"), ("C.", "C"), ("b", "B"), (" D\n", "D"),
        ("Answer: D", "D"), ("The best option is C", "C"), ("Best option:(C) a bird", "C"),
        ("a dog", "B"), ("Fish", "D"), ("a bird, because it flies", "C"), ("A dog", "B"),
        ("A man", None), ("", None), ("E", None), ("I think B", "B"), ("A and B", None),
        ("no", None), ("__import__('os')", None),
    ],
)  # fmt: skip
def test_the_letter_of_an_answer(prediction, letter):
    assert read_letter(prediction, OPTIONS) == letter


def test_equal_options_are_not_told_apart_by_text():
    assert read_letter("a cat", ("a cat", "a cat")) is None
    assert read_letter("B) a cat", ("a cat", "a cat")) == "B"


# --- statistics -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 1, 0.2065, 1.0)],
)
def test_wilson_s_interval(yes, n, low, high):
    assert wilson(yes, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share(pair):
    low, high = wilson(*pair)
    assert 0 <= low <= pair[0] / pair[1] <= high <= 1


def test_no_rows_have_no_share():
    assert Share(0, 0).value is None
    assert Share(0, 0).to_dict()["interval95"] is None
    with pytest.raises(ValueError, match="0 ≤ yes"):
        wilson(2, 1)


def test_mcnemar_is_exact_and_the_long_way_agrees():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(2, 10) == mcnemar(10, 2) == 158 / 4096
    assert mcnemar(480, 520) == pytest.approx(mcnemar(480, 521), rel=0.1)


def test_a_paired_difference_draws_whole_videos():
    first, second = [0.0] * 100, [1.0] * 50 + [0.0] * 50
    by_row = paired_difference(first, second, list(range(100)))
    by_video = paired_difference(first, second, [i // 25 for i in range(100)])
    assert by_row.value == by_video.value == 0.5
    assert by_row.low == pytest.approx(0.40, abs=0.02)
    assert by_row.high == pytest.approx(0.60, abs=0.02)
    assert by_video.high - by_video.low > 2 * (by_row.high - by_row.low)
    assert paired_difference(first, second, list(range(100))) == by_row


def test_one_video_tells_nothing_and_no_pairs_are_refused():
    assert paired_difference([0, 0], [1, 0], ["a", "a"]).to_dict() == {
        "value": 0.5,
        "low": -1.0,
        "high": 1.0,
    }
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [], [])
