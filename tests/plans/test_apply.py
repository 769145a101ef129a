"""From features to tokens: how many, their values, and where each is from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm import Crop, Pathway, Plan, PlanError, Pool, Select
from free_video_llm.encoder.features import JointSpace, VideoFeatures
from free_video_llm.plans import apply
from free_video_llm.plans.apply import Look, perceive, region_similarity
from free_video_llm.plans.crop import Box
from free_video_llm.plans.methods import CROPS, POOLS
from free_video_llm.plans.pool import pool_grid
from free_video_llm.plans.presets import PRESETS
from plan_strategies import plans
from toys import QUESTION, Identity, TwoLayers, placed_features, random_features

SIDES = (1, 2, 5, 7, 12, 16, 24, 27)
ROW = Pool(kind="spatial_1d_max_pool")
HALF_ROOT = 0.5**0.5


def one(pool: Pool, crop: Crop | None = None, rules: str = "corrected", **select: object) -> Plan:
    """A plan of one pathway, of every frame unless said otherwise."""
    chosen = Select(**select) if select else Select(kind="all")
    return Plan(pathways=(Pathway(name="only", select=chosen, pool=pool, crop=crop),), rules=rules)


def pool_of(kind: str) -> Pool:
    return Pool(kind=kind, grid=(3, 5) if kind == "adaptive_2d_pool" else None)


# --- counts ---------------------------------------------------------------------------------------


def assert_counts_agree(plan: Plan, features: VideoFeatures) -> bool:
    """The plan's own count is what comes out; where it cannot count, nothing comes out."""
    frames, side = len(features), features.side
    refused = None
    try:
        expected = plan.count_by_pathway(frames=frames, side=side)
    except PlanError as error:
        refused = str(error)
    if refused is not None:
        with pytest.raises(PlanError) as caught:
            perceive(features, QUESTION, plan, Identity())
        assert str(caught.value) == refused
        return False
    tokens = perceive(features, QUESTION, plan, Identity())
    assert tokens.count_by_pathway() == expected
    total = plan.count_tokens(frames=frames, side=side)
    assert len(tokens) == len(tokens.pathway) == len(tokens.frame) == len(tokens.region) == total
    assert tokens.embeds.shape == (total, features.patches.shape[-1])
    assert tokens.embeds.isfinite().all()
    kept = {name: len(looks) for name, looks in tokens.looks.items()}
    assert kept == plan.frames_per_pathway(frames)
    return True


@pytest.mark.parametrize("rules", ["corrected", "released"])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_as_many_tokens_as_they_count(name, rules):
    plan = Plan.preset(name, rules=rules)
    applied = set()
    for side in SIDES:
        for frames in (1, 2, 3, 7, 50):
            if assert_counts_agree(plan, random_features(frames, side, width=2)):
                applied.add(side)
    pools_pairs = any((p.pool.method.window or (1, 1)) != (1, 1) for p in plan.pathways)
    odd_too = rules == "corrected" or not pools_pairs
    assert applied == set(SIDES if odd_too else (2, 12, 16, 24))


@settings(deadline=None, max_examples=200)
@given(plans(most_frames=9, most_cells=5), st.integers(1, 7), st.integers(1, 6), st.integers(1, 6))
def test_any_plan_gives_as_many_tokens_as_it_counts(plan, frames, side, scorer_side):
    features = random_features(frames, side, scorer_side=scorer_side, width=2)
    assert_counts_agree(plan, features)


# --- values ---------------------------------------------------------------------------------------

