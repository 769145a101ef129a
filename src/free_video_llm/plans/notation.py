"""Reads and writes plans as one line: the two notations of the released configs, and ours.

Released: slow_3frms_spatial_1d_max_pool_roi8-middle_5frms_spatial_1d_max_pool_24x12-fast_50frms_4x4
SlowFast: slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4
Ours:     slow=prompt:3/spatial_1d_max_pool/crop:0.8+fast=all/adaptive_2d_pool:4x4
A suffix `@released` or `@corrected` sets the rules. Knows nothing of tensors or models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from free_video_llm.errors import PlanError, nearest, one_of, shown
from free_video_llm.plans.methods import CROPS, POOLS
from free_video_llm.plans.plan import Crop, Pathway, Plan, Pool, Rules, Select, rules_of_geometry
from free_video_llm.plans.presets import PRESETS

_THREE = re.compile(
    r"slow_(?P<k>\d{1,6})frms_(?P<pool>\w+?)_roi(?P<roi>\d{1,2}(?:\.\d{1,6})?)"
    r"-middle_(?P<m>\d{1,6})frms_(?P<pool2>\w+?)_(?P<h>\d{1,4})x(?P<w>\d{1,4})"
    r"-fast_(?P<n>\d{1,6})frms_(?P<a>\d{1,4})x(?P<b>\d{1,4})"
)
_SLOWFAST = re.compile(
    r"slowfast-slow_(?P<k>\d{1,6})frms_(?P<pool>\w+?)-fast_(?P<a>\d{1,4})x(?P<b>\d{1,4})"
)
_FORMS = (
    "a preset's name (fvl plans), 'slow_{k}frms_{pool}_roi{10r}-middle_{m}frms_{pool}_{H}x{W}-"
    "fast_{n}frms_{a}x{b}', 'slowfast-slow_{k}frms_{pool}-fast_{a}x{b}', or "
    "'name=selector:count/pooling/crop:ratio+…'"
)


def resolve_plan(plan: str | Plan, rules: Rules | None = None) -> Plan:
    """A plan from text or as it is, with the rules asked for. Raises PlanError."""
    if isinstance(plan, Plan):
        return plan if rules is None else replace(plan, rules=rules)
    return parse_plan(plan, rules=rules)


def any_keeps_all(plan: str | Plan | Sequence[Plan] | None, frames: int) -> bool:
    """Whether any of some plans keeps every one of so many frames."""
    plans = [] if plan is None else [plan] if isinstance(plan, str | Plan) else plan
    return any(resolve_plan(one).keeps_all(frames) for one in plans)


def parse_plan(text: str, *, rules: Rules | None = None) -> Plan:
    """See `Plan.parse`."""
    if not isinstance(text, str) or not text.strip():
        raise PlanError(f"a plan is {_FORMS}, not {shown(text)}")
    text = text.strip()
    body, at, suffix = text.rpartition("@")
    if at:
        suffix = str(rules_of_geometry(suffix))
        one_of("rules", suffix, get_args(Rules), PlanError)
        if rules is not None and rules != suffix:
            raise PlanError(f"plan {shown(text)} says @{suffix}, the option {shown(rules)}")
        text, rules = body, suffix  # type: ignore[assignment]
    if text in PRESETS:
        plan = PRESETS[text].plan
    elif match := _THREE.fullmatch(text):
        plan = _three_pathways(match)
    elif match := _SLOWFAST.fullmatch(text):
        plan = _slow_fast(match)
    elif "=" in text:
        plan = Plan(pathways=tuple(_parse_pathway(part) for part in text.split("+")))
    elif text in _alone():
        plan = Plan(pathways=(Pathway(name="all", pool=Pool(kind=text)),))
    else:
        guess = nearest(text, [*PRESETS, *_alone()])
        hint = f"did you mean {guess!r}? A" if guess else "a"
        raise PlanError(f"cannot read the plan {shown(text)}; {hint} plan is {_FORMS}")
    return plan if rules is None else replace(plan, rules=rules)


def _alone() -> list[str]:
    """Poolings that are a plan by themselves: of every frame, as SlowFast-LLaVA's settings name
    them."""
    return [method.name for method in POOLS if not method.takes_grid and not method.takes_share]


def _slow_fast(match: re.Match[str]) -> Plan:
    """SlowFast-LLaVA's form (arXiv 2407.15841): uniform slow frames and an overview of all."""
    select = Select(kind="uniform", count=int(match["k"]))
    pool = Pool(kind=match["pool"])
    slow = Pathway(name="slow", select=select, pool=pool)
    return Plan(pathways=(slow, Pathway(name="fast", pool=_overview(match))))


def _overview(match: re.Match[str]) -> Pool:
    return Pool(kind="adaptive_2d_pool", grid=(int(match["a"]), int(match["b"])))


