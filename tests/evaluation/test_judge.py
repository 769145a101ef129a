"""Judging by a server that misbehaves: all rows accounted for, nothing paid for twice."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import made_rows, row, write_run

from faulty_server import GOOD, serve

pytest.importorskip("openai", reason="the judge extra is not installed")

from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.judge import MOST_FAILURES_IN_A_ROW, Judging, Tally
from free_video_llm.evaluation.judge_server import Judge
from free_video_llm.evaluation.run_dir import RunFolder

ROWS = 12


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Twelve answers, two failed rows."""
    rows = [row(i, f"prediction {i} end") for i in range(1, ROWS + 1)]
    return write_run(tmp_path / "run", [*rows, row(13, None), row(14, None)])


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def judge_at(url: str, **options: object) -> Judge:
    settings = {"retries": 2, "timeout_seconds": 60, "concurrency": 4} | options
    return Judge(model="judge-1", base_url=url, **settings)  # type: ignore[arg-type]


def patience(fault: str) -> float:
    """Seconds for a request: a server that hangs is waited for, but a slow machine is not cut."""
    return 3 if fault == "hang" else 60


def ask(run: RunFolder, judge: Judge, replies: Path | None = None) -> Tally:
    with Judging(run, judge, replies or run.path.parent / "replies") as judging:
        return judging.ask_all()


def verdicts(run: RunFolder, judge: Judge) -> dict[int, dict]:
    path = run.path / f"judge-{judge.slug}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == len({line["row"] for line in found}) == ROWS
    return {line["row"]: line for line in found}


def test_every_answer_is_judged_once_with_temperature_0_and_a_seed(run):
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        judge = judge_at(server.url)
        tally = ask(run, judge)
    assert (tally.rows, tally.judged, tally.judge_failed, tally.not_judged) == (12, 12, 0, 0)
    assert tally.requests == len(server.seen) == 12
    assert (tally.tokens_in, tally.tokens_out) == (12 * 200, 12 * 12)
    assert tally.models == ("judge-1-exact-0613",)
    assert server.most_at_once <= 4
    for body in server.seen:
        assert (body["temperature"], body["seed"], body["model"]) == (0, 0, "judge-1")
        assert "response_format" not in body
    assert all(v["pred"] == "yes" and v["score"] == 4 for v in verdicts(run, judge).values())
    about = json.loads((run.path / f"judge-{judge.slug}.json").read_text())
    assert about["exact_models"] == ["judge-1-exact-0613"]
    assert about["judged"] == 12


def test_nothing_is_paid_for_twice(run, tmp_path):
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        judge = judge_at(server.url)
        ask(run, judge)
        assert ask(run, judge).requests == 0
        again = write_run(tmp_path / "other", made_rows(run))
        assert ask(again, judge).requests == 0
        same = [row(i, "the same prediction") | {"question": "q?"} for i in range(1, 4)]
        tally = ask(write_run(tmp_path / "same", same), judge)
        assert (tally.judged, tally.requests) == (3, 1)
    assert len(server.seen) == 13


@pytest.mark.parametrize("fault", ["429", "500", "503", "hang", "drop", "cut"])
def test_a_passing_fault_is_tried_again(run, fault):
    def script(user: str, before: int) -> str:
        return fault if before == 0 and "prediction 3 end" in user else f"ok:{GOOD}"

    with serve(script) as server:
        tally = ask(run, judge_at(server.url, timeout_seconds=patience(fault)))
    assert (tally.judged, tally.judge_failed, tally.not_judged) == (12, 0, 0)
    assert len(server.seen) == 13


@pytest.mark.parametrize("fault", [
    "429", "500", "hang", "drop", "cut", "garbage", "400", "empty", "no choices", "list", "page",
    "huge",
])  # fmt: skip
def test_a_lasting_fault_of_the_server_leaves_its_rows_for_another_time(run, fault):
    def script(user: str, before: int) -> str:
        return fault if "prediction 3 end" in user else f"ok:{GOOD}"

    with serve(script) as server:
        judge = judge_at(server.url, retries=1, timeout_seconds=patience(fault))
        tally = ask(run, judge)
        assert (tally.judged, tally.judge_failed, tally.not_judged) == (11, 0, 1)
        assert verdicts(run, judge)[3]["status"] == "not judged"
        assert verdicts(run, judge)[3]["reason"]
        server.script = lambda user, before: f"ok:{GOOD}"
        tally = ask(run, judge)
        assert (tally.judged, tally.requests) == (12, 1)


