"""Evidence scored against what answers are known to rest on, by hand, and from every form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import row, write_run

from free_video_llm.benchmarks.base import Question
from free_video_llm.cli.main import main
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.evidence_score import (
    Truth,
    box_inside,
    box_iou,
    figures_of,
    joined,
    score_evidence,
    stretches_of,
    time_iou,
)
from free_video_llm.evaluation.report import make_report
from free_video_llm.evaluation.run_dir import RunFolder
from free_video_llm.evaluation.truth import read_truth
from free_video_llm.tiny.questions import Question as ToyQuestion
from free_video_llm.tiny.truth import boxes_of, moments_of
from free_video_llm.tiny.videos import sample_needle


def evidence(*seconds: float, region=None, sampled=(0, 2, 4, 6, 8)) -> dict:
    frames = [
        {"sampled": 0, "second": s, "score": 0.5} | ({"region": region} if region else {})
        for s in seconds
    ]
    overview = [{"sampled": i, "second": s, "score": 0.5} for i, s in enumerate(sampled)]
    return {
        "duration_seconds": 10.0,
        "sampled": {"seconds": list(sampled), "scores": [0.5] * len(sampled)},
        "pathways": [
            {"name": "slow", "tokens": 4, "cropped": bool(region), "frames": frames},
            {"name": "fast", "tokens": 4, "cropped": False, "frames": overview},
        ],
    }


def test_a_score_by_hand():
    # 2 s stands for 1 to 3, 8 s for 7 to 10: 5 seconds, of which 1 is in the moment of 2 to 4.
    score = score_evidence(evidence(2, 8), Truth(((2.0, 4.0),)))
    assert score is not None
    assert (score.hit, score.precision) == (True, 0.5)
    assert score.time_iou == pytest.approx(1 / 6)
    assert score.box_iou is None
    missed = score_evidence(evidence(6), Truth(((2.0, 4.0),)))
    assert missed is not None
    assert (missed.hit, missed.precision, missed.time_iou) == (False, 0.0, 0.0)


def test_an_overview_counts_only_where_it_is_all():
    both = evidence(6)
    assert not score_evidence(both, Truth(((2.0, 4.0),))).hit
    alone = both | {"pathways": both["pathways"][1:]}
    score = score_evidence(alone, Truth(((2.0, 4.0),)))
    assert score.hit
    assert score.precision == 0.2  # the frame of 4 s begins where the moment ends
    assert score.time_iou == pytest.approx(0.2)
    assert score_evidence(both | {"pathways": []}, Truth(((2.0, 4.0),))) is None


@pytest.mark.parametrize(("second", "hit"), [(2.333, True), (2.3333334, True), (3.333, False)])
def test_a_frame_at_a_moment_s_edge(second: float, hit: bool):
    """Times of sevenths and thirds are not the same to the last bit wherever they come from."""
    score = score_evidence(evidence(second), Truth(((7 / 3, 10 / 3),)))
    assert score.hit == hit


def test_a_moment_of_one_frame_is_met_nearby():
    assert score_evidence(evidence(8), Truth(((3.5, 3.5),))).hit  # 4.5 s away
    assert not score_evidence(evidence(8), Truth(((2.5, 2.5),))).hit


def test_boxes_of_frames_near_in_time():
    region = [0.0, 0.0, 0.5, 1.0]
    truth = Truth(((0.0, 10.0),), ((2.2, (0.25, 0.0, 0.75, 1.0)), (7.0, (0.0, 0.0, 1.0, 1.0))))
    score = score_evidence(evidence(2, region=region), truth)
    assert score.box_iou == pytest.approx(1 / 3)
    assert score.box_inside == pytest.approx(0.5)
    whole = score_evidence(evidence(2), truth)  # not cropped: the whole frame
    assert (whole.box_iou, whole.box_inside) == (0.5, 1.0)


def test_the_maths_against_plain_counting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        some, other = (
            [tuple(sorted(rng.integers(0, 40, 2).tolist())) for _ in range(4)] for _ in range(2)
        )
        cover = [{t for a, b in part for t in range(a, b)} for part in (some, other)]
        either = len(cover[0] | cover[1])
        expected = len(cover[0] & cover[1]) / either if either else 0.0
        assert time_iou(some, other) == pytest.approx(expected)
        assert sum(b - a for a, b in joined(some)) == len(cover[0])
    assert stretches_of([0.0, 9.0], [0.0, 4.0, 9.0], 9.0) == [(0.0, 2.0), (6.5, 9.0)]
    assert box_iou((0, 0, 1, 1), (0, 0, 0, 0)) == box_inside((0, 0, 1, 1), (1, 1, 1, 1)) == 0.0


def test_figures_are_means_over_rows_and_over_those_with_boxes():
    scores = [
        score_evidence(evidence(2), Truth(((2.0, 4.0),), ((2.0, (0.0, 0.0, 1.0, 1.0)),))),
        score_evidence(evidence(6), Truth(((2.0, 4.0),))),
    ]
    figures = figures_of(scores)
    assert (figures.rows, figures.hit, figures.boxes, figures.box_iou) == (2, 0.5, 1, 1.0)


QUESTION = Question(row=1, video="abc", question="Who?", answer="he", question_id="abc_7")
FORMS = {
    "cgbench.json": json.dumps(
        [{"video_uid": "abc", "qid": 7, "question": "Who?", "clue_intervals": [[1, 2], [5, 6]]}]
    ),
    "text.json": json.dumps(
        [{"video_uid": "abc.mp4", "question": "Who?", "clue_intervals": "[[1,2],[5,6]]"}]
    ),
    "gsub_test.json": json.dumps(
        {"abc": {"duration": 9, "fps": 30, "location": {"7": [[1, 2], [5, 6]]}}}
    ),
    "haystack.jsonl": json.dumps(
        {"video_id": "abc", "question": "Who?", "frame_indexes_video": [30, 150], "fps": 30}
    ),
    "mine.csv": "video,question_id,start,end,boxes\nabc,7,1,2,\nabc.mp4,abc_7,5,6,\n",
    "mine2.csv": 'video,question,moments\nabc,Who?,"[[1, 2], [5, 6]]"\n',
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_truth(name: str, tmp_path: Path):
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    truths = read_truth(tmp_path / name)
    found = truths.of(QUESTION)
    if name == "haystack.jsonl":
        assert found.moments == ((1.0, 1.0), (5.0, 5.0))
    elif name == "mine.csv":  # two rows, by two names of one question
        assert found.moments == ((5.0, 6.0),)
        assert truths.of(replace(QUESTION, question_id="7")).moments == ((1.0, 2.0),)
    else:
        assert found.moments == ((1.0, 2.0), (5.0, 6.0))
    assert truths.of(replace(QUESTION, video="xyz")) is None
    assert truths.of(replace(QUESTION, question="Why?", question_id="8")) is None


def test_records_of_one_question_are_joined(tmp_path: Path):
    lines = [{"video": "a", "qid": "1", "start": s, "end": s + 1} for s in (1, 5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = read_truth(tmp_path / "a.jsonl").of(replace(QUESTION, video="a", question_id="1"))
    assert found.moments == ((1.0, 2.0), (5.0, 6.0))


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"video": "a", "qid": 1}, "no moment"),
        ({"video": "a", "start": 1, "end": 2}, "names no video, or no question"),
        ({"qid": 1, "start": 1, "end": 2}, "names no video"),
        ({"video": "a", "qid": 1, "start": 3, "end": 2}, "ends before it begins"),
        ({"video": "a", "qid": 1, "start": "x", "end": 2}, "could not convert"),
        ({"video": "a", "qid": 1, "moments": [[1]]}, "record 1"),
        ({"video": "a", "qid": 1, "moments": [[1, 1e999]]}, "no number"),
        ({"video": "a", "qid": 1, "frame_indexes": [3]}, "no number"),
        ({"video": "a", "qid": 1, "start": 1, "end": 2, "boxes": [[1, 2]]}, "a box is"),
        ({"video": "a", "qid": 1, "moments": "[[1, 2"}, "record 1"),
    ],
)
def test_a_wrong_record_is_named(record: dict, what: str, tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps([record]), encoding="utf-8")
    with pytest.raises(ConfigError, match=what):
        read_truth(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "no JSON"), ("[]", "no records"), ("3", "neither"), ('{"a": 1}', "neither"),
     ('{"a": {"location": 3}}', "no JSON object"), ("[" * 100_000, "no JSON")],
)  # fmt: skip
def test_a_wrong_file_is_refused(text: str, what: str, tmp_path: Path):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=what):
        read_truth(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="cannot read"):
        read_truth(tmp_path / "b.json")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run", [row(1, "dog", video="a"), row(2, None, video="a")], asked=2)


def test_a_report_with_a_truth(run: RunFolder, tmp_path: Path, capsys):
    truth = [{"video": "a", "qid": n, "moments": [[0.9, 1.4]]} for n in ("1", "2")]
    truth[0]["boxes"] = [[1.0, 0.0, 0.5, 0.5, 1.0]]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth), encoding="utf-8")
    figures = make_report(run, truth=read_truth(path)).evidence
    assert (figures.rows, figures.hit, figures.box_iou) == (1, 1.0, 1.0)
    assert figures.time_iou == pytest.approx(0.5 / 1.5)  # 1 s stands for 0.5 to 2
    words = ["report", str(run.path), "--logs", str(tmp_path / "logs")]
    assert main([*words, "--truth", str(path)]) == 0
    assert "time IoU" in capsys.readouterr().out
    (path,) = (tmp_path / "logs").rglob("report.html")
    page = path.read_text(encoding="utf-8")
    assert "share of the true box inside the region" in page
    assert make_report(run).evidence is None


def test_a_truth_of_other_questions_is_refused(run: RunFolder, tmp_path: Path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps([{"video": "b", "qid": "1", "moments": [[1, 2]]}]), encoding="utf-8")
    with pytest.raises(ConfigError, match="none of this run's questions"):
        make_report(run, truth=read_truth(path))


def test_when_and_where_a_toy_question_is_to_be_seen():
    clip, needle = sample_needle(np.random.default_rng(5))
    asked = ToyQuestion("color", "", needle.color, shape=needle.shape)
    seen = [needle.shape in {t.shape for t in things} for things in clip.things()]
    first, last = seen.index(True), len(seen) - seen[::-1].index(True)
    ((start, end),) = moments_of(clip, asked)
    assert (start, end) == (first / clip.fps, last / clip.fps)
    boxes = boxes_of(clip, asked)
    assert len(boxes) == sum(seen)
    second, (left, top, right, bottom) = boxes[0]
    assert second == start
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((needle.x, needle.y))
    assert moments_of(clip, ToyQuestion("is there shape", "", "no", shape="hexagon")) == []
