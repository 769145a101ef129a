"""Plans as one line: both released notations, ours, and what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm import Crop, Pathway, Plan, PlanError, Pool, Select
from free_video_llm.plans.presets import PRESETS
from plan_strategies import plan_or_one_line, plans

PAPER = "slow_3frms_spatial_1d_max_pool_roi8-middle_5frms_spatial_1d_max_pool_24x12-fast_50frms_4x4"
SMALL = "slow_3frms_spatial_1d_max_pool_roi6-middle_3frms_spatial_1d_max_pool_24x12-fast_0frms_4x4"
SLOWFAST = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
ROW = Pool(kind="spatial_1d_max_pool")
OVERVIEW = Pool(kind="adaptive_2d_pool", grid=(4, 4))


def prompt(count: int) -> Select:
    return Select(kind="prompt", count=count)


def uniform(count: int) -> Select:
    return Select(kind="uniform", count=count)


# --- reading ----------------------------------------------------------------------------------


def test_the_papers_notation():
    crop = Crop(ratio=0.8)
    assert Plan.parse(PAPER).pathways == (
        Pathway(name="slow", select=prompt(3), pool=ROW, crop=crop),
        Pathway(name="middle", select=uniform(5), pool=ROW, crop=crop),
        Pathway(name="fast", select=prompt(50), pool=OVERVIEW),
    )


def test_zero_frames_are_no_pathway():
    crop = Crop(ratio=0.6)
    assert Plan.parse(SMALL).pathways == (
        Pathway(name="slow", select=prompt(3), pool=ROW, crop=crop),
        Pathway(name="middle", select=uniform(3), pool=ROW, crop=crop),
    )
    only_fast = SMALL.replace("_3frms", "_0frms").replace("fast_0", "fast_8")
    assert [pathway.name for pathway in Plan.parse(only_fast).pathways] == ["fast"]


def test_slowfasts_notation():
    assert Plan.parse(SLOWFAST).pathways == (
        Pathway(name="slow", select=uniform(10), pool=ROW),
        Pathway(name="fast", select=Select(kind="all"), pool=OVERVIEW),
    )


@pytest.mark.parametrize(
    ("text", "name"), [(PAPER, "paper"), (SMALL, "paper-small"), (SLOWFAST, "slowfast")]
)
def test_the_notations_are_the_presets(text, name):
    assert Plan.parse(text).pathways == Plan.preset(name).pathways
    assert Plan.parse(text).name == ""
    assert Plan.parse(name).name == name


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (PAPER, 2648),
        (SMALL, 1026),
        (SLOWFAST, 3680),
        # The four settings whose counts the released code gave (the last two on 24 and 16 frames).
        (
            "slow_4frms_spatial_1d_avg_pool_roi5-middle_2frms_spatial_1d_avg_pool_24x12"
            "-fast_12frms_6x6",
            6 * 136 + 12 * 36,
        ),
        (
            "slow_3frms_vertical_1d_max_pool_roi7-middle_2frms_vertical_1d_max_pool_12x24"
            "-fast_16frms_4x4",
            5 * 200 + 16 * 16,
        ),
    ],
)
@pytest.mark.parametrize("rules", ["corrected", "released"])
def test_token_counts_of_notations(text, tokens, rules):
    assert Plan.parse(text, rules=rules).count_tokens(frames=50, side=24) == tokens


def test_roi10_is_no_crop_and_parts_of_ten_are_read():
    text = "slow_2frms_concat_roi10-middle_1frms_concat_24x24-fast_0frms_4x4"
    assert [pathway.crop for pathway in Plan.parse(text).pathways] == [None, None]
    crops = {pathway.crop for pathway in Plan.parse(text.replace("roi10", "roi2.5")).pathways}
    assert crops == {Crop(ratio=0.25)}


def test_slow_and_middle_may_pool_differently():
    text = (
        "slow_2frms_spatial_1d_avg_pool_roi5-middle_1frms_vertical_1d_max_pool_12x24-fast_0frms_4x4"
    )
    plan = Plan.parse(text)
    assert [p.pool.kind for p in plan.pathways] == ["spatial_1d_avg_pool", "vertical_1d_max_pool"]
    assert str(plan) == text


def test_our_notation():
    text = (
        "a=all/concat+b=uniform:7/vertical_1d_max_pool/center-crop:0.25"
        "+c=prompt-diverse:2/spatial_2d_avg_pool/cells:0.5+d=prompt:4/adaptive_2d_pool:3x5@released"
    )
    assert Plan.parse(text) == Plan(
        pathways=(
            Pathway(name="a"),
            Pathway(
                name="b",
                select=uniform(7),
                pool=Pool(kind="vertical_1d_max_pool"),
                crop=Crop(ratio=0.25, kind="center"),
            ),
            Pathway(
                name="c",
                select=Select(kind="prompt-diverse", count=2),
                pool=Pool(kind="spatial_2d_avg_pool"),
                crop=Crop(ratio=0.5, kind="cells"),
            ),
            Pathway(name="d", select=prompt(4), pool=Pool(kind="adaptive_2d_pool", grid=(3, 5))),
        ),
        rules="released",
    )


def test_a_pooling_alone_takes_every_frame():
    plan = Plan.parse("spatial_temporal_pool")
    expected = Pathway(name="all", pool=Pool(kind="spatial_temporal_pool"))
    assert plan.pathways == (expected,)
    assert plan.count_tokens(frames=50) == 16 * 12 * 12


@pytest.mark.parametrize(
    ("text", "option", "rules"),
    [
        ("paper", None, "corrected"),
        ("paper@released", None, "released"),
        ("paper", "released", "released"),
        ("paper@released", "released", "released"),
        (f"  {PAPER}@released\n", None, "released"),
        ("paper@corrected", "corrected", "corrected"),
    ],
)
def test_geometry_by_suffix_or_option(text, option, rules):
    plan = Plan.parse(text, rules=option)
    assert plan.rules == rules
    assert plan.pathways == Plan.preset("paper").pathways


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PAPER, SMALL, SLOWFAST, *PRESETS])
@pytest.mark.parametrize("suffix", ["", "@released"])
def test_what_was_read_is_written_alike(text, suffix):
    assert str(Plan.parse(text + suffix)) == text + suffix


def test_a_plan_that_no_released_notation_says_is_written_in_ours():
    slow = Pathway(name="slow", select=prompt(3), pool=ROW, crop=Crop(ratio=0.8))
    middle = Pathway(name="middle", select=uniform(5), pool=ROW, crop=Crop(ratio=0.7))
    assert str(Plan(pathways=(slow, middle))) == (
        "slow=prompt:3/spatial_1d_max_pool/crop:0.8+middle=uniform:5/spatial_1d_max_pool/crop:0.7"
    )
    turned = Plan(pathways=(middle, slow), rules="released")
    assert str(turned).startswith("middle=uniform:5/")
    assert str(turned).endswith("@released")


def test_a_preset_that_was_changed_is_not_written_as_the_preset():
    changed = Plan(pathways=Plan.preset("paper").pathways[:1], name="paper")
    assert str(changed) == "slow=prompt:3/spatial_1d_max_pool/crop:0.8"


@settings(deadline=None, max_examples=200)
@given(plans())
def test_writing_and_reading_give_the_same_plan(plan):
    again = Plan.parse(str(plan))
    assert again == plan
    assert str(again) == str(plan)
    assert Plan.parse(str(again)) == again


WHOLE = st.integers(0, 999)
KINDS = st.sampled_from(
    ["concat", "spatial_1d_max_pool", "spatial_1d_avg_pool", "vertical_1d_max_pool",
     "spatial_2d_max_pool", "spatial_2d_avg_pool"]
)  # fmt: skip
TENTHS = st.integers(1, 10) | st.integers(1, 999).map(lambda n: n / 100)


@settings(deadline=None)
@given(st.integers(1, 999), KINDS, TENTHS, WHOLE, KINDS, WHOLE, st.integers(1, 99))
def test_released_notations_come_back(k, pool, tenths, m, pool2, n, a):
    text = f"slow_{k}frms_{pool}_roi{tenths}-middle_{m}frms_{pool2}_24x12-fast_{n}frms_{a}x4"
    plan = Plan.parse(text)
    counts = [pathway.select.count for pathway in plan.pathways]
    assert counts == [count for count in (k, m, n) if count]
    ratio = plan.pathways[0].crop.ratio if plan.pathways[0].crop else 1.0
    assert ratio == pytest.approx(tenths / 10)
    assert Plan.parse(str(plan)) == plan
    slowfast = Plan.parse(f"slowfast-slow_{k}frms_{pool}-fast_{a}x4")
    assert slowfast.pathways[0] == Pathway(name="slow", select=uniform(k), pool=Pool(kind=pool))
    assert Plan.parse(str(slowfast)) == slowfast


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a plan is a preset's name .* not ''"),
        (None, "a plan is a preset's name .* not None"),
        ("papre", "cannot read the plan 'papre'; did you mean 'paper'[?] A plan is a preset"),
        ("no such thing at all", "cannot read the plan 'no such thing at all'; a plan is a preset"),
        ("spatial_1d_max_pol", "did you mean 'spatial_1d_max_pool'?"),
        ("adaptive_2d_pool", "cannot read the plan 'adaptive_2d_pool'"),
        ("paper@relesed", "unknown rules 'relesed'; did you mean 'released'?"),
        ("@released", "cannot read the plan ''"),
        (PAPER.replace("roi8", "roi0"), "roi0 means a share of 0; roi1 to roi10 are allowed"),
        (PAPER.replace("roi8", "roi11"), "roi11 means a share of 1.1"),
        (PAPER.replace("slow_3frms_spatial_1d_max", "slow_3frms_spatial_1d_mux"),
         "unknown pooling 'spatial_1d_mux_pool'; did you mean 'spatial_1d_max_pool'"),
        (PAPER.replace("4x4", "0x4"), r"two whole numbers from 1 to 4096, not \(0, 4\)"),
        (PAPER.replace("_50frms", "_999999frms"), "from 1 to 100000, not 999999"),
        (PAPER.replace("_50frms", "_" + "9" * 9000 + "frms"), "cannot read the plan"),
        (SLOWFAST.replace("10frms", "0frms"), "from 1 to 100000, not 0"),
        (SLOWFAST.replace("spatial_1d_max_pool", "adaptive_2d_pool"), "needs a grid"),
        ("slow_0frms_concat_roi8-middle_0frms_concat_2x2-fast_0frms_4x4", "at least one pathway"),
        ("slow=prompt:3", "cannot read the pathway 'slow=prompt:3': write name="),
        ("slow=prompt:3/concat/crop:0.8/x", "cannot read the pathway"),
        ("slow=promt:3/concat", "unknown selector 'promt'; did you mean 'prompt'?"),
        ("slow=prompt/concat", "needs a count of frames from 1 to 100000, not None"),
        ("slow=prompt:/concat", "a count is a whole number, not ''"),
        ("slow=prompt:-3/concat", "a count is a whole number, not '-3'"),
        ("slow=prompt:٣/concat", "a count is a whole number"),
        ("slow=prompt:" + "9" * 9000 + "/concat", "a count is a whole number, not '999"),
        ("slow=all/adaptive_2d_pool:4", "a grid is written ROWSxCOLUMNS, as in 4x4, not '4'"),
        ("slow=all/adaptive_2d_pool:4xx", "a grid is a whole number, not 'x'"),
        ("slow=all/concat/crop", "unknown crop ''"),
        ("slow=all/concat/centre-crop:0.5", "did you mean 'center-crop'?"),
        ("slow=all/concat/crop:much", "a number between 0 and 1, not 'much'"),
        ("slow=all/concat/crop:nan", "between 0 and 1, not nan"),
        ("slow=all/concat/crop:1e999", "between 0 and 1, not inf"),
        ("=all/concat", "a pathway's name is letters, digits, - and _"),
        ("a=all/concat+a=all/concat", "two pathways are named 'a'"),
        ("a=all/concat+", "cannot read the pathway ''"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(text, message):
    with pytest.raises(PlanError, match=message) as caught:
        Plan.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_suffix_and_option_must_agree():
    with pytest.raises(PlanError, match="'paper@released' says @released, the option 'corrected'"):
        Plan.parse("paper@released", rules="corrected")
    with pytest.raises(PlanError, match="unknown rules 'flat'"):
        Plan.parse("paper", rules="flat")


PIECES = st.sampled_from(
    ["slow", "middle", "fast", "slowfast-", "=", "all", "prompt", "uniform", ":", "3", "0", "/",
     "concat", "spatial_1d_max_pool", "adaptive_2d_pool", "crop", "center-crop", "cells", "0.8",
     "nan", "1e-400", "+", "@", "released", "corrected", "paper", "4x4", "x", "-", "_", "frms",
     "8", "\n", "\ud800", "٣", "9" * 5000, "\x00", "é"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40) | st.lists(PIECES, max_size=14).map("".join))
def test_any_text_gives_a_plan_or_one_line(text):
    plan = plan_or_one_line(Plan.parse, text)
    if plan is not None:
        assert Plan.parse(str(plan)) == plan


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([PAPER, SMALL, SLOWFAST, "a=prompt:3/concat/crop:0.8+b=all/concat"]),
       st.data())  # fmt: skip
def test_a_damaged_notation_gives_a_plan_or_one_line(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 4)))
    damaged = text[:start] + data.draw(PIECES | st.just("")) + text[end:]
    plan = plan_or_one_line(Plan.parse, damaged)
    if plan is not None:
        assert Plan.parse(str(plan)) == plan


def test_the_old_spelling_of_the_rules_is_read():
    assert Plan.parse("paper@true") == Plan.parse("paper@corrected") == Plan.parse("paper")
    for old, rules in (("true", "corrected"), (True, "corrected"), ("released", "released")):
        data = Plan.parse("paper", rules=rules).to_dict()
        old_data = {k: v for k, v in data.items() if k != "rules"} | {"geometry": old}
        assert Plan.from_dict(old_data) == Plan.from_dict(data)
    with pytest.raises(PlanError, match="unknown rules 'round'"):
        Plan.from_dict(Plan.parse("paper").to_dict() | {"rules": "round"})