@pytest.mark.parametrize(
    "fault",
    [
        "ok:", "null", "ok:yes", "ok:{'pred': 'yes', 'score': '4'}",
        "ok:{'pred': 'yes', 'score': 9}", "ok:{'pred': 'yes', 'score':",
        "ok:__import__('os').system('touch mark')", "ok:{'pred': 'yes', 'score': 4} thanks",
    ],
)  # fmt: skip
def test_a_bad_reply_is_asked_for_again_then_counted_as_failed(run, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def script(user: str, before: int) -> str:
        if "prediction 3 end" in user or ("prediction 4 end" in user and before == 0):
            return fault
        return f"ok:{GOOD}"

    with serve(script) as server:
        judge = judge_at(server.url)
        tally = ask(run, judge)
        assert (tally.judged, tally.judge_failed, tally.not_judged) == (11, 1, 0)
        assert tally.requests == len(server.seen) == 12 + 1 + 2
        assert tally.models == ("judge-1-exact-0613",)  # never the name that was asked for
        failed = verdicts(run, judge)[3]
        assert (failed["status"], failed["attempts"]) == ("judge-failed", 3)
        assert verdicts(run, judge)[4]["attempts"] == 2
        seeds = [
            b["seed"] for b in server.seen if "prediction 3 end" in b["messages"][1]["content"]
        ]
        assert seeds == [0, 1, 2]
        assert ask(run, judge).requests == 0
        assert ask(run, replace(judge, attempts=4)).requests == 1
    assert not (tmp_path / "mark").exists()


def test_every_reply_is_kept_good_and_bad(run):
    def script(user: str, before: int) -> str:
        return "ok:hm" if "prediction 3 end" in user else f"ok:{GOOD}"

    with serve(script) as server:
        judge = judge_at(server.url)
        ask(run, judge)
        with Judging(run, judge, run.path.parent / "replies") as judging:
            kept = [json.loads(x) for x in judging.replies_file.read_text().splitlines()]
    assert len(kept) == 14
    assert sum(reply["text"] == "hm" for reply in kept) == 3
    assert {reply["model"] for reply in kept} == {"judge-1-exact-0613"}
    assert all(reply["usage"] == {"in": 200, "out": 12} for reply in kept)


def test_a_dead_server_stops_the_judging_with_all_rows_accounted_for(tmp_path):
    count = MOST_FAILURES_IN_A_ROW + 30
    run = write_run(tmp_path / "run", [row(i, f"prediction {i} end") for i in range(1, count + 1)])
    with serve(lambda user, before: "500") as server:
        tally = ask(run, judge_at(server.url, retries=0))
    assert "20 times in a row" in (tally.stopped or "")
    assert (tally.judged, tally.judge_failed, tally.not_judged) == (0, 0, count)
    assert len(server.seen) < count


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_refusal_ends_the_judging_in_one_line(run, status):
    with (
        serve(lambda user, before: status) as server,
        pytest.raises(ConfigError, match="the judge's server refuses") as caught,
    ):
        ask(run, judge_at(server.url))
    assert "\n" not in str(caught.value)
    assert len(server.seen) <= 4


def test_key_and_organisation_come_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_ORG", "org-test")
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        ask(run, judge_at(server.url, reply_format="json_schema"))
    assert server.headers[0]["authorization"] == "Bearer sk-test"
    assert server.headers[0]["openai-organization"] == "org-test"
    assert server.seen[0]["response_format"]["json_schema"]["schema"]["required"] == [
        "pred",
        "score",
    ]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8000/v1", "http:// or https:// and a host"),
        ("file:///etc/passwd", "http:// or https:// and a host"),
        ("http://", "http:// or https:// and a host"),
        ("http://[::1/v1", "http:// or https:// and a host"),
        ("https://me:sk-secret@host/v1", "set OPENAI_API_KEY"),
        ("https://host/v1?api-key=sk-secret", "set OPENAI_API_KEY"),
        ("https://host/v1#sk-secret", "set OPENAI_API_KEY"),
        ("http://host:99999/v1", "http:// or https:// and a host"),
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(run, url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Judging(run, judge_at(url), run.path)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(run, status):
    with serve(lambda user, before: f"ok:{GOOD}") as other:
        target = f"{other.url}/chat/completions"
        with (
            serve(lambda user, before: f"to:{status}:{target}") as server,
            pytest.raises(ConfigError, match="sends requests on to") as caught,
        ):
            ask(run, judge_at(server.url))
        assert target in str(caught.value)
        assert "\n" not in str(caught.value)
        assert other.seen == []


@pytest.mark.parametrize("what", ["echo:200", "echo:400", "echo:401", "echo:500"])
def test_a_key_that_the_server_repeats_is_written_nowhere(run, monkeypatch, what):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_ORG", "org-secret")
    said = ""
    with serve(lambda user, before: what) as server:
        try:
            tally = ask(run, judge_at(server.url, retries=0))
            said = repr(tally)
        except ConfigError as error:
            said = str(error)
    assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    files = [path.read_text() for path in run.path.parent.rglob("*") if path.is_file()]
    for text in (said, *files):
        assert "sk-very-secret" not in text
        assert "org-secret" not in text
    assert any("***" in text for text in (said, *files))


@pytest.mark.parametrize(
    ("key", "url", "words"),
    [
        ("sk-é", "http://127.0.0.1:9/v1", "letters that no key has"),
        ("sk-a\nb", "http://127.0.0.1:9/v1", "letters that no key has"),
        ("sk-abcd", "http://judge.example.org/v1", "unencrypted: use https"),
    ],
)
def test_a_key_that_cannot_or_should_not_be_sent_is_refused(run, monkeypatch, key, url, words):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match=words) as caught:
        ask(run, judge_at(url))
    assert key not in str(caught.value)


def test_white_space_around_a_key_is_not_part_of_it(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-test\n")
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        assert ask(run, judge_at(server.url)).judged == 12
    assert server.headers[0]["authorization"] == "Bearer sk-test"


def test_why_rows_have_no_verdict_is_told(run):
    with serve(lambda user, before: "500") as server:
        tally = ask(run, judge_at(server.url, retries=0))
    ((reason, count),) = tally.reasons
    assert count == tally.not_judged == 12
    assert "status 500" in reason


def test_the_command_says_why_nothing_was_judged(run, tmp_path, capsys):
    with serve(lambda user, before: "400") as server:
        code = main([
            "judge", str(run.path), "--judge", "openai:m", "--base-url", server.url,
            "--retries", "0", "--replies", str(tmp_path / "kept"),
        ])  # fmt: skip
    assert code == 1
    assert "no verdict for 12: BadRequestError: Error code: 400" in capsys.readouterr().err


REFUSAL = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


def test_a_parameter_that_is_refused_is_named_with_the_way_out(run):
    def script(user: str, before: int) -> str:
        sent = server.seen[-1]
        return f"refuse:{REFUSAL}" if "max_tokens" in sent else f"ok:{GOOD}"

    with serve(script) as server:
        judge = judge_at(server.url, concurrency=1)
        with pytest.raises(ConfigError, match="refuses max_tokens") as caught:
            ask(run, judge)
        assert "--without max_tokens --param max_completion_tokens=1000" in str(caught.value)
        assert "\n" not in str(caught.value)
        other = replace(
            judge, without=("max_tokens", "temperature"), extra=(("max_completion_tokens", 1000),)
        )
        assert ask(run, other).judged == 12
    sent = server.seen[-1]
    assert (sent["max_completion_tokens"], sent["seed"]) == (1000, 0)
    assert "temperature" not in sent
    assert "max_tokens" not in sent
    rows = [*run.rows()]
    assert other.key(rows[0]) != judge.key(rows[0])  # what was sent is part of who judged
    about = json.loads((run.path / f"judge-{other.slug}.json").read_text())
    assert about["max_completion_tokens"] == 1000
    assert "temperature" not in about


def test_only_what_is_sent_can_be_left_out():
    with pytest.raises(ConfigError, match="unknown parameter 'temprature'; did you mean"):
        Judge(model="m", without=("temprature",))


@pytest.mark.parametrize(
    "line",
    ['{"key": "k", "text": "x"}', '{"key": "k", "attempt": 1}', '{"attempt": 1, "text": "x"}',
     '{"key": "k", "attempt": "1", "text": "x"}', '{"key": "k", "attempt": 0, "text": "x"}'],
)  # fmt: skip
def test_a_damaged_line_of_the_replies_is_told_in_one_line(run, tmp_path, line):
    judge = judge_at("http://127.0.0.1:9/v1")
    (tmp_path / f"{judge.slug}.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match="line 1 is no kept reply") as caught:
        Judging(run, judge, tmp_path).__enter__()
    assert "\n" not in str(caught.value)
    (tmp_path / f"{judge.slug}.jsonl").write_text("")
    with Judging(run, judge, tmp_path):  # the file was let go
        pass


def test_openai_s_own_server_needs_a_key(run):
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        ask(run, Judge(model="gpt-3.5-turbo-0125"))


def test_the_estimate_and_the_cost(run):
    with serve(lambda user, before: f"ok:{GOOD}") as server:
        judge = judge_at(server.url, price=(0.5, 1.5))
        with Judging(run, judge, run.path.parent / "replies") as judging:
            estimate = judging.estimate()
            assert (estimate.rows, estimate.requests) == (12, 12)
            assert 12 * 250 < estimate.tokens_in < 12 * 700
            assert estimate.cost == pytest.approx(
                (estimate.tokens_in * 0.5 + estimate.tokens_out * 1.5) / 1e6
            )
            judging.ask_all()
            assert judging.estimate().requests == 0
    assert judge.cost(2400, 144) == pytest.approx(0.001416)
    assert judge_at(server.url).cost(1, 1) is None


def test_judges_that_cannot_be(run, tmp_path):
    for text in ("gpt-4", "openai:", "anthropic:x", ""):
        with pytest.raises(ConfigError, match="openai:MODEL"):
            Judge.parse(text)
    choice = write_run(tmp_path / "choice", [row(1, "A", answer="x", options=("x", "y"))])
    with pytest.raises(ConfigError, match="multiple choice"):
        Judging(choice, judge_at("http://127.0.0.1:9/v1"), tmp_path)


def test_two_judgings_at_once_are_refused(run):
    judge = judge_at("http://127.0.0.1:9/v1")
    with (
        Judging(run, judge, run.path.parent / "replies"),
        pytest.raises(ConfigError, match="another process"),
        Judging(run, judge, run.path.parent / "replies"),
    ):
        pass


@pytest.mark.skipif(
    "FVL_JUDGE_URL" not in os.environ,
    reason="set FVL_JUDGE_URL and FVL_JUDGE_MODEL to a real OpenAI-compatible server",
)
def test_a_real_server_judges(tmp_path):
    """With `real_judge_server.py`: the transport and the form are real, the verdicts worthless."""
    rows = [
        row(1, "a dog", answer="dog"),
        row(2, "two cats", answer="dog"),
        row(3, "The man is cooking.", answer="cook"),
        row(4, "", answer="car"),
    ]
    judge = Judge(
        model=os.environ.get("FVL_JUDGE_MODEL", "judge"),
        base_url=os.environ["FVL_JUDGE_URL"],
        reply_format=os.environ.get("FVL_JUDGE_FORMAT", "json_schema"),
        timeout_seconds=float(os.environ.get("FVL_JUDGE_TIMEOUT", "180")),
        concurrency=1,
    )
    tally = ask(write_run(tmp_path / "run", rows), judge)
    assert tally.judged + tally.judge_failed == 4
    assert tally.judged >= 3
    assert tally.models
    assert ask(RunFolder(tmp_path / "run"), judge).requests == 0
