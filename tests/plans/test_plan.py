"""Plans as data: token counts against METHOD §2, what is refused and how, plain values and back."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm import Crop, Pathway, Plan, PlanError, Pool, Select
from free_video_llm.plans.presets import PRESETS
from plan_strategies import plan_or_one_line, plans

ROW = Pool(kind="spatial_1d_max_pool")
RULES = ["corrected", "released"]


def one(pool: Pool, crop: Crop | None = None, rules: str = "corrected", **select: object) -> Plan:
    """A plan of one pathway."""
    return Plan(
        pathways=(Pathway(name="slow", select=Select(**select), pool=pool, crop=crop),),
        rules=rules,
    )


# --- counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("paper", 2648),
        ("paper-small", 1026),
        ("slowfast", 3680),
        ("ig-vlm", 3456),
        ("freeva", 2304),
        ("uniform", 2304),
        ("prompt-3", 864),
        ("uniform-3", 864),
        ("diverse", 1848),
        ("onevision", 7200),
        ("lean", 576),
        ("global", 1152),
        ("long", 864),
        ("moment", 576),
    ],
)
def test_presets_have_the_published_token_counts(name, tokens, rules):
    plan = Plan.preset(name, rules=rules)
    assert plan.rules == rules
    assert plan.count_tokens(frames=50, side=24) == tokens


def test_every_preset_is_counted_above():
    assert len(PRESETS) == 15
    assert all(preset.plan.name == name for name, preset in PRESETS.items())


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    "kind", ["spatial_1d_max_pool", "spatial_1d_avg_pool", "vertical_1d_max_pool"]
)
@pytest.mark.parametrize(("ratio", "tokens"), [(None, 288), (0.8, 231), (0.7, 200), (0.6, 171)])
def test_tokens_per_cropped_frame(kind, ratio, tokens, rules):
    plan = one(Pool(kind=kind), Crop(ratio=ratio) if ratio else None, rules, kind="all")
    assert plan.tokens_per_frame(plan.pathways[0], 24) == tokens


def test_tokens_by_pathway_of_the_paper():
    plan = Plan.preset("paper")
    assert plan.count_by_pathway(frames=50, side=24) == {"slow": 693, "middle": 1155, "fast": 800}


@pytest.mark.parametrize(
    ("rules", "frames", "side", "tokens"),
    [
        ("corrected", 1, 24, 247),  # 231 + 0 + 16
        ("corrected", 3, 24, 741),  # 3·231 + 0 + 3·16
        ("corrected", 7, 24, 1729),  # 3·231 + 4·231 + 7·16
        ("corrected", 80, 24, 2648),  # the overview keeps 50 of 80 frames
        ("corrected", 50, 27, 3296),  # 27×14 cells, a box of 24×13
        ("corrected", 50, 12, 1240),  # 12×6 cells, a box of 11×5
        ("released", 1, 24, 1402),  # 1·231 + 5·231 (one frame five times) + 16
        ("released", 7, 24, 1960),  # 8·231 + 7·16
        ("released", 50, 12, 1240),
    ],
)
def test_the_paper_on_other_clips_and_towers(rules, frames, side, tokens):
    plan = Plan.preset("paper", rules=rules)
    assert plan.count_tokens(frames=frames, side=side) == tokens


@pytest.mark.parametrize(
    ("kind", "even", "odd"),
    [
        ("concat", (4, 4), (5, 5)),
        ("spatial_1d_max_pool", (4, 2), (5, 3)),
        ("spatial_1d_avg_pool", (4, 2), (5, 3)),
        ("vertical_1d_max_pool", (2, 4), (3, 5)),
        ("spatial_2d_max_pool", (2, 2), (3, 3)),
        ("spatial_2d_avg_pool", (2, 2), (3, 3)),
        ("spatial_temporal_pool", (12, 12), (12, 12)),
        ("temporal_global_pool", (4, 4), (5, 5)),
    ],
)
def test_pooled_grids_have_rows_then_columns(kind, even, odd):
    assert Pool(kind=kind).grid_of(4) == even
    assert Pool(kind=kind).grid_of(5) == odd


def test_pools_over_time_count_times_not_frames():
    clip = {"frames": 7, "side": 24}
    assert one(Pool(kind="spatial_temporal_pool"), kind="all").count_tokens(**clip) == 2304
    assert one(Pool(kind="temporal_global_pool"), kind="all").count_tokens(**clip) == 576


@pytest.mark.parametrize(
    ("ratio", "box"), [(0.8, (11, 21)), (0.7, (10, 20)), (0.6, (9, 19)), (0.5, (8, 17))]
)
def test_box_sizes_are_those_the_released_code_crops(ratio, box):
    assert Crop(ratio=ratio).box_size(12, 24) == box
    assert Crop(ratio=ratio).box_size(24, 12) == box[::-1]


def test_a_box_has_at_least_one_cell():
    assert Crop(ratio=0.01).box_size(3, 40) == (1, 4)


# --- what the geometries do ---------------------------------------------------------------------


def test_only_detailed_pathways_avoid_each_others_frames():
    select = Select(kind="prompt", count=3)
    slow = Pathway(name="slow", select=select, pool=ROW)
    others = (
        Pathway(name="coarse", select=select, pool=Pool(kind="adaptive_2d_pool", grid=(2, 2))),
        Pathway(name="mean", select=select, pool=Pool(kind="temporal_global_pool")),
        Pathway(name="all"),
    )
    alone = Plan(pathways=(slow, *others))
    assert [alone.dedupes(pathway) for pathway in alone.pathways] == [False] * 4
    middle = Pathway(name="middle", select=Select(kind="uniform", count=4))
    plan = Plan(pathways=(slow, *others, middle))
    assert [plan.dedupes(pathway) for pathway in plan.pathways] == [True, False, False, False, True]
    expected = {"slow": 3, "coarse": 3, "mean": 3, "all": 5, "middle": 2}
    assert plan.frames_per_pathway(5) == expected


def test_the_released_code_repeats_frames_and_counts_them():
    plan = Plan.preset("paper", rules="released")
    assert not any(plan.dedupes(pathway) for pathway in plan.pathways)
    assert plan.frames_per_pathway(2) == {"slow": 2, "middle": 5, "fast": 2}


@pytest.mark.parametrize("kind", ["spatial_1d_max_pool", "vertical_1d_max_pool"])
def test_the_released_code_reads_every_cropped_grid_as_half_the_rows(kind):
    cropped = one(Pool(kind=kind), Crop(ratio=0.5), "released", kind="all")
    assert cropped.read_grid(cropped.pathways[0], 24) == (12, 24)
    whole = one(Pool(kind=kind), None, "released", kind="all")
    assert whole.read_grid(whole.pathways[0], 24) == Pool(kind=kind).grid_of(24)


@pytest.mark.parametrize(
    ("pool", "crop", "side", "message"),
    [
        ("concat", 0.5, 24, "cannot crop what concat leaves of 24×24"),
        ("concat", 0.5, 5, "cannot crop what concat leaves of 5×5"),
        ("spatial_2d_max_pool", 0.5, 24, "cannot crop what spatial_2d_max_pool leaves of 24×24"),
        ("spatial_1d_max_pool", 0.5, 27, "only even grids with spatial_1d_max_pool, not 27×27"),
        ("vertical_1d_max_pool", None, 27, "only even grids with vertical_1d_max_pool, not 27×27"),
    ],
)
def test_what_the_released_code_cannot_do_is_said(pool, crop, side, message):
    plan = one(Pool(kind=pool), Crop(ratio=crop) if crop else None, "released", kind="all")
    with pytest.raises(PlanError, match=message) as caught:
        plan.count_tokens(frames=3, side=side)
    assert str(caught.value).endswith("use rules='corrected'")
    true = one(Pool(kind=pool), Crop(ratio=crop) if crop else None, kind="all")
    assert true.count_tokens(frames=3, side=side) > 0


def test_odd_grids_that_are_not_pooled_in_pairs_are_fine_in_the_released_geometry():
    assert one(Pool(), None, "released", kind="all").count_tokens(frames=2, side=27) == 1458
    coarse = Pool(kind="adaptive_2d_pool", grid=(4, 4))
    assert one(coarse, None, "released", kind="all").count_tokens(frames=2, side=27) == 32


@pytest.mark.parametrize(("frames", "side"), [(0, 24), (-1, 24), (50, 0), (50, -3)])
def test_no_frames_or_no_patches_are_refused(frames, side):
    with pytest.raises(PlanError, match="at least one"):
        Plan.preset("paper").count_tokens(frames=frames, side=side)


# --- what is refused ------------------------------------------------------------------------------

BAD = {
    "selector": (lambda: Select(kind="unifrom", count=3), "did you mean 'uniform'?"),
    "count missing": (lambda: Select(kind="prompt"), "count of frames from 1 to 100000, not None"),
    "count zero": (lambda: Select(kind="prompt", count=0), "not 0"),
    "count bool": (lambda: Select(kind="prompt", count=True), "not True"),
    "count part": (lambda: Select(kind="uniform", count=2.5), "not 2.5"),
    "count huge": (lambda: Select(kind="uniform", count=10**5000), "not a value of type int"),
    "count of all": (lambda: Select(kind="all", count=3), "'all' takes no count"),
    "pool": (lambda: Pool(kind="spatial_1d_max"), "did you mean 'spatial_1d_max_pool'?"),
    "pool list": (lambda: Pool(kind=["concat"]), r"unknown pooling \['concat'\]"),
    "grid missing": (lambda: Pool(kind="adaptive_2d_pool"), "needs a grid"),
    "grid unasked": (lambda: Pool(kind="concat", grid=(2, 2)), "only it takes one"),
    "grid zero": (lambda: Pool(kind="adaptive_2d_pool", grid=(0, 4)), r"not \(0, 4\)"),
    "grid one": (lambda: Pool(kind="adaptive_2d_pool", grid=(4,)), r"not \(4,\)"),
    "grid number": (lambda: Pool(kind="adaptive_2d_pool", grid=4), "not 4"),
    "grid mapping": (lambda: Pool(kind="adaptive_2d_pool", grid={4: 1, 5: 1}), "two whole numbers"),
    "ratio one": (lambda: Crop(ratio=1), r"not 1 \(1 is: no crop\)"),
    "ratio zero": (lambda: Crop(ratio=0.0), "between 0 and 1, not 0.0"),
    "ratio nan": (lambda: Crop(ratio=float("nan")), "not nan"),
    "ratio bool": (lambda: Crop(ratio=True), "not True"),
    "ratio text": (lambda: Crop(ratio="0.8"), "not '0.8'"),
    "ratio huge": (lambda: Crop(ratio=10**5000), "not a value of type int"),
    "crop": (lambda: Crop(ratio=0.5, kind="centre"), "did you mean 'center'?"),
    "name empty": (lambda: Pathway(name=""), "not ''"),
    "name sign": (lambda: Pathway(name="a/b"), "not 'a/b'"),
    "name number": (lambda: Pathway(name=5), "not 5"),
    "crop of grid": (
        lambda: Pathway(
            name="fast", pool=Pool(kind="adaptive_2d_pool", grid=(4, 4)), crop=Crop(ratio=0.5)
        ),
        "pathway 'fast': adaptive_2d_pool cannot be cropped",
    ),
    "crop of time": (
        lambda: Pathway(name="fast", pool=Pool(kind="temporal_global_pool"), crop=Crop(ratio=0.5)),
        "temporal_global_pool cannot be cropped",
    ),
    "no pathway": (lambda: Plan(pathways=()), "at least one pathway"),
    "same names": (
        lambda: Plan(pathways=(Pathway(name="a"), Pathway(name="b"), Pathway(name="a"))),
        "two pathways are named 'a'",
    ),
    "rules": (lambda: Plan(pathways=(Pathway(name="a"),), rules="relased"), "'released'?"),
    "plan's name": (lambda: Plan(pathways=(Pathway(name="a"),), name=5), "a text, not 5"),
    "preset": (lambda: Plan.preset("papper"), "did you mean 'paper'?"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_refused_in_one_line(case):
    build, message = BAD[case]
    with pytest.raises(PlanError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_ratio_is_kept_as_a_plain_number_and_a_grid_as_a_pair():
    class Share(float):
        def __repr__(self) -> str:
            return "Share(...)"

    assert repr(Crop(ratio=Share(0.5)).ratio) == "0.5"
    assert Pool(kind="adaptive_2d_pool", grid=[4, 2]).grid == (4, 2)


# --- plain values and back ----------------------------------------------------------------------


def test_a_plan_as_plain_values():
    plan = Plan.parse("slow=prompt:3/spatial_1d_max_pool/crop:0.8+fast=all/adaptive_2d_pool:4x2")
    assert plan.to_dict() == {
        "pathways": [
            {
                "name": "slow",
                "select": {"kind": "prompt", "count": 3},
                "pool": {"kind": "spatial_1d_max_pool"},
                "crop": {"ratio": 0.8, "kind": "prompt"},
            },
            {
                "name": "fast",
                "select": {"kind": "all"},
                "pool": {"kind": "adaptive_2d_pool", "grid": [4, 2]},
            },
        ],
        "rules": "corrected",
    }


@settings(deadline=None)
@given(plans(), st.sampled_from(["", "mine", "paper"]))
def test_plain_values_come_back_as_the_same_plan(plan, name):
    plan = Plan(pathways=plan.pathways, rules=plan.rules, name=name)
    data = plan.to_dict()
    assert Plan.from_dict(data) == plan
    assert Plan.from_dict(json.loads(json.dumps(data))) == plan


def test_plain_values_may_leave_out_what_has_a_default():
    plan = Plan.from_dict(yaml.safe_load("pathways: [{name: all}, {name: b, crop: {ratio: 0.5}}]"))
    assert plan == Plan(pathways=(Pathway(name="all"), Pathway(name="b", crop=Crop(ratio=0.5))))
    assert Plan.from_dict({"pathways": [{"name": "all", "select": None, "crop": None}]}) == Plan(
        pathways=(Pathway(name="all"),)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "a plan is a mapping of names to values, not None"),
        ([], r"a plan is a mapping of names to values, not \[\]"),
        ({}, "a plan needs an entry 'pathways'"),
        ({"pathways": "slow"}, "'pathways' is a list of pathways, not 'slow'"),
        ({"pathways": []}, "at least one pathway"),
        ({"pathways": ["slow"]}, "a pathway is a mapping of names to values, not 'slow'"),
        ({"pathways": [{}]}, "a pathway needs an entry 'name'"),
        ({"pathways": [{"name": 3}]}, "not 3"),
        ({"pathways": [{"name": "a", "crop": {}}]}, "a crop needs an entry 'ratio'"),
        ({"pathways": [{"name": "a", "pol": {}}]}, "entry of a pathway 'pol'; did you mean 'pool'"),
        ({"pathways": [{"name": "a", "select": 3}]}, "a select is a mapping .* not 3"),
        ({"pathways": [{"name": "a", "select": {"count": 3}}]}, "'all' takes no count"),
        ({"pathways": [{"name": "a"}], 5: 1}, "unknown entry of a plan 5"),
        ({"pathways": [{"name": "a"}], "rules": None}, "unknown rules None"),
    ],
)
def test_wrong_plain_values_are_refused_by_name(data, message):
    with pytest.raises(PlanError, match=message):
        Plan.from_dict(data)


ENTRIES = st.sampled_from(
    [
        "pathways",
        "rules",
        "name",
        "select",
        "pool",
        "crop",
        "kind",
        "count",
        "grid",
        "ratio",
        "prompt",
        "uniform",
        "concat",
        "all",
        "adaptive_2d_pool",
        "released",
        "corrected",
        "center",
        "slow",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(5000).map(lambda digits: 10**digits)
    | st.floats()
    | st.text(max_size=8)
    | st.just("long\n" * 500)
    | ENTRIES
    | st.dates()
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(ENTRIES | st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
PART = st.fixed_dictionaries({}, optional=dict.fromkeys(("kind", "count", "grid", "ratio"), JUNK))
PATHWAY = st.fixed_dictionaries(
    {"name": st.just("slow") | JUNK},
    optional=dict.fromkeys(("select", "pool", "crop"), PART | JUNK),
)
NEARLY = st.fixed_dictionaries(
    {"pathways": st.lists(PATHWAY | JUNK, max_size=3)},
    optional={"rules": JUNK, "name": JUNK},
)


@settings(deadline=None, max_examples=300)
@given(JUNK | NEARLY)
def test_any_plain_values_give_a_plan_or_one_line(data):
    plan = plan_or_one_line(Plan.from_dict, data)
    if plan is not None:
        assert Plan.from_dict(plan.to_dict()) == plan
