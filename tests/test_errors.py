"""Names are checked with the nearest right one in the error; values are shown in one short line."""

from __future__ import annotations

import pytest

from free_video_llm.errors import ConfigError, nearest, one_of, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("papr", "paper"),
        ("PAPER", "paper"),
        ("slow-fast", "SlowFast"),
        ("entirely different", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(name, expected):
    assert nearest(name, ["paper", "SlowFast", "uniform"]) == expected


def test_a_very_long_name_is_like_none():
    assert nearest("paper" * 100_000, ["paper", "SlowFast", "uniform"]) is None


def test_a_right_name_passes():
    one_of("plan", "paper", ["paper", "uniform"], ConfigError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("papr", "unknown plan 'papr'; did you mean 'paper'? (allowed: paper, uniform)"),
        ("zzz", "unknown plan 'zzz' (allowed: paper, uniform)"),
        ("Paper", "unknown plan 'Paper'; did you mean 'paper'? (allowed: paper, uniform)"),
        (5, "unknown plan 5 (allowed: paper, uniform)"),
        (None, "unknown plan None (allowed: paper, uniform)"),
        (["paper"], "unknown plan ['paper'] (allowed: paper, uniform)"),
        ("two\nlines", "unknown plan 'two lines' (allowed: paper, uniform)"),
    ],
)
def test_a_wrong_name_is_told_with_the_allowed_ones(name, message):
    with pytest.raises(ConfigError) as caught:
        one_of("plan", name, ["paper", "uniform"], ConfigError)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a  b\n\tc", "'a b c'"),
        ("\x1b[31m\ud800", "'\\x1b[31m\\ud800'"),
        ("abcdefghijklmn", "'abcdefg…'"),
        ([1, 22, 333, 4444], "[1, 22, …]"),
        (1234, "1234"),
    ],
)
def test_any_value_is_shown_in_one_short_line(value, expected):
    assert shown(value, most=10 if len(expected) == 10 else 60) == expected


def test_numbers_too_long_to_print_and_endless_nesting_are_shown_too():
    assert shown(10**5000) == "a value of type int"
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert len(shown(nested)) <= 60
