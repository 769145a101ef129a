"""The study: clips whose truth is known, a run that resumes, and a page that is computed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from free_video_llm import VideoLLM
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.tiny.questions import questions_about, time_questions
from free_video_llm.tiny.truth import boxes_of
from free_video_llm.tiny.world import extent

STUDY = Path(__file__).parent.parent / "study"


@pytest.fixture(scope="module")
def study():
    """Its modules, by name."""
    sys.path.insert(0, str(STUDY))
    found: dict[str, ModuleType] = {}
    try:
        for name in ("worlds", "methods", "run", "report"):
            spec = importlib.util.spec_from_file_location(f"study_{name}", STUDY / f"{name}.py")
            found[name] = importlib.util.module_from_spec(spec)
            sys.modules[f"study_{name}"] = found[name]
            spec.loader.exec_module(found[name])
    finally:
        sys.path.remove(str(STUDY))
    return found


@pytest.mark.parametrize(
    "world", ["ordinary", "needle", "corner", "crowd", "global", "long", "order"]
)
def test_every_question_of_a_world_has_its_one_answer(study, world: str):
    drawn = [study["worlds"].WORLDS[world](np.random.default_rng([1, n])) for n in range(4)]
    assert all(0 < len(questions) <= study["worlds"].PER_CLIP for _, questions in drawn)
    for clip, questions in drawn[:1] if world == "long" else drawn:
        allowed = questions_about(clip.things()) + time_questions(clip.things())
        assert all(question in allowed for question in questions)
    again = study["worlds"].WORLDS[world](np.random.default_rng([1, 0]))
    assert again == drawn[0]


def test_worlds_are_what_they_say(study):
    worlds = study["worlds"].WORLDS
    for n in range(6):
        clip, questions = worlds["corner"](np.random.default_rng([2, n]))
        for question in questions:
            if question.answer != "no":
                boxes = [box for _, box in boxes_of(clip, question)]
                assert len(boxes) == 40
                assert all(min(left, top, 1 - r, 1 - b) < 0.02 for left, top, r, b in boxes)
                assert all(right - left <= 1 / 6 + 1e-9 for left, _, right, _ in boxes)
        clip, _ = worlds["crowd"](np.random.default_rng([2, n]))
        assert all(7 <= len(things) <= 10 for things in clip.things())
        assert all(extent(t, clip.aspect)[0] <= 0.2 for t in clip.things()[0])
        clip, questions = worlds["global"](np.random.default_rng([2, n]))
        assert all(question.kind.startswith("is there") for question in questions)
        clip, questions = worlds["order"](np.random.default_rng([2, n]))
        assert all(len(things) == 1 for things in clip.things())
        assert [question.kind for question in questions][-2:] == ["first", "how many"]


def test_every_method_has_the_tokens_that_it_stands_for(study):
    methods = study["methods"]
    for method in methods.METHODS:
        tokens = resolve_plan(method.plan).count_tokens(frames=50, side=12)
        if method.group in ("region", "reducer") or method.name in methods.AT_144:
            assert tokens == 144
        elif method.group == "selector":
            assert tokens == 36 * int(method.plan.split(":")[1].split("/")[0])


def test_a_clip_is_asked_about_and_a_run_resumes(study, tmp_path: Path, monkeypatch, capsys):
    run, methods = study["run"], study["methods"]
    few = (methods.METHODS[0], methods.REGIONS[0])
    monkeypatch.setattr(run, "METHODS", few)
    how = {"seed": 1, "job": 0, "jobs": 1}
    run.run_world("needle", tmp_path, questions=2, **how)
    (path,) = tmp_path.glob("needle-*.jsonl")
    first = path.read_bytes()
    run.run_world("needle", tmp_path, questions=5, **how)
    assert path.read_bytes().startswith(first)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["clip"] for line in lines] == list(range(len(lines)))
    assert [row["plan"] for row in lines[0]["rows"]] == [method.plan for method in few]
    llm = VideoLLM.from_pretrained("tiny")
    alone = run.ask_clip(llm, "needle", 1, 1)
    assert alone["rows"] == lines[1]["rows"]
    assert alone["questions"] == lines[1]["questions"]


def made(study, folder: Path, *, ours: bool) -> None:
    """Lines of a run in which guided plans are right, or not."""
    (folder / "study.json").write_text(json.dumps({"seed": 7, "questions": 4}), encoding="utf-8")
    methods = study["methods"]
    for world in study["worlds"].WORLDS:
        with LineWriter(folder / f"{world}-0of1.jsonl") as writer:
            for clip in range(12):
                rows = []
                of_world = (
                    [(m, c) for c in methods.CANDIDATES for m in methods.LONG]
                    if world == "long"
                    else [(m, "") for m in methods.METHODS]
                )
                for method, candidates in of_world:
                    even = method.name.startswith("uniform")
                    right = even != ours or clip % 4 == 0
                    plan = resolve_plan(method.plan)
                    rows.append(
                        {
                            "group": method.group, "name": method.name, "plan": method.plan,
                            "candidates": candidates, "scored": [59, 60],
                            "tokens": [plan.count_tokens(frames=50, side=12)] * 2,
                            "said": ["red" if right else "blue"] * 2,
                            "evidence": [{"hit": right, "time_iou": 0.5, "box_inside": None}, None],
                        }
                    )  # fmt: skip
                questions = [{"kind": "color", "text": "?", "answer": "red"}] * 2
                watching = dict.fromkeys(methods.CANDIDATES, 1.0) | {"search 0.1": 0.2}
                line = {"clip": clip, "questions": questions, "watching": watching, "rows": rows}
                writer.append([line])


@pytest.mark.parametrize("ours", [True, False])
def test_the_page_says_where_ours_loses(study, ours: bool, tmp_path: Path):
    made(study, tmp_path, ours=ours)
    page = study["report"].page(tmp_path)
    verdict = "yes" if ours else "**no**"
    assert f"needle: `lean` better than uniform at equal tokens: {'+' if ours else '−'}" in page
    for preset in ("`long` (216 tokens)", "`moment` (144 tokens)"):
        start = f"- long: {preset} with `--search` better"
        line = next(x for x in page.splitlines() if x.startswith(start))
        assert line.endswith(f"{verdict}.")
    assert "at most a tenth of the candidates scored: 60 of 600; yes." in page
    assert "of scoring all: 0.20; yes." in page
    assert "| 25.0 [" in page
    picture = study["report"].draw(tmp_path, tmp_path / "docs")
    assert picture.stat().st_size > 10_000
