"""The gallery cannot rot: its answers still come out, its clips are those that were found."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import av
import pytest
from PIL import Image

from find_contrasts import (
    PLANS,
    SETS,
    Case,
    count,
    draw_case,
    first_of,
    search,
    table,
    write_case,
)
from free_video_llm import VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.samples import all_samples
from free_video_llm.tiny.questions import KINDS, Question, questions_about, time_questions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    """A module of `training/`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "training" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


GALLERY = script("make_gallery")
SAMPLES = script("make_samples").SAMPLES
FOUND = {name: entry.clip for name, entry in SAMPLES.items() if hasattr(entry.clip, "number")}


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


# --- the page ------------------------------------------------------------------------------------


@pytest.mark.skipif(
    int(av.__version__.split(".")[0]) < 18, reason="the page is of the frames that av 18 decodes"
)
@pytest.mark.parametrize("shown", GALLERY.GALLERY, ids=lambda shown: shown.image)
def test_the_answers_on_the_page_still_come_out(tiny: VideoLLM, shown):
    answers = GALLERY.ask(tiny, shown)
    block = f"<!-- answers {shown.image} -->\n{GALLERY.table(shown, answers)}\n<!-- end -->"
    assert block in PAGE, f"docs/gallery.md says otherwise than the model:\n{block}"


@pytest.mark.parametrize("shown", GALLERY.GALLERY, ids=lambda shown: shown.image)
def test_the_page_says_what_was_asked_and_shows_the_picture(shown):
    assert f'"{shown.question}" Truth: {shown.truth}.' in PAGE
    assert f"`sample:{shown.sample}`" in PAGE
    assert f"(images/{shown.image}.png)" in PAGE
    file = ROOT / "docs" / "images" / f"{shown.image}.png"
    assert file.stat().st_size < 400_000
    with Image.open(file) as image:
        assert image.width == 1200
        assert image.info["Title"] == shown.question


def test_the_two_contrasts_are_what_their_titles_say():
    def verdicts(image: str) -> dict[str, str]:
        block = re.search(rf"<!-- answers {image} -->(.*?)<!-- end -->", PAGE, re.DOTALL)
        assert block
        return dict(re.findall(r"\| `(\S+)` \|.*\| (right|wrong) \|", block[1]))

    assert (
        verdicts("gallery-glimpse").items() >= {"prompt-3": "right", "uniform-3": "wrong"}.items()
    )
    assert verdicts("gallery-edge").items() >= {"prompt-3": "wrong", "uniform-3": "right"}.items()


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="answers evidence"):
        GALLERY.filled("no marks here", GALLERY.GALLERY[0], "table")


def test_the_page_s_counts_add_up():
    rows = re.findall(r"^\|([^|]*)\|([^|]*)\|([\s*\d|]+)\|$", PAGE, re.MULTILINE)
    counts = [(kind.strip(" *"), [int(n) for n in re.findall(r"\d+", cells)])
              for _, kind, cells in rows]  # fmt: skip
    assert [kind for kind, _ in counts] == ["all", *KINDS] * 2
    for number in (0, 6):
        whole, *parts = (values for _, values in counts[number : number + 6])
        assert whole == [sum(column) for column in zip(*parts, strict=True)]
    assert all(values[0] == sum(values[1:]) for _, values in counts)


# --- the bundled clips ---------------------------------------------------------------------------


def test_the_search_finds_the_bundled_needle_again(tiny: VideoLLM):
    """A needle is in a clip's pixels however they are coded; what parts the other bundled clip's
    plans is closer than two builds of the encoder are."""
    found, ((question, truth),) = FOUND["glimpse"], all_samples()["glimpse"].contrasts
    cases = list(search(tiny, found.set, [found.number]))
    first = first_of(cases, (True, False))
    assert first is not None
    assert (first.question.text, first.question.answer) == (question, truth)


@pytest.mark.parametrize("name", FOUND)
def test_a_clip_is_encoded_the_same_each_time(name: str, tmp_path: Path):
    found = FOUND[name]
    files = [write_case(found.set, found.number, tmp_path / f"{n}.mp4") for n in range(4)]
    assert len({path.read_bytes() for path in files}) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_listed_of_a_sample_is_true_of_what_was_drawn(name: str, tmp_path: Path):
    sample, entry = all_samples()[name], SAMPLES[name]
    assert tuple(q for q, _ in sample.questions) == entry.questions
    assert tuple(q for q, _ in sample.contrasts) == entry.contrasts
    clip = draw_case(FOUND[name].set, FOUND[name].number)[0] if name in FOUND else entry.clip()
    frames = clip.things()
    truth = {q.text: q.answer for q in (*questions_about(frames), *time_questions(frames))}
    for question, answer in (*sample.questions, *sample.contrasts):
        assert truth[question] == answer


def test_bundled_clips_are_small():
    assert all(sample.path.stat().st_size < 80_000 for sample in all_samples().values())


# --- the search ----------------------------------------------------------------------------------


def case(set_name: str, number: int, kind: str, *said: str) -> Case:
    return Case(set_name, number, Question(kind, "?", "red"), said)  # type: ignore[arg-type]


def test_outcomes_are_counted_by_set_and_kind():
    cases = [
        case("needle", 0, "color", "red", "Red "),
        case("needle", 1, "color", "red", "blue"),
        case("needle", 1, "where", "", "red"),
        case("ordinary", 0, "where", "green", "blue"),
    ]
    assert count(cases) == {(True, True): 1, (True, False): 1, (False, True): 1, (False, False): 1}
    lines = table(cases, 2).splitlines()
    assert lines[2:] == [
        "| **2 needle** | **all** | **3** | **1** | **1** | **1** | **0** |",
        "|  | color | 2 | 1 | 1 | 0 | 0 |",
        "|  | where | 1 | 0 | 0 | 1 | 0 |",
        "| **2 ordinary** | **all** | **1** | **0** | **0** | **0** | **1** |",
        "|  | where | 1 | 0 | 0 | 0 | 1 |",
    ]


def test_the_first_case_passes_over_what_a_guess_may_hit():
    cases = [
        case("ordinary", 0, "is there shape", "red", "blue"),
        case("ordinary", 1, "color", "blue", "red"),
        case("ordinary", 2, "color", "red", "blue"),
        case("ordinary", 3, "color", "red", "blue"),
    ]
    assert first_of(cases, (True, False)) == cases[2]
    assert first_of(cases, (False, False)) is None


@pytest.mark.parametrize("set_name", SETS)
def test_a_case_is_the_same_each_time_and_its_truth_is_certain(set_name: str):
    clip, questions = draw_case(set_name, 3)
    assert (clip, questions) == draw_case(set_name, 3)
    assert clip != draw_case(set_name, 4)[0]
    assert len({question.kind for question in questions}) == len(questions) >= 3
    assert set(questions) <= set(questions_about(clip.things()))


def test_plans_of_unequal_cost_are_not_compared(tiny: VideoLLM):
    with pytest.raises(ValueError, match="prompt-3 costs 216 tokens and paper 1240"):
        list(search(tiny, "ordinary", [0], ["prompt-3", "paper"]))
    assert PLANS == ("prompt-3", "uniform-3")


def test_compare_plans_wants_a_plan(capsys: pytest.CaptureFixture[str]):
    assert main(["compare-plans", "sample:star", "Is there a star?", "--plans", " , "]) == 2
    assert "names no plan" in capsys.readouterr().err
