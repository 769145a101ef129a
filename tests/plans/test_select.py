"""Frame selectors against hand-computed indices, and what the corrected rules promise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm import Crop, Pathway, Plan, Pool, Select
from free_video_llm.plans.choose import select_frames
from free_video_llm.plans.select import (
    most_similar,
    most_similar_diverse,
    most_similar_released,
    spread_evenly,
    spread_released,
)

ROW = Pool(kind="spatial_1d_max_pool")
CROP = Crop(ratio=0.8)
OVERVIEW = Pool(kind="adaptive_2d_pool", grid=(4, 4))


def vectors(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane, [T,2]."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], -1)


def detailed(name: str, kind: str, count: int) -> Pathway:
    return Pathway(name=name, select=Select(kind=kind, count=count), pool=ROW, crop=CROP)


# --- the selectors one by one -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "exclude", "expected"),
    [
        (1, (), [3]),
        (3, (), [1, 3, 4]),
        (9, (), [0, 1, 2, 3, 4]),
        (0, (), []),
        (2, {3, 4}, [1, 2]),
        (2, {0, 1, 2, 3}, [4]),
        (2, {0, 1, 2, 3, 4}, []),
    ],
)
def test_the_most_similar_frames_in_time_order(count, exclude, expected):
    scores = torch.tensor([0.1, 0.5, 0.2, 0.9, 0.7])
    assert most_similar(scores, count, exclude=exclude) == expected


def test_of_equally_similar_frames_the_earlier_are_taken():
    assert most_similar(torch.tensor([0.5, 0.9, 0.5, 0.5, 0.9]), 3) == [0, 1, 4]


def test_of_equally_similar_frames_the_released_code_takes_the_later():
    assert most_similar_released(torch.tensor([0.5, 0.9, 0.5, 0.5, 0.9]), 3) == [1, 3, 4]
    assert most_similar_released(torch.tensor([0.1, 0.5, 0.2, 0.9, 0.7]), 3) == [1, 3, 4]
    assert most_similar_released(torch.tensor([0.1, 0.5]), 3) == [0, 1]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [0]),
        (2, [0, 2]),  # frame 1 is 10° from frame 0: passed over
        (3, [0, 2, 4]),  # frame 3 is 10° from frame 2
        (4, [0, 1, 2, 4]),  # none left that differs: the best of those passed over
        (5, [0, 1, 2, 3, 4]),
        (7, [0, 1, 2, 3, 4]),
        (0, []),
    ],
)
def test_diverse_frames_pass_over_those_that_look_alike(count, expected):
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.1])
    assert most_similar_diverse(scores, vectors(0, 10, 40, 50, 90), count) == expected


@pytest.mark.parametrize("kinds", [3, 40])
def test_diverse_frames_of_very_many(kinds: int):
    """Few kinds of picture, so that most of the ranking is passed over."""
    generator = torch.Generator().manual_seed(kinds)
    scores = torch.rand(1000, generator=generator)
    pictures = torch.nn.functional.normalize(torch.randn(kinds, 16, generator=generator), dim=-1)
    unit = pictures[torch.arange(1000) // 7 % kinds]
    order = sorted(range(1000), key=lambda frame: -float(scores[frame]))
    chosen: list[int] = []
    for frame in order:
        if len(chosen) < 12 and all(float(unit[frame] @ unit[c]) <= 0.95 for c in chosen):
            chosen.append(frame)
    chosen += [frame for frame in order if frame not in chosen][: 12 - len(chosen)]
    assert most_similar_diverse(scores, unit, 12) == sorted(chosen)


def test_diverse_frames_go_down_the_ranking_not_through_time():
    scores = torch.tensor([0.1, 0.6, 0.7, 0.8, 0.9])
    assert most_similar_diverse(scores, vectors(0, 10, 40, 50, 90), 3) == [1, 3, 4]
    # Of 3, 2, 1, 0 the frames 3 and 1 differ; of those passed over, 2 is better than 0.
    assert most_similar_diverse(scores, vectors(0, 10, 40, 50, 90), 3, exclude={4}) == [1, 2, 3]


def test_the_limit_of_likeness_is_a_cosine():
    scores = torch.tensor([0.9, 0.8, 0.7])
    apart = vectors(0, 59, 120)
    assert most_similar_diverse(scores, apart, 2, limit=0.5) == [0, 2]  # cos 59° is 0.515
    assert most_similar_diverse(scores, apart, 2, limit=0.52) == [0, 1]
    right_angles = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    at_the_limit = most_similar_diverse(scores, right_angles, 2, limit=0.0)
    assert at_the_limit == [0, 1]


@pytest.mark.parametrize(
    ("total", "count", "exclude", "expected"),
    [
        (50, 2, (), [0, 49]),
        (50, 3, (), [0, 24, 49]),
        (50, 5, (), [0, 12, 24, 37, 49]),
        (10, 4, (), [0, 3, 6, 9]),
        (50, 1, (), [24]),
        (1, 1, (), [0]),
        (3, 8, (), [0, 1, 2]),
        (5, 0, (), []),
        (10, 3, {0, 9}, [1, 5, 8]),  # of the free 1…8 the places 0, 4 (3.5, to even) and 7
        (4, 2, {0, 1, 2, 3}, []),
        (4, 1, {1, 2}, [0]),
    ],
)
def test_evenly_spread_frames_have_the_first_and_the_last(total, count, exclude, expected):
    assert spread_evenly(total, count, exclude=exclude) == expected


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        (50, 5, [0, 10, 20, 30, 40]),
        (50, 3, [0, 16, 33]),
        (50, 10, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]),
        (7, 3, [0, 2, 4]),
        (3, 5, [0, 0, 1, 1, 2]),
        (1, 3, [0, 0, 0]),
        # 7·(2/14) falls below 1 in single precision, as it does there.
        (2, 14, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_released_codes_uniform_frames(total, count, expected):
    assert spread_released(total, count) == expected


@given(st.integers(1, 200), st.integers(1, 60))
def test_evenly_spread_frames_are_even(total, count):
    frames = spread_evenly(total, count)
    gaps = [after - before for before, after in pairwise(frames)]
    assert len(frames) == min(total, count)
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


# --- whole plans ----------------------------------------------------------------------------------


def test_the_paper_in_both_geometries():
    scores = torch.zeros(50)
    scores[[0, 24, 25]] = torch.tensor([0.7, 0.9, 0.8])
    same = F.normalize(torch.ones(50, 2), dim=-1)
    true = select_frames(Plan.preset("paper"), scores, same)
    assert true["slow"] == [0, 24, 25]
    # Free are 1…23 and 26…49, 47 frames: places 0, 11.5, 23, 34.5, 46, halves to the even place.
    assert true["middle"] == [1, 13, 26, 37, 49]
    assert true["fast"] == list(range(50))
    released = select_frames(Plan.preset("paper", rules="released"), scores, same)
    assert released["slow"] == [0, 24, 25]
    assert released["middle"] == [0, 10, 20, 30, 40]
    assert released["fast"] == list(range(50))
    assert list(true) == list(released) == ["slow", "middle", "fast"]


@pytest.mark.parametrize("rules", ["corrected", "released"])
def test_an_overview_of_fewer_frames_follows_the_question(rules):
    scores = torch.arange(60) / 60
    plan = Plan.preset("paper", rules=rules)
    chosen = select_frames(plan, scores, F.normalize(torch.ones(60, 2), dim=-1))
    assert chosen["slow"] == [57, 58, 59]
    assert chosen["fast"] == list(range(10, 60))


def test_prompt_guided_pathways_choose_first_wherever_they_stand():
    plan = Plan(pathways=(detailed("middle", "uniform", 3), detailed("slow", "prompt", 1)))
    chosen = select_frames(plan, torch.tensor([0.9, 0.1, 0.1, 0.1, 0.1]), vectors(0, 1, 2, 3, 4))
    assert chosen == {"middle": [1, 3, 4], "slow": [0]}
    assert list(chosen) == ["middle", "slow"]


def test_two_prompt_guided_pathways_share_out_the_ranking():
    plan = Plan(
        pathways=(detailed("a", "prompt", 2), detailed("b", "prompt-diverse", 2)), rules="corrected"
    )
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    chosen = select_frames(plan, scores, vectors(0, 10, 20, 30, 90))
    assert chosen == {"a": [0, 1], "b": [2, 4]}


def test_equal_frames_in_both_geometries():
    scores, same = torch.tensor([0.9, 0.9, 0.9]), vectors(0, 0, 0)
    for rules, expected in (("corrected", [0]), ("released", [2])):
        plan = Plan(pathways=(detailed("slow", "prompt", 1),), rules=rules)
        assert select_frames(plan, scores, same) == {"slow": expected}


def test_a_short_clip_in_the_released_geometry_repeats_frames():
    plan = Plan.preset("paper", rules="released")
    chosen = select_frames(plan, torch.tensor([0.2, 0.9]), vectors(0, 90))
    assert chosen == {"slow": [0, 1], "middle": [0, 0, 0, 1, 1], "fast": [0, 1]}


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 60),
    st.sampled_from(["prompt", "prompt-diverse"]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_mended_geometry_keeps_its_promises(total, kind, slow, middle, turned, seed):
    parts = [detailed("slow", kind, slow), detailed("middle", "uniform", middle)]
    overview = Pathway(name="fast", select=Select(kind="prompt", count=50), pool=OVERVIEW)
    plan = Plan(pathways=(*(parts[::-1] if turned else parts), overview))
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(total, 3, generator=generator), dim=-1)
    chosen = select_frames(plan, vectors[:, 0], vectors)

    detail = chosen["slow"] + chosen["middle"]
    assert len(set(detail)) == len(detail) == min(total, slow + middle)  # none twice, as many
    assert len(chosen["fast"]) == min(total, 50)  # as can be, and the overview whole
    for frames in chosen.values():
        assert frames == sorted(set(frames))  # in time order
        assert all(0 <= frame < total for frame in frames)
    if len(chosen["middle"]) >= 2:
        assert {0, total - 1} <= set(detail)  # both ends
    if kind == "prompt" and len(chosen["slow"]) == slow:
        left_out = set(range(total)) - set(chosen["slow"])
        worst = vectors[chosen["slow"], 0].min()
        assert all(vectors[frame, 0] <= worst for frame in left_out)  # the best for the question
