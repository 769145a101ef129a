"""The judge's protocol: the exact words, and the one form of reply that is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import row as made_row
from shared_files import SHARED

from free_video_llm.evaluation.judge_server import Judge
from free_video_llm.evaluation.protocol import Verdict, messages, read_verdict
from free_video_llm.evaluation.row import Row


def test_the_words_are_the_field_s():
    source = SHARED / "data" / "judge_protocol.json"
    if not source.is_file():
        pytest.skip(f"no {source}: set FVL_SHARED")
    protocol = json.loads(source.read_text(encoding="utf-8"))
    system, user = messages("q %s %d", "a {x}", "p\n")
    assert system == {"role": "system", "content": protocol["system"]}
    first, second, third, last = protocol["user"].split("%s")
    assert user["content"] == f"{first}q %s %d{second}a {{x}}{third}p\n{last}"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("{'pred': 'yes', 'score': 4}", Verdict(True, 4)),
        ("{'pred': 'no', 'score': 0}", Verdict(False, 0)),
        ("{'pred': 'yes', 'score': 4.8}", Verdict(True, 4.8)),
        ('{"pred": "no", "score": 2}', Verdict(False, 2)),
        ('\n{"score": 5, "pred": "Yes"}\n', Verdict(True, 5)),
        ("{'pred': 'yes', 'score': 4,}", Verdict(True, 4)),
        ("```python\n{'pred': 'yes', 'score': 3}\n```", Verdict(True, 3)),
        ('```\n{\n  "pred": "yes",\n  "score": 3\n}\n```', Verdict(True, 3)),
    ],
)
def test_replies_that_are_read(reply, verdict):
    assert read_verdict(reply) == verdict


@pytest.mark.parametrize(
    "reply",
    [
        "", "yes", "{}", "[]", "null", "{'pred': 'yes'}", "{'score': 4}",
        "{'pred': 'yes', 'score': '4'}", "{'pred': 'yes', 'score': 9}",
        "{'pred': 'yes', 'score': -1}", "{'pred': 'yes', 'score': 5.1}",
        "{'pred': 'maybe', 'score': 4}", "{'pred': yes, 'score': 4}",
        "{'pred': True, 'score': 4}", "{'pred': 'yes', 'score': None}",
        "{'pred': 'yes', 'score': nan}", "{'pred': 'yes', 'score': 1e0}",
        "{'pred': 'yes', 'score': 4} and more", "Sure! {'pred': 'yes', 'score': 4}",
        "{'pred': 'yes', 'pred': 'no'}", "{'score': 1, 'score': 2}",
        "{'pred': 'yes', 'score': 4, 'x': 1}", "{'pred': 'yes', 'score': 4",
        "{'pred': \"yes', 'score': 4}", "{'pred': 'yes', 'score': 2+2}",
        "{'pred': 'yes', 'score': __import__('os').system('touch mark')}",
        "{'pred': 'yes', 'score': (4)}", "x" * 5000, "{" * 1999,
        "{'pred': 'yes', 'score': 4}{'pred': 'no', 'score': 1}",
    ],
)  # fmt: skip
def test_replies_that_are_not_read(reply, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(read_verdict(reply), str)
    assert not list(tmp_path.iterdir())


@given(st.text(alphabet="{}'\":, predscoyn0123456789.\n`\\", max_size=80))
@settings(max_examples=500, deadline=200)
def test_any_reply_is_a_verdict_within_bounds_or_a_reason(reply):
    verdict = read_verdict(reply)
    assert isinstance(verdict, str) or 0 <= verdict.score <= 5


def test_a_key_depends_on_everything_that_decides_the_reply():
    plain = made_row(1, "p", answer="a")
    row = Row.from_dict(plain)
    judge = Judge(model="m", base_url="http://x/v1")
    others = [
        Judge(model="n", base_url="http://x/v1").key(row),
        Judge(model="m", base_url="http://y/v1").key(row),
        Judge(model="m", base_url="http://x/v1", seed=1).key(row),
        judge.key(Row.from_dict(plain | {"prediction": "p "})),
        judge.key(Row.from_dict(plain | {"answer": "b"})),
    ]
    assert len({judge.key(row), *others}) == 6
    assert judge.key(Row.from_dict(plain | {"row": 7})) == judge.key(row)
    assert Judge(model="m", base_url="http://x/v1/", concurrency=3).key(row) == judge.key(row)