#: [n,D,S,S] to [n,D,rows,columns], by torch's own layers.
TORCH_POOLS = {
    "concat": lambda x: x,
    "spatial_1d_max_pool": lambda x: F.max_pool2d(x, (1, 2), ceil_mode=True),
    "spatial_1d_avg_pool": lambda x: F.avg_pool2d(x, (1, 2), ceil_mode=True),
    "vertical_1d_max_pool": lambda x: F.max_pool2d(x, (2, 1), ceil_mode=True),
    "spatial_2d_max_pool": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "spatial_2d_avg_pool": lambda x: F.avg_pool2d(x, 2, ceil_mode=True),
    "adaptive_2d_pool": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "bilinear_2d_pool": lambda x: F.interpolate(x, ((x.shape[2] + 1) // 2,) * 2, mode="bilinear"),
    "temporal_global_pool": lambda x: x.mean(0, keepdim=True),
    "spatial_temporal_pool": lambda x: F.adaptive_avg_pool3d(
        x.transpose(0, 1), (16, 12, 12)
    ).transpose(0, 1),
}


def plain_reference(
    features: VideoFeatures, projector: TwoLayers, pathway: Pathway, looks: tuple[Look, ...]
) -> torch.Tensor:
    """Everything projected first, then pooled, then cropped: [N,D]."""
    tokens = projector.out(projector.hidden(features.patches))
    chosen = tokens[[look.frame for look in looks]].permute(0, 3, 1, 2)
    grids = TORCH_POOLS[pathway.pool.kind](chosen).flatten(2).transpose(1, 2)  # [n,cells,D]
    if pathway.crop is None:
        return grids.flatten(0, 1)
    kept = []
    for look, grid in zip(looks, grids, strict=True):
        if pathway.crop.kind == "cells":
            high, wide = pathway.crop.box_size(look.rows, look.columns)
            kept.append(grid[look.similarity.flatten().topk(high * wide).indices.sort().values])
        else:
            grid = grid.unflatten(0, (look.rows, look.columns))
            box = look.box
            kept.append(grid[box.top : box.bottom, box.left : box.right].flatten(0, 1))
    return torch.cat(kept)


AVERAGED = [method.name for method in POOLS if not method.takes_share]
CASES = [(kind, None) for kind in AVERAGED]
CASES += [(kind, crop) for kind in (m.name for m in POOLS if m.window) for crop in CROPS.names()]


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize(("kind", "crop"), CASES)
def test_cropping_and_averaging_before_projecting_change_nothing(kind, crop, side, monkeypatch):
    features, projector = random_features(5, side), TwoLayers(3)
    cut = Crop(ratio=0.4, kind=crop) if crop else None
    plan = one(pool_of(kind), cut, kind="prompt", count=3)
    tokens = perceive(features, QUESTION, plan, projector)
    looks = tokens.looks["only"]
    assert [look.frame for look in looks] == sorted(
        torch.topk(features.frame_vectors @ QUESTION, 3).indices.tolist()
    )
    expected = plain_reference(features, projector, plan.pathways[0], looks)
    torch.testing.assert_close(tokens.embeds, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1
    monkeypatch.setattr(apply, "PATCHES_AT_ONCE", 1)  # frame by frame
    again = perceive(features, QUESTION, plan, projector)
    torch.testing.assert_close(again.embeds, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["spatial_1d_max_pool", "spatial_1d_avg_pool", "vertical_1d_max_pool"]
)
@pytest.mark.parametrize("crop", CROPS.names())
def test_the_same_in_the_released_geometry(kind, crop):
    features, projector = random_features(5, 6), TwoLayers(3)
    plan = one(Pool(kind=kind), Crop(ratio=0.4, kind=crop), "released", kind="uniform", count=2)
    tokens = perceive(features, QUESTION, plan, projector)
    looks = tokens.looks["only"]
    assert [(look.frame, look.rows, look.columns) for look in looks] == [(0, 3, 6), (2, 3, 6)]
    expected = plain_reference(features, projector, plan.pathways[0], looks)
    torch.testing.assert_close(tokens.embeds, expected, rtol=0, atol=1e-5)


def test_pathways_follow_each_other_in_the_plans_order():
    features, projector = random_features(7, 6), TwoLayers(3)
    plan = Plan.parse(
        "fast=all/adaptive_2d_pool:3x5+middle=uniform:2/spatial_2d_max_pool/center-crop:0.5"
        "+slow=prompt-diverse:2/concat/cells:0.3+mean=prompt:3/temporal_global_pool"
    )
    tokens = perceive(features, QUESTION, plan, projector)
    assert tokens.names == ("fast", "middle", "slow", "mean")
    for number, pathway in enumerate(plan.pathways):
        mine = tokens.embeds[tokens.pathway == number]
        expected = plain_reference(features, projector, pathway, tokens.looks[pathway.name])
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)
    assert tokens.pathway.tolist() == sorted(tokens.pathway.tolist())


# --- where each token is from ---------------------------------------------------------------------


def test_a_cropped_pathway_token_by_token():
    # The question is about the right half; frame 2 is the best, frame 0 the second.
    right = [(row, 3) for row in range(4)]
    features = placed_features([0.5, 0.1, 0.9], [right, [], [(0, 0), (1, 0), (2, 0), (3, 0)]], 4)
    plan = one(ROW, Crop(ratio=0.5), kind="prompt", count=2)
    tokens = perceive(features, QUESTION, plan, Identity())
    first, second = tokens.looks["only"]
    # 4 rows × 2 columns of cells, the 4 best are a column, the box has 3 rows of 1.
    assert (first.frame, first.rows, first.columns, first.box) == (0, 4, 2, Box(1, 0, 2, 3))
    assert (second.frame, second.rows, second.columns, second.box) == (2, 4, 2, Box(0, 0, 1, 3))
    # (frame, row, larger column) of the two patches in each cell.
    assert tokens.embeds.tolist() == [
        [0, 0, 3],
        [0, 1, 3],
        [0, 2, 3],
        [2, 0, 1],
        [2, 1, 1],
        [2, 2, 1],
    ]
    assert tokens.frame.tolist() == [0, 0, 0, 2, 2, 2]
    assert tokens.pathway.tolist() == [0] * 6
    assert tokens.region.tolist() == [
        [0.5, 0.0, 1.0, 0.25],
        [0.5, 0.25, 1.0, 0.5],
        [0.5, 0.5, 1.0, 0.75],
        [0.0, 0.0, 0.5, 0.25],
        [0.0, 0.25, 0.5, 0.5],
        [0.0, 0.5, 0.5, 0.75],
    ]
    assert tokens.scores.tolist() == pytest.approx([0.5, 0.1, 0.9])


def test_the_same_crop_in_the_released_reading():
    right = [(row, column) for row in range(4) for column in (2, 3)]
    features = placed_features([0.5], [right], 4)
    plan = one(ROW, Crop(ratio=0.5), "released")
    tokens = perceive(features, QUESTION, plan, Identity())
    look = tokens.looks["only"][0]
    # Read as 2 rows × 4 columns, the right half is every second cell; the box is a band.
    assert (look.rows, look.columns, look.box) == (2, 4, Box(1, 0, 4, 1))
    assert look.similarity.tolist() == [[0, 1, 0, 1], [0, 1, 0, 1]]
    # Its tokens and their places are the true ones: right, then left and right of the next row.
    assert tokens.embeds.tolist() == [[0, 0, 3], [0, 1, 1], [0, 1, 3]]
    assert tokens.region.tolist() == [
        [0.5, 0.0, 1.0, 0.25],
        [0.0, 0.25, 0.5, 0.5],
        [0.5, 0.25, 1.0, 0.5],
    ]


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("kind", AVERAGED)
def test_regions_are_the_patches_that_a_token_was_made_of(kind, side):
    features = placed_features([0.5, 0.1, 0.9], [[], [], []], side)
    tokens = perceive(features, QUESTION, one(pool_of(kind)), Identity())
    left, top, right, bottom = (tokens.region * side).unbind(1)
    frame, row, column = tokens.embeds.unbind(1)
    if "max" in kind:  # the last row and column of the region
        torch.testing.assert_close(row, bottom - 1)
        torch.testing.assert_close(column, right - 1)
    elif kind == "bilinear_2d_pool" and side % 2:  # nearer to one of the two patches
        for place, first, last in ((row, top, bottom - 1), (column, left, right - 1)):
            assert bool(((first <= place) & (place <= last)).all())
        assert sorted(set(zip(top.tolist(), bottom.tolist(), strict=True))) == [
            (0, 2), (2, 4), (3, 5), (5, 7),
        ]  # fmt: skip
    else:  # its middle
        torch.testing.assert_close(row, (top + bottom - 1) / 2)
        torch.testing.assert_close(column, (left + right - 1) / 2)
    if kind in ("spatial_temporal_pool", "temporal_global_pool"):
        assert set(tokens.frame.tolist()) == {-1}
    else:
        assert tokens.frame.tolist() == frame.tolist()
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, side, side)
    assert [look.frame for look in tokens.looks["only"]] == [0, 1, 2]
    assert {look.box for look in tokens.looks["only"]} == {None}


def test_a_clip_too_short_for_a_pathway_leaves_it_empty():
    tokens = perceive(placed_features([0.5], [[]], 4), QUESTION, Plan.preset("paper"), Identity())
    # A box of round(4·√0.8) = 4 rows × round(2·√0.8) = 2 columns, and an overview of 4 × 4.
    assert tokens.count_by_pathway() == {"slow": 8, "middle": 0, "fast": 16}
    assert tokens.looks["middle"] == ()
    assert tokens.pathway.tolist() == [0] * 8 + [2] * 16


def test_the_released_geometry_shows_a_single_frame_again_and_again():
    plan = Plan.preset("paper", rules="released")
    tokens = perceive(placed_features([0.5], [[]], 4), QUESTION, plan, Identity())
    assert tokens.count_by_pathway() == {"slow": 8, "middle": 40, "fast": 16}
    assert set(tokens.frame.tolist()) == {0}
    assert torch.equal(tokens.embeds[8:16], tokens.embeds[40:48])


def test_features_know_their_size():
    features = random_features(5, 6, scorer_side=3)
    assert (len(features), features.side) == (5, 6)
    assert features.nbytes() == 4 * (5 * (1 + 36) * 3 + 5 * (1 + 9) * 5 + 5 * 2)


# --- work that is saved ---------------------------------------------------------------------------


def test_only_what_is_kept_is_projected():
    features = placed_features([0.5, 0.1, 0.9], [[], [], []], 4)
    for crop, patches in [(None, 2 * 16), (Crop(ratio=0.5), 2 * 3 * 2)]:  # cells of two patches
        projector = Identity()
        perceive(features, QUESTION, one(ROW, crop, kind="prompt", count=2), projector)
        assert projector.patches == patches


def test_a_frames_overview_is_projected_once_and_only_if_it_is_kept():
    features = placed_features([0.6, 0.1, 0.9, 0.2, 0.3, 0.4], [[]] * 6, 4)
    plan = Plan.parse("slow=prompt:1/concat+fast=prompt:4/adaptive_2d_pool:2x2")
    projector, memo = Identity(), {}
    first = perceive(features, QUESTION, plan, projector, memo=memo)
    assert projector.patches == 16 + 4 * 16
    other = torch.tensor([-1.0, 0.0])
    second = perceive(features, other, plan, projector, memo=memo)
    assert projector.patches == 16 + 4 * 16 + 16 + 2 * 16  # frames 3, 4, 5 and 0; 1, 3, 4, 5
    fresh = perceive(features, other, plan, Identity())
    assert torch.equal(second.embeds, fresh.embeds)
    assert first.frame[16::4].tolist() == [0, 2, 4, 5]
    assert second.frame[16::4].tolist() == [1, 3, 4, 5]


def test_other_grids_and_other_frames_are_not_mistaken_for_remembered_ones():
    features, memo = placed_features([0.6, 0.1, 0.9], [[]] * 3, 4), {}
    other = torch.tensor([-1.0, 0.0])
    asked = [(QUESTION, "prompt:1/temporal_global_pool"), (other, "prompt:1/temporal_global_pool")]
    asked += [(QUESTION, "all/adaptive_2d_pool:2x2"), (QUESTION, "all/adaptive_2d_pool:1x4")]
    for question, pathway in asked:
        plan = Plan.parse(f"x={pathway}")
        remembered = perceive(features, question, plan, Identity(), memo=memo)
        fresh = perceive(features, question, plan, Identity())
        assert torch.equal(remembered.embeds, fresh.embeds)
    assert len(memo) == 2 + 3 + 3


def test_the_scorers_last_layer_runs_for_the_frames_a_region_is_looked_for_in_and_once():
    features, memo, seen = random_features(6, 4), {}, []

    def last_layer(states: torch.Tensor) -> torch.Tensor:
        seen.append(len(states))
        return states * 2

    features = replace(features, joint=replace(features.joint, last_layer=last_layer))
    whole = Plan.parse("fast=all/adaptive_2d_pool:2x2")
    perceive(features, QUESTION, whole, Identity(), memo=memo)
    assert seen == []
    cropped = one(ROW, Crop(ratio=0.5), kind="prompt", count=2)
    first = perceive(features, QUESTION, cropped, Identity(), memo=memo)
    again = perceive(features, QUESTION, cropped, Identity(), memo=memo)
    assert seen == [2]
    assert torch.equal(first.embeds, again.embeds)


@pytest.mark.parametrize("kind", ["temporal_global_pool", "spatial_temporal_pool"])
@pytest.mark.parametrize("frames", [1, 5, 16, 37])
def test_pools_over_time_hold_few_frames_and_give_the_mean_of_all(kind, frames, monkeypatch):
    features = random_features(frames, 6, width=4)
    projector = TwoLayers(4)
    plan = one(Pool(kind=kind))
    monkeypatch.setattr(apply, "PATCHES_AT_ONCE", 3 * 36)
    tokens = perceive(features, QUESTION, plan, projector)
    whole = projector.out(pool_grid(projector.hidden(features.patches), Pool(kind=kind)))
    torch.testing.assert_close(tokens.embeds, whole.flatten(0, 2))


# --- similarity of regions ----------------------------------------------------------------------


def test_patches_reach_the_joint_space_through_the_layer_norm():
    weight, bias = torch.tensor([2.0, 1.0]), torch.tensor([0.5, 0.0])
    joint = JointSpace(weight, bias, 0.0, torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]))
    patches = torch.tensor([[3.0, 1.0], [2.0, 6.0]])
    # (1, -1) scaled and shifted is (2.5, -1); (-1, 1) is (-1.5, 1).
    assert joint.project(patches).tolist() == [[2.5, 1.5, 1.0], [-1.5, -0.5, -1.0]]
    released = joint.project(patches, normalised=False)
    assert released.tolist() == [[3.0, 4.0, -1.0], [2.0, 8.0, -6.0]]