def _three_pathways(match: re.Match[str]) -> Plan:
    """The paper's form: prompt-guided slow frames, uniform middle ones, and an overview."""
    ratio = float(match["roi"]) / 10
    if not 0 < ratio <= 1:
        raise PlanError(f"roi{match['roi']} means a share of {ratio:g}; roi1 to roi10 are allowed")
    crop = Crop(ratio=ratio) if ratio < 1 else None
    slow, middle, fast = int(match["k"]), int(match["m"]), int(match["n"])
    pathways = []
    if slow:
        select, pool = Select(kind="prompt", count=slow), Pool(kind=match["pool"])
        pathways.append(Pathway(name="slow", select=select, pool=pool, crop=crop))
    if middle:
        select, pool = Select(kind="uniform", count=middle), Pool(kind=match["pool2"])
        pathways.append(Pathway(name="middle", select=select, pool=pool, crop=crop))
    if fast:
        select = Select(kind="prompt", count=fast)
        pathways.append(Pathway(name="fast", select=select, pool=_overview(match)))
    return Plan(pathways=tuple(pathways))


def _parse_pathway(text: str) -> Pathway:
    name, _, rest = text.partition("=")
    parts = rest.split("/")
    if len(parts) not in (2, 3):
        raise PlanError(
            f"cannot read the pathway {shown(text)}: write name=selector:count/pooling or "
            "name=selector:count/pooling/crop:ratio, as in slow=prompt:3/concat/crop:0.8"
        )
    kind, colon, count = parts[0].partition(":")
    select = Select(kind=kind, count=_whole(count, "count") if colon else None)
    kind, colon, size = parts[1].partition(":")
    grid = share = None
    if colon and kind in POOLS.names() and POOLS.get(kind).takes_share:
        share = _share(size, "share of tokens")
    elif colon:
        rows, x, columns = size.partition("x")
        if not x:
            raise PlanError(f"a grid is written ROWSxCOLUMNS, as in 4x4, not {shown(size)}")
        grid = _whole(rows, "grid"), _whole(columns, "grid")
    pool = Pool(kind=kind, grid=grid, share=share)
    crop = None
    if len(parts) == 3:
        word, _, ratio = parts[2].rpartition(":")
        kinds = {method.notation: method.name for method in CROPS}
        one_of("crop", word, kinds, PlanError)
        crop = Crop(ratio=_share(ratio, "crop's ratio"), kind=kinds[word])
    return Pathway(name=name, select=select, pool=pool, crop=crop)


def _share(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PlanError(f"a {what} is a number between 0 and 1, not {shown(text)}") from None


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text):
        raise PlanError(f"a {what} is a whole number, not {shown(text)}")
    return int(text)


def print_plan(plan: Plan) -> str:
    """One line that `parse_plan` reads back to the same pathways and rules."""
    suffix = "@released" if plan.rules == "released" else ""
    for preset in PRESETS.values():
        if preset.plan.pathways == plan.pathways and preset.plan.name == plan.name:
            return plan.name + suffix
    line = _released_notation(plan) or "+".join(_print_pathway(p) for p in plan.pathways)
    return line + suffix


def _print_pathway(pathway: Pathway) -> str:
    select, pool, crop = pathway.select, pathway.pool, pathway.crop
    text = f"{pathway.name}={select.kind}"
    text += "" if select.count is None else f":{select.count}"
    text += f"/{pool.kind}" + (f":{pool.grid[0]}x{pool.grid[1]}" if pool.grid else "")
    text += "" if pool.share is None else f":{pool.share!r}"
    if crop is not None:
        text += f"/{crop.method.notation}:{crop.ratio!r}"
    return text


def _released_notation(plan: Plan) -> str | None:
    """The plan in the released notation, if that says exactly the same."""
    by_name = {pathway.name: pathway for pathway in plan.pathways}
    slow, middle, fast = (by_name.get(name) for name in ("slow", "middle", "fast"))
    line = None
    if slow is not None and middle is not None:
        ratio = slow.crop.ratio if slow.crop else 1.0
        grid = fast.pool.grid or (4, 4) if fast else (4, 4)
        rows, columns = middle.pool.grid_of(24)
        line = (
            f"slow_{slow.select.count}frms_{slow.pool.kind}_roi{ratio * 10:.12g}"
            f"-middle_{middle.select.count}frms_{middle.pool.kind}_{rows}x{columns}"
            f"-fast_{fast.select.count if fast else 0}frms_{grid[0]}x{grid[1]}"
        )
    elif slow is not None and fast is not None and fast.pool.grid:
        grid = fast.pool.grid
        line = f"slowfast-slow_{slow.select.count}frms_{slow.pool.kind}-fast_{grid[0]}x{grid[1]}"
    if line is None:
        return None
    try:
        same = parse_plan(line).pathways == plan.pathways
    except PlanError:
        return None
    return line if same else None
