"""What is kept of a video, as data: pathways that select frames, crop regions and pool tokens.

Counts tokens exactly without a model. Knows nothing of tensors; the notations of the released
configs (METHOD: `slow_3frms_…-middle_…-fast_…` and `slowfast-slow_…-fast_…`) are read and written
by `notation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from free_video_llm.errors import PlanError, one_of, shown
from free_video_llm.plans import crop as _crop  # noqa: F401 (registers ours)
from free_video_llm.plans import pool as _pool  # noqa: F401
from free_video_llm.plans import select as _select  # noqa: F401
from free_video_llm.plans.methods import (
    CROPS,
    POOLS,
    SELECTORS,
    CropMethod,
    PoolMethod,
    SelectorMethod,
)
from free_video_llm.plans.reducers import evs, max_min, vcast, vidcom2, windows  # noqa: F401
from free_video_llm.plans.selectors import aks, bolt, dpp, focus, gate, peaks  # noqa: F401

Rules = Literal["corrected", "released"]


def rules_of_geometry(old: object) -> object:
    """The rules that were once called a geometry: "true" (which YAML reads as a boolean) is
    "corrected"; anything else stays, to be told as a wrong value of the rules."""
    return "corrected" if old in (True, "true") else old


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which of the T sampled frames a pathway looks at.

    `kind` names a selector of the registry, such as "all"; "uniform" over the clip; "prompt", the
    `count` frames nearest to the question; "prompt-diverse", the same without near-duplicates.
    """

    kind: str = "all"
    count: int | None = None

    def __post_init__(self) -> None:
        if not self.method.counted:
            if self.count is not None:
                raise PlanError(
                    f"selector {self.kind!r} takes no count: leave it out or choose another one"
                )
        elif not _is_whole(self.count) or not 1 <= self.count <= 100_000:  # type: ignore[operator]
            raise PlanError(
                f"selector {self.kind!r} needs a count of frames from 1 to 100000, "
                f"not {shown(self.count)}"
            )

    @property
    def method(self) -> SelectorMethod:
        """Its entry in the registry. Raises PlanError where there is none."""
        return SELECTORS.get(self.kind)

    def count_frames(self, available: int) -> int:
        """How many of `available` frames are taken."""
        return available if self.count is None else min(self.count, available)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How a frame's side × side tokens become fewer.

    `grid` (rows, columns) is for adaptive_2d_pool, and only for it; `share`, of all tokens of a
    pathway's frames, for reducers, which keep tokens as they are.
    """

    kind: str = "concat"
    grid: tuple[int, int] | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.grid is not None) != self.method.takes_grid:
            taking = [method.name for method in POOLS if method.takes_grid]
            raise PlanError(
                f"pooling {' and '.join(map(repr, taking))} needs a grid (rows, columns), and "
                f"only {'it takes' if len(taking) == 1 else 'they take'} one"
            )
        if self.grid is not None:
            grid = tuple(self.grid) if isinstance(self.grid, list | tuple) else ()
            if len(grid) != 2 or not all(_is_whole(n) and 1 <= n <= 4096 for n in grid):
                raise PlanError(
                    f"a grid is two whole numbers from 1 to 4096, not {shown(self.grid)}"
                )
            object.__setattr__(self, "grid", grid)
        self._check_share()

    def _check_share(self) -> None:
        if (self.share is not None) != self.method.takes_share:
            taking = [method.name for method in POOLS if method.takes_share]
            raise PlanError(
                f"{', '.join(taking)} need a share of tokens, as in {taking[0]}:0.25, and only "
                "they take one"
            )
        if self.share is not None:
            number = isinstance(self.share, int | float) and not isinstance(self.share, bool)
            if not number or not 0 < self.share <= 1:
                raise PlanError(f"a share of tokens is above 0, at most 1, not {shown(self.share)}")
            object.__setattr__(self, "share", float(self.share))

    def count_kept(self, frames: int, side: int) -> int:
        """Tokens that a reducer keeps of so many frames of side × side patches: the share of all,
        at least one of each frame."""
        every = frames * side**2
        return max(min(frames, every), min(every, round((self.share or 0) * every)))

    @property
    def method(self) -> PoolMethod:
        """Its entry in the registry. Raises PlanError where there is none."""
        return POOLS.get(self.kind)

    @property
    def over_time(self) -> bool:
        """Whether frames are pooled together, so that a token belongs to no single frame."""
        return self.method.over_time

    def grid_of(self, side: int) -> tuple[int, int]:
        """Rows and columns left of a side × side grid; a last odd row or column is kept."""
        return self.grid if self.grid is not None else self.method.grid_of(side)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Which part of the pooled grid is kept.

    `ratio` is the share of the grid's cells, 0 < ratio < 1. `kind`: "prompt", the box around the
    cells nearest to the question; "center", the same box in the middle; "cells", as many of the
    nearest cells wherever they are.
    """

    ratio: float
    kind: str = "prompt"

    def __post_init__(self) -> None:
        CROPS.get(self.kind)
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float):
            raise PlanError(f"a crop's ratio is a number between 0 and 1, not {shown(self.ratio)}")
        if not 0 < self.ratio < 1:
            raise PlanError(
                f"a crop's ratio is between 0 and 1, not {shown(self.ratio)} (1 is: no crop)"
            )
        object.__setattr__(self, "ratio", float(self.ratio))

    @property
    def method(self) -> CropMethod:
        """Its entry in the registry. Raises PlanError where there is none."""
        return CROPS.get(self.kind)

    def box_size(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the box in a grid (METHOD §1.7); at least one cell."""
        root = math.sqrt(self.ratio)
        return max(1, round(rows * root)), max(1, round(columns * root))


@dataclass(frozen=True, kw_only=True)
class Pathway:
    """One stream of tokens: which frames, pooled how, cropped how."""

    name: str
    select: Select = Select()
    pool: Pool = Pool()
    crop: Crop | None = None

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and self.name
        if not named or not all(c.isalnum() or c in "-_" for c in self.name):
            raise PlanError(
                "a pathway's name is letters, digits, - and _ (slow, middle, fast, …), "
                f"not {shown(self.name)}"
            )
        if self.crop is not None and self.pool.method.window is None:
            windowed = ", ".join(method.name for method in POOLS if method.window is not None)
            raise PlanError(
                f"pathway {shown(self.name)}: {self.pool.kind} cannot be cropped; pool with one of "
                f"{windowed}, or leave the crop out"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is decided before the language model: pathways, in the order of their tokens.

    `rules` "corrected" (default) crops on the true grid, looks at no frame twice in detail (see
    `dedupes`), keeps frames in time order and reaches both ends of the clip; "released" computes
    exactly what the paper's released code does (METHOD §4).
    """

    pathways: tuple[Pathway, ...]
    rules: Rules = "corrected"
    name: str = ""

    def __post_init__(self) -> None:
        one_of("rules", self.rules, get_args(Rules), PlanError)
        object.__setattr__(self, "pathways", tuple(self.pathways))
        if not self.pathways:
            raise PlanError("a plan needs at least one pathway")
        if not isinstance(self.name, str):
            raise PlanError(f"a plan's name is a text, not {shown(self.name)}")
        seen: set[str] = set()
        for pathway in self.pathways:
            if pathway.name in seen:
                raise PlanError(f"two pathways are named {shown(pathway.name)}: rename one")
            seen.add(pathway.name)

    # --- reading and writing ----------------------------------------------------------------

    @staticmethod
    def parse(text: str, *, rules: Rules | None = None) -> Plan:
        """A preset's name, either released notation, or our own (see `notation.py`).

        A suffix `@released` or `@corrected`, or the option, sets the rules.

        Raises PlanError naming what was not understood.
        """
        from free_video_llm.plans.notation import parse_plan

        return parse_plan(text, rules=rules)

    @staticmethod
    def preset(name: str, *, rules: Rules | None = None) -> Plan:
        """A named plan, one of `free_video_llm.plans.presets.PRESETS`."""
        from free_video_llm.plans.presets import PRESETS

        one_of("plan", name, PRESETS, PlanError)
        plan = PRESETS[name].plan
        return plan if rules is None else replace(plan, rules=rules)

    def __str__(self) -> str:
        from free_video_llm.plans.notation import print_plan

        return print_plan(self)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML and JSON."""

        def bare(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: bare(v) for k, v in value.items() if v is not None and v != ""}
            return [bare(v) for v in value] if isinstance(value, list | tuple) else value

        return bare(asdict(self))  # type: ignore[no-any-return]

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Plan:
        """The inverse of `to_dict`. Raises PlanError naming an unknown or wrong entry."""
        if isinstance(data, Mapping) and "geometry" in data and "rules" not in data:
            data = {k: v for k, v in data.items() if k != "geometry"} | {
                "rules": rules_of_geometry(data["geometry"])
            }
        values = _checked(Plan, data, "plan")
        if not isinstance(values["pathways"], list | tuple):
            raise PlanError(
                f"a plan's 'pathways' is a list of pathways, not {shown(values['pathways'])}"
            )
        values["pathways"] = tuple(_pathway(item) for item in values["pathways"])
        return Plan(**values)

    # --- counting -----------------------------------------------------------------------------

    def frames_per_pathway(self, frames: int) -> dict[str, int]:
        """How many frames each pathway keeps of `frames` sampled ones."""
        if frames < 1:
            raise PlanError(f"a video has at least one frame, not {frames}")
        kept: dict[str, int] = {}
        taken = 0
        for pathway in self.pathways:
            select = pathway.select
            repeats = select.method.released is not None and not select.method.guided
            if self.rules == "released" and repeats:
                kept[pathway.name] = select.count or 0  # repeats frames of a shorter clip
            elif self.dedupes(pathway):
                kept[pathway.name] = select.count_frames(frames - taken)
                taken += kept[pathway.name]
            else:
                kept[pathway.name] = select.count_frames(frames)
        return kept

    def dedupes(self, pathway: Pathway) -> bool:
        """Whether a pathway avoids the frames of those that choose before it.

        Two detailed looks at one frame tell nothing new, while an overview (all frames, a coarse
        grid, or a pool over time) stays whole.
        """
        detailed = [
            p for p in self.pathways if p.select.method.counted and p.pool.method.window is not None
        ]
        return self.rules == "corrected" and len(detailed) > 1 and pathway in detailed

    def read_grid(self, pathway: Pathway, side: int) -> tuple[int, int]:
        """The rows and columns as which a frame's pooled tokens are read, and cropped.

        Corrected rules read the pooled grid as it is. The released code reads every grid that
        it crops as side/2 rows × side columns, whatever it is (METHOD §4.1).

        Raises PlanError where the released code does not take such a grid.
        """
        if side < 1:
            raise PlanError(f"a frame has at least one patch along a side, not {side}")
        kind = pathway.pool.kind
        rows, columns = pathway.pool.grid_of(side)
        if self.rules == "corrected":
            return rows, columns
        if side % 2 and (pathway.pool.method.window or (1, 1)) != (1, 1):
            raise PlanError(
                f"the released code pools only even grids with {kind}, not {side}×{side}; "
                "use rules='corrected'"
            )
        if pathway.crop is None:
            return rows, columns
        if rows * columns != side // 2 * side:
            raise PlanError(
                f"the released code cannot crop what {kind} leaves of {side}×{side}; "
                "pool with a spatial_1d or vertical_1d pooling, or use rules='corrected'"
            )
        return side // 2, side

    def tokens_per_frame(self, pathway: Pathway, side: int) -> int:
        """Tokens that a pathway makes of one frame of side × side patches."""
        rows, columns = self.read_grid(pathway, side)
        if pathway.crop is not None:
            rows, columns = pathway.crop.box_size(rows, columns)
        return rows * columns

    def count_by_pathway(self, *, frames: int, side: int) -> dict[str, int]:
        """Tokens of each pathway for `frames` sampled frames of side × side patches."""
        kept = self.frames_per_pathway(frames)
        return {
            p.name: p.pool.count_kept(kept[p.name], side)
            if p.pool.method.takes_share
            else (p.pool.method.times or kept[p.name]) * self.tokens_per_frame(p, side)
            for p in self.pathways
        }

    def keeps_all(self, frames: int) -> bool:
        """Whether a pathway keeps every one of so many sampled frames."""
        return any(
            not p.select.method.counted or (p.select.count or 0) >= frames for p in self.pathways
        )

    def count_tokens(self, *, frames: int = 50, side: int = 24) -> int:
        """Visual tokens that the language model gets (METHOD §2), exactly.

        Raises PlanError where the plan cannot be applied to such frames.

        Examples:
            >>> Plan.preset("paper").count_tokens(frames=50, side=24)
            2648
        """
        return sum(self.count_by_pathway(frames=frames, side=side).values())


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(kind: type, data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise PlanError(f"a {what} is a mapping of names to values, not {shown(data)}")
    entries = fields(kind)
    for key in data:
        one_of(f"entry of a {what}", key, [entry.name for entry in entries], PlanError)
    for entry in entries:
        if entry.default is MISSING and entry.name not in data:
            raise PlanError(f"a {what} needs an entry {entry.name!r}")
    return dict(data)


def _pathway(data: Any) -> Pathway:
    values = _checked(Pathway, data, "pathway")
    for key, kind in (("select", Select), ("pool", Pool), ("crop", Crop)):
        if values.get(key) is not None:
            values[key] = kind(**_checked(kind, values[key], key))
        else:
            values.pop(key, None)
    return Pathway(**values)