@pytest.mark.parametrize(
    ("kind", "rules", "expected"),
    [
        # Hot patches are (1, -1) and cold ones (-1, 1) after the layer norm: cosine ±√½.
        ("concat", "corrected", [[HALF_ROOT, -HALF_ROOT], [HALF_ROOT, HALF_ROOT]]),
        # The larger of each number: (1, 1) where both occur.
        ("spatial_1d_max_pool", "corrected", [[HALF_ROOT], [HALF_ROOT]]),
        # Their mean: nothing where both occur.
        ("spatial_1d_avg_pool", "corrected", [[0.0], [HALF_ROOT]]),
        # Without the layer norm (1, 0) and (0, 1).
        ("spatial_1d_max_pool", "released", [[HALF_ROOT], [1.0]]),
        ("vertical_1d_max_pool", "released", [[1.0, HALF_ROOT]]),
    ],
)
def test_similarity_is_the_cosine_of_pooled_cells(kind, rules, expected):
    features = placed_features([0.5, 0.1], [[], [(0, 0), (1, 0), (1, 1)]], 2)
    plan = one(Pool(kind=kind), None, rules)
    similarity = region_similarity(features, [1], plan.pathways[0], QUESTION, plan)
    torch.testing.assert_close(similarity, torch.tensor([expected]))


