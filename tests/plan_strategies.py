"""Plans for tests to draw from: hypothesis strategies over every selector, pooling and crop."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, get_args

from hypothesis import strategies as st

from free_video_llm.errors import PlanError
from free_video_llm.plans.methods import CROPS, POOLS, SELECTORS
from free_video_llm.plans.plan import Crop, Pathway, Plan, Pool, Rules, Select

NAME_LETTERS = string.ascii_letters + string.digits + "-_é中"


@st.composite
def selects(draw: st.DrawFn, most: int = 100_000) -> Select:
    """Any selector."""
    method = draw(st.sampled_from(list(SELECTORS)))
    return Select(kind=method.name, count=draw(st.integers(1, most)) if method.counted else None)


@st.composite
def pools(draw: st.DrawFn, most: int = 4096) -> Pool:
    """Any pooling."""
    method = draw(st.sampled_from(list(POOLS)))
    sizes = st.integers(1, most)
    grid = (draw(sizes), draw(sizes)) if method.takes_grid else None
    share = draw(st.floats(0, 1, exclude_min=True)) if method.takes_share else None
    return Pool(kind=method.name, grid=grid, share=share)


@st.composite
def pathways(
    draw: st.DrawFn, name: str, most_frames: int = 100_000, most_cells: int = 4096
) -> Pathway:
    """Any pathway that can be, of a given name."""
    pool, crop = draw(pools(most_cells)), None
    if pool.method.window is not None and draw(st.booleans()):
        ratio = draw(st.floats(0, 1, exclude_min=True, exclude_max=True))
        crop = Crop(ratio=ratio, kind=draw(st.sampled_from(CROPS.names())))
    return Pathway(name=name, select=draw(selects(most_frames)), pool=pool, crop=crop)


@st.composite
def plans(draw: st.DrawFn, most_frames: int = 100_000, most_cells: int = 4096) -> Plan:
    """Any plan of one to four pathways."""
    usual = st.sampled_from(["slow", "middle", "fast"])
    any_name = st.text(NAME_LETTERS, min_size=1, max_size=12)
    names = draw(st.lists(usual | any_name, min_size=1, max_size=4, unique=True))
    parts = tuple(draw(pathways(name, most_frames, most_cells)) for name in names)
    return Plan(pathways=parts, rules=draw(st.sampled_from(get_args(Rules))))


def plan_or_one_line(build: Callable[[Any], Plan], given: object) -> Plan | None:
    """What `build` makes of anything: a plan, or a PlanError of one line and no other error."""
    try:
        return build(given)
    except PlanError as error:
        message = str(error)
    assert "\n" not in message
    assert 10 < len(message) < 600
    return None
