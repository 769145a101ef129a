"""Figures that add up, their intervals, and pages that run nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import row, write_judge, write_run

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.page import render_page
from free_video_llm.evaluation.render import kinds_table, render_markdown, render_text
from free_video_llm.evaluation.report import make_report
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.evaluation.statistics import wilson
from free_video_llm.evaluation.write_report import write_report


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Eight answered, two failed, two not reached."""
    rows = [row(1, "dog"), row(2, "a dog"), row(3, "two dogs run"), row(4, "cat")]
    rows += [row(i, "cat", kind="color") for i in range(5, 9)]
    return write_run(tmp_path / "run", [*rows, row(9, None), row(10, None)], asked=12)


def test_counts_add_up_and_failures_count_as_wrong(run):
    write_judge(run, {1: ("yes", 5), 2: ("yes", 4), 3: ("no", 1), 4: None, 5: ("no", 0)})
    report = make_report(run)
    total = report.total
    assert (total.asked, total.answered, total.failed, total.not_reached) == (12, 8, 2, 2)
    assert (total.accuracy["exact"].yes, total.accuracy["exact"].n) == (2, 10)
    assert total.accuracy["contains"].yes == 3
    assert total.accuracy["contains"].interval == wilson(3, 10)
    assert total.f1 == pytest.approx((1 + 1 + 2 / 4) / 10)
    judge = total.judges["j"]
    assert (judge.judged, judge.judge_failed, judge.not_judged) == (4, 1, 3)
    assert judge.judged + judge.judge_failed + judge.not_judged == total.answered
    assert (judge.accuracy.yes, judge.accuracy.n) == (2, 4 + 2)
    assert (judge.accuracy_judged.yes, judge.accuracy_judged.n) == (2, 4)
    assert judge.score == 2.5
    assert sum(group.asked for group in report.kinds) == total.asked
    assert sum(group.answered for group in report.kinds) == total.answered
    assert report.reasons == (("VideoError: no video … in x", 2),)


def test_a_video_s_time_counts_once_and_a_batch_s_is_shared(tmp_path):
    run = write_run(tmp_path / "run", [row(i, "dog", video="v") for i in (1, 2, 3, 4)])
    costs = make_report(run).costs
    assert costs.seconds_by_step == {
        "decode": 0.25, "encode": 0.5, "prompt": 0.0, "select": 0.2, "project": 0.3, "prefill": 1.5,
        "generate": 0.5,
    }  # fmt: skip
    assert costs.seconds == pytest.approx(3.25)
    assert (costs.visual_tokens, costs.prompt_tokens, costs.answer_tokens) == (10, 30, 2)


def test_multiple_choice_goes_by_letter(tmp_path):
    options = ("a cat", "a dog")
    rows = [
        row(i, said, answer="a dog", options=options)
        for i, said in enumerate(["B", "(B) a dog", "A", "a dog", "perhaps"], start=1)
    ]
    total = make_report(write_run(tmp_path / "run", [*rows, row(6, None, options=options)])).total
    assert (total.accuracy["choice"].yes, total.accuracy["choice"].n) == (3, 6)
    assert total.unreadable == 1
    assert total.f1 is None


def test_a_run_without_answers_has_a_report_too(tmp_path):
    report = make_report(write_run(tmp_path / "run", [row(1, None)]))
    assert report.total.answered == 0
    assert "1 failed" not in render_text(report)
    assert render_markdown(report)
    assert render_page(report)


def test_the_samples_are_the_worst_and_a_random_lot(run):
    write_judge(run, {3: ("no", 2), 4: ("no", 0), 5: ("no", 1), 1: ("yes", 5)})
    report = make_report(run, sample=3, seed=7)
    assert [r["row"] for r in report.worst] == [4, 5, 3]
    assert [r["row"] for r in report.random] == [
        r["row"] for r in make_report(run, sample=3, seed=7).random
    ]
    assert len(report.random) == 3
    assert report.worst[0]["evidence"]["pathways"][0]["name"] == "slow"


def test_the_judge_s_exact_version_is_named_everywhere(run, tmp_path):
    write_judge(run, {1: ("yes", 5)})
    report = make_report(run)
    paths = write_report(report, tmp_path / "logs")
    assert [p.name for p in paths] == ["report.json", "report.md", "report.html"]
    assert paths[0].parent == tmp_path / "logs" / "toy" / "run"
    for text in (*(p.read_text() for p in paths), render_text(report)):
        assert "judge-1-0613" in text
    data = json.loads(paths[0].read_text())
    assert data["total"]["judges"]["j"]["accuracy"]["interval95"] == list(wilson(1, 3))


def test_types_have_the_judge_s_counts_and_the_page_its_verdicts(run):
    write_judge(run, {4: ("yes", 5), 5: ("no", 0), 6: None})
    report = make_report(run, sample=12)
    header, lines = kinds_table(report)
    judged = [header.index(name) for name in ("judged", "judge failed")]
    assert {line[0]: [line[i] for i in judged] for line in lines} == {
        "color": ["1", "1"],
        "object": ["1", "0"],
    }
    page = render_page(report)
    assert page.count('<p class="good">cat</p>') == 1  # row 4: the words differ, the judge agrees
    assert "<h2>Worst answers</h2>\n<p>none</p>" in render_page(replace(report, worst=()))


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attributes if k in ("src", "href", "action", "data")]
        assert not any(k.startswith("on") for k, _ in attributes)


HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> | `x` \x1b[31m\n## head"


def test_hostile_texts_stay_texts_in_every_form(tmp_path):
    hostile = row(1, HOSTILE, kind=HOSTILE) | {"question": HOSTILE, "video": HOSTILE}
    run = write_run(tmp_path / "run", [hostile, row(2, "dog"), row(3, None) | {"reason": HOSTILE}])
    write_judge(run, {1: ("no", 0)})
    report = make_report(run)
    page = Page(render_page(report))
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert page.links == []
    assert page.tags.count("svg") == 3
    markdown = render_markdown(report)
    assert "<script" not in markdown
    assert "\n## head" not in markdown
    assert "\x1b" not in render_text(report)


def test_the_page_loads_nothing(run):
    page = render_page(make_report(run))
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_damaged_files_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="no run in"):
        make_report(RunFolder(tmp_path))
    (run.path / "judge-x.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"judge-x\.json"):
        make_report(run)
    (run.path / "judge-x.jsonl").unlink()
    (run.path / "run.json").write_text("[]")
    with pytest.raises(ConfigError, match="not a JSON object"):
        make_report(run)