def test_a_scorer_of_another_grid_is_interpolated():
    features = placed_features([0.5], [[(0, 0), (1, 0)]], 4, scorer_side=2)
    plan = one(Pool(), None, "released")
    similarity = region_similarity(features, [0], plan.pathways[0], QUESTION, plan)
    # Between the centres of the scorer's two columns, 1 and 0, the map goes down evenly.
    torch.testing.assert_close(similarity, torch.tensor([1.0, 0.75, 0.25, 0.0]).expand(1, 4, 4))
    halved = one(ROW, None, "released")
    similarity = region_similarity(features, [0], halved.pathways[0], QUESTION, halved)
    torch.testing.assert_close(similarity, torch.tensor([1.0, 0.0]).expand(1, 4, 2))


@pytest.mark.parametrize("scorer_side", [2, 3, 4, 8])
def test_the_box_finds_its_corner_whatever_the_scorers_grid(scorer_side):
    half = range(scorer_side // 2)
    corner = [(row, scorer_side - 1 - column) for row in half for column in half]
    features = placed_features([0.5], [corner], 4, scorer_side=scorer_side)
    tokens = perceive(features, QUESTION, one(Pool(), Crop(ratio=0.25)), Identity())
    look = tokens.looks["only"][0]
    assert look.similarity.shape == (4, 4)
    # The 4 best of 4 × 4 cells are the upper right ones.
    assert look.box == Box(2, 0, 4, 2)
    tokens = perceive(
        features, QUESTION, one(Pool(), Crop(ratio=0.25, kind="mean-center")), Identity()
    )
    # Their mean is (0.5, 2.5), truncated (0, 2).
    assert tokens.looks["only"][0].box == Box(1, 0, 3, 2)
