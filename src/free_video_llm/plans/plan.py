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

Rules = Literal["corrected", "released"]
Selector = Literal["all", "uniform", "prompt", "prompt-diverse"]
CropKind = Literal["prompt", "center", "cells"]
PoolKind = Literal[
    "concat",
    "spatial_1d_max_pool",
    "spatial_1d_avg_pool",
    "vertical_1d_max_pool",
    "spatial_2d_max_pool",
    "spatial_2d_avg_pool",
    "adaptive_2d_pool",
    "spatial_temporal_pool",
    "temporal_global_pool",
]


def rules_of_geometry(old: object) -> object:
    """The rules that were once called a geometry: "true" (which YAML reads as a boolean) is
    "corrected"; anything else stays, to be told as a wrong value of the rules."""
    return "corrected" if old in (True, "true") else old


#: Rows × columns of patches that one pooled token covers, for the pools with a fixed window.
WINDOWS: dict[str, tuple[int, int]] = {
    "concat": (1, 1),
    "spatial_1d_max_pool": (1, 2),
    "spatial_1d_avg_pool": (1, 2),
    "vertical_1d_max_pool": (2, 1),
    "spatial_2d_max_pool": (2, 2),
    "spatial_2d_avg_pool": (2, 2),
}
#: What `spatial_temporal_pool` averages a clip down to: times × rows × columns.
TIMES_ROWS_COLUMNS = (16, 12, 12)


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which of the T sampled frames a pathway looks at.

    `kind`: "all"; "uniform" over the clip; "prompt", the `count` frames nearest to the question;
    "prompt-diverse", the same without near-duplicates.
    """

    kind: Selector = "all"
    count: int | None = None

    def __post_init__(self) -> None:
        one_of("selector", self.kind, get_args(Selector), PlanError)
        if self.kind == "all":
            if self.count is not None:
                raise PlanError("selector 'all' takes no count: leave it out or choose another one")
        elif not _is_whole(self.count) or not 1 <= self.count <= 100_000:  # type: ignore[operator]
            raise PlanError(
                f"selector {self.kind!r} needs a count of frames from 1 to 100000, "
                f"not {shown(self.count)}"
            )

    def count_frames(self, available: int) -> int:
        """How many of `available` frames are taken."""
        return available if self.count is None else min(self.count, available)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How a frame's side × side tokens become fewer.

    `grid` (rows, columns) is for adaptive_2d_pool, and only for it.
    """

    kind: PoolKind = "concat"
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        one_of("pooling", self.kind, get_args(PoolKind), PlanError)
        if (self.grid is not None) != (self.kind == "adaptive_2d_pool"):
            raise PlanError(
                "pooling 'adaptive_2d_pool' needs a grid (rows, columns), and only it takes one"
            )
        if self.grid is not None:
            grid = tuple(self.grid) if isinstance(self.grid, list | tuple) else ()
            if len(grid) != 2 or not all(_is_whole(n) and 1 <= n <= 4096 for n in grid):
                raise PlanError(
                    f"a grid is two whole numbers from 1 to 4096, not {shown(self.grid)}"
                )
            object.__setattr__(self, "grid", grid)

    @property
    def over_time(self) -> bool:
        """Whether frames are pooled together, so that a token belongs to no single frame."""
        return self.kind in ("spatial_temporal_pool", "temporal_global_pool")

    def grid_of(self, side: int) -> tuple[int, int]:
        """Rows and columns left of a side × side grid; a last odd row or column is kept."""
        if self.grid is not None:
            return self.grid
        if self.kind == "spatial_temporal_pool":
            return TIMES_ROWS_COLUMNS[1:]
        if self.kind == "temporal_global_pool":
            return side, side
        rows, columns = WINDOWS[self.kind]
        return math.ceil(side / rows), math.ceil(side / columns)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Which part of the pooled grid is kept.

    `ratio` is the share of the grid's cells, 0 < ratio < 1. `kind`: "prompt", the box around the
    cells nearest to the question; "center", the same box in the middle; "cells", as many of the
    nearest cells wherever they are.
    """

    ratio: float
    kind: CropKind = "prompt"

    def __post_init__(self) -> None:
        one_of("crop", self.kind, get_args(CropKind), PlanError)
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float):
            raise PlanError(f"a crop's ratio is a number between 0 and 1, not {shown(self.ratio)}")
        if not 0 < self.ratio < 1:
            raise PlanError(
                f"a crop's ratio is between 0 and 1, not {shown(self.ratio)} (1 is: no crop)"
            )
        object.__setattr__(self, "ratio", float(self.ratio))

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
        if self.crop is not None and (self.pool.over_time or self.pool.grid is not None):
            raise PlanError(
                f"pathway {shown(self.name)}: {self.pool.kind} cannot be cropped; pool with a "
                "spatial_1d, vertical_1d, spatial_2d pooling or concat, or leave the crop out"
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
            if self.rules == "released" and select.kind == "uniform":
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
        detailed = [p for p in self.pathways if p.select.kind != "all" and p.pool.kind in WINDOWS]
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
        if side % 2 and WINDOWS.get(kind, (1, 1)) != (1, 1):
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
        times = {"spatial_temporal_pool": TIMES_ROWS_COLUMNS[0], "temporal_global_pool": 1}
        return {
            p.name: times.get(p.pool.kind, kept[p.name]) * self.tokens_per_frame(p, side)
            for p in self.pathways
        }

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
