"""What an answer rests on: frames with their times, regions, and maps on the true grid."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from free_video_llm import Plan
from free_video_llm.answer import Evidence, gather_evidence
from free_video_llm.cli.main import main
from free_video_llm.plans.apply import perceive
from free_video_llm.video.read import Frames
from toys import QUESTION, Identity, placed_features

RIGHT = [(row, column) for row in range(4) for column in (2, 3)]
SCORES = [0.5, 0.1, 0.9]


def evidence_of(notation: str, scores: list[float] = SCORES) -> Evidence:
    """The evidence of a plan on a clip of 4 × 4 patches whose right half is asked about."""
    count = len(scores)
    frames = Frames(
        pixels=np.zeros((count, 8, 8, 3), np.uint8),
        seconds=np.arange(count) * 1.5 + 0.25,
        indices=np.arange(count) * 30,
        total=count * 30,
        duration=count * 1.5,
        source="clip.mp4",
        width=640,
        height=360,
        warnings=(),
    )
    plan = Plan.parse(notation)
    features = placed_features(scores, [RIGHT] * count, 4)
    tokens = perceive(features, QUESTION, plan, Identity())
    return gather_evidence(frames, tokens, plan, side=4)


def test_a_cropped_frame_with_its_time_its_box_and_its_map():
    evidence = evidence_of("slow=prompt:2/spatial_1d_max_pool/crop:0.5")
    (pathway,) = evidence.pathways
    assert (pathway.name, pathway.tokens, pathway.cropped) == ("slow", 6, True)
    assert [kept.frame for kept in pathway.kept] == [0, 2]
    assert [kept.second for kept in pathway.kept] == [0.25, 3.25]
    assert [kept.score for kept in pathway.kept] == pytest.approx([0.5, 0.9])
    for kept in pathway.kept:
        assert kept.region == (0.5, 0.0, 1.0, 0.75)
        assert kept.cells.tolist() == [
            [0.5, 0.0, 1.0, 0.25],
            [0.5, 0.25, 1.0, 0.5],
            [0.5, 0.5, 1.0, 0.75],
        ]
        np.testing.assert_allclose(kept.similarity, [[-(0.5**0.5), 0.5**0.5]] * 4, rtol=1e-6)


def test_the_released_reading_is_told_on_the_true_grid():
    evidence = evidence_of("slow=prompt:1/spatial_1d_max_pool/crop:0.5@released")
    (kept,) = evidence.pathways[0].kept
    # A band of a transposed grid: one cell of the first row, both of the second.
    assert kept.cells.tolist() == [
        [0.5, 0.0, 1.0, 0.25],
        [0.0, 0.25, 0.5, 0.5],
        [0.5, 0.25, 1.0, 0.5],
    ]
    assert kept.region == (0.0, 0.0, 1.0, 0.5)
    assert kept.similarity.tolist() == [[0, 1]] * 4


def test_a_frame_that_is_shown_twice_is_told_twice():
    evidence = evidence_of("slow=uniform:2/spatial_1d_max_pool/crop:0.5@released", [0.5])
    (pathway,) = evidence.pathways
    assert pathway.tokens == 6
    assert [(kept.frame, len(kept.cells)) for kept in pathway.kept] == [(0, 3), (0, 3)]


def test_best_cells_are_told_one_by_one():
    (kept,) = evidence_of("slow=prompt:1/concat/cells:0.25").pathways[0].kept
    assert len(kept.cells) == 4
    assert kept.region[0] >= 0.5  # all on the right
    assert kept.region[2] <= 1.0


def test_whole_frames_and_overviews_have_no_map():
    evidence = evidence_of("slow=uniform:2/concat+fast=all/adaptive_2d_pool:2x2")
    slow, fast = evidence.pathways
    assert [kept.frame for kept in slow.kept] == [0, 2]
    assert [kept.frame for kept in fast.kept] == [0, 1, 2]
    assert (slow.tokens, fast.tokens, evidence.tokens, evidence.all_tokens) == (32, 12, 44, 48)
    for kept in (*slow.kept, *fast.kept):
        assert kept.region == (0.0, 0.0, 1.0, 1.0)
        assert kept.similarity is None
    assert not slow.cropped
    assert [len(kept.cells) for kept in fast.kept] == [4, 4, 4]


def test_tokens_pooled_over_time_belong_to_every_frame():
    evidence = evidence_of("mean=prompt:2/temporal_global_pool")
    (pathway,) = evidence.pathways
    assert pathway.tokens == 16
    assert [(kept.frame, len(kept.cells)) for kept in pathway.kept] == [(0, 16), (2, 16)]


def test_a_pathway_without_frames_is_told_as_empty():
    evidence = evidence_of("paper", [0.5])
    slow, middle, fast = evidence.pathways
    assert (middle.tokens, middle.kept, middle.cropped) == (0, (), True)
    assert (slow.tokens, fast.tokens) == (8, 16)


def test_plain_values_go_through_json():
    data = evidence_of("slow=prompt:1/spatial_1d_max_pool/crop:0.5+b=all/concat").to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["source"] == "clip.mp4"
    assert (data["width"], data["height"]) == (640, 360)
    assert (data["duration_seconds"], data["total_frames"], data["all_tokens"]) == (4.5, 90, 48)
    assert data["sampled"] == {
        "indices": [0, 30, 60],
        "seconds": [0.25, 1.75, 3.25],
        "scores": [0.5, 0.1, 0.9],
    }
    slow, whole = data["pathways"]
    assert slow == {
        "name": "slow",
        "tokens": 3,
        "cropped": True,
        "frames": [
            {
                "sampled": 2,
                "second": 3.25,
                "score": 0.9,
                "region": [0.5, 0.0, 1.0, 0.75],
                "similarity": [[-0.7071, 0.7071]] * 4,
            }
        ],
    }
    assert [frame["similarity"] for frame in whole["frames"]] == [None, None, None]


# --- the page about it ---------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
#: Entries that are only there with an option of `fvl ask`.
WITH_OPTIONS = {"picture", "profile"}


def documented(heading: str) -> set[str]:
    """The entries of the first table of the page after a heading, without what is only sometimes
    there."""
    after = PAGE.read_text(encoding="utf-8").split(heading, 1)[1]
    rows = after.split("|---|---|---|\n", 1)[1].split("\n\n")[0]
    cells = [row.split("|")[1] for row in rows.splitlines()]
    return {name for cell in cells for name in re.findall(r"`([a-z_.]+)`", cell)} - WITH_OPTIONS


def keys_of(data: dict[str, Any], *inside: str) -> set[str]:
    """A dictionary's keys; those of the dictionaries named by `inside` as "outer.inner"."""
    plain = set(data) - set(inside)
    return plain | {f"{name}.{key}" for name in inside for key in data[name]}


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """What `fvl ask --json` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["ask", "sample:star", "What color is the star?", "--json"]) == 0
    return json.loads(out.getvalue())


def test_every_entry_of_the_data_is_documented_and_nothing_else(printed: dict[str, Any]):
    (answer,) = printed["answers"]
    evidence = answer["evidence"]
    assert documented("`fvl ask --json` prints") == set(printed)
    assert documented("An answer:") == set(answer)
    assert documented("\n`tokens`:") == set(answer["tokens"])
    assert documented("\n`plan`:") == set(answer["plan"])
    assert documented("\n`evidence`:") == keys_of(evidence, "sampled")
    slow, _, fast = evidence["pathways"]
    for pathway in (slow, fast):
        assert documented("Each of `evidence.pathways`:") == set(pathway)
        assert documented("Each of its `frames`:") == set(pathway["frames"][0])


def test_compare_plans_prints_the_same_for_each_plan(
    printed: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    (row,) = re.findall(
        r"`fvl compare-plans --json` prints (.*), one for each plan", PAGE.read_text()
    )
    asked = [
        "compare-plans",
        "sample:star",
        "What color is the star?",
        "--plans",
        "paper,uniform-3",
    ]
    assert main([*asked, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert set(re.findall(r"`([a-z]+)`", row)) == set(compared)
    assert compared["schema"] == printed["schema"]
    assert [a["plan"]["name"] for a in compared["answers"]] == ["paper", "uniform-3"]
    assert all(set(a) == set(printed["answers"][0]) for a in compared["answers"])


def test_the_plan_and_the_timings_are_documented_within_their_rows(printed: dict[str, Any]):
    page = PAGE.read_text(encoding="utf-8")
    (answer,) = printed["answers"]
    row = next(line for line in page.splitlines() if line.startswith("| `timings` |"))
    assert set(re.findall(r"`([a-z_]+)`", row)) == {"timings", *answer["timings"]}
    row = next(
        line for line in page.splitlines() if line.startswith("| `pathways` | list | `name`")
    )
    used = {key for pathway in answer["plan"]["pathways"] for key in pathway}
    for pathway in answer["plan"]["pathways"]:
        used |= {key for part in pathway.values() if isinstance(part, dict) for key in part}
    assert set(re.findall(r"`([a-z_]+)`", row)) == {"pathways", *used}


def test_the_schema_is_the_page_s(printed: dict[str, Any]):
    (version,) = re.findall(r"## The data, schema (\d+)", PAGE.read_text(encoding="utf-8"))
    assert printed["schema"] == printed["answers"][0]["schema"] == int(version)


def test_the_page_s_example_has_the_form_of_the_data(printed: dict[str, Any]):
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown, (answer,) = json.loads(example), printed["answers"]
    assert set(shown) == set(answer)
    for name in ("tokens", "evidence", "timings", "plan"):
        assert set(shown[name]) == set(answer[name])
    assert shown["tokens"]["visual"] == sum(shown["tokens"]["by_pathway"].values())
    frames = shown["evidence"]["pathways"][0]["frames"]
    assert set(frames[0]) == set(answer["evidence"]["pathways"][0]["frames"][0])
    sampled = shown["evidence"]["sampled"]
    assert [f["second"] for f in frames] == [sampled["seconds"][f["sampled"]] for f in frames]
