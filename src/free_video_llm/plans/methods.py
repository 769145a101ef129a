"""The registry of methods: how a plan chooses frames, crops them, and pools their tokens.

A method is one entry: its function with a decorator, or a window for a pool. Notation, JSON,
pictures, help and tests read what they need of it here. Other packages add methods by an entry
point (docs/method.md). Knows nothing of plans; torch is imported by a method when it runs, so that
plans can be read without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from free_video_llm.errors import PlanError, one_of
from free_video_llm.plugins import load_plugins

if TYPE_CHECKING:
    import torch

#: The group of entry points whose modules register methods when they are imported.
ENTRY_POINTS = "free_video_llm.methods"

Frames = list[int]
Choose = Callable[..., Frames]
Keep = Callable[..., "tuple[torch.Tensor, list[Any]]"]
PoolGrids = Callable[..., "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class SelectorMethod:
    """A way to choose frames.

    Attributes:
        name: in notation and JSON.
        caption: what it chooses, as a picture says it.
        guided: whether the question has a say.
        counted: whether it takes a count of frames; else it takes all.
        choose: (scores [T], vectors [T,P] of unit length, count, exclude=frames) to the frames in
            time order, none twice, none of `exclude`; fewer where there are no more.
        released: the same as the paper's released code does it; None where that does not differ.
    """

    name: str
    caption: str
    guided: bool
    counted: bool
    choose: Choose
    released: Choose | None = None

    def frames(
        self,
        scores: torch.Tensor,
        vectors: torch.Tensor,
        count: int,
        *,
        exclude: Collection[int] = (),
        rules: str = "corrected",
    ) -> Frames:
        """The chosen frames by either rules; the released code never looks at what others chose."""
        if rules == "released" and self.released is not None:
            return self.released(scores, vectors, count)
        return self.choose(scores, vectors, count, exclude=exclude)


@dataclass(frozen=True, kw_only=True)
class CropMethod:
    """A way to keep a part of a frame's grid.

    Attributes:
        name: in JSON.
        notation: the word before the ratio in a plan's notation.
        caption: what it keeps, as a picture says it, with {share} for the ratio.
        guided: whether the question has a say.
        keep: (similarity [n,h,w], (rows, columns) of the box, ratio) to the kept cells, int64
            [n,k] in ascending order, and the box around those of each map.
        released: the same as the paper's released code does it; None where that does not differ.
    """

    name: str
    notation: str
    caption: str
    guided: bool
    keep: Keep
    released: Keep | None = None


@dataclass(frozen=True, kw_only=True)
class PoolMethod:
    """A way to make fewer tokens of a side × side grid.

    Attributes:
        name: in notation and JSON.
        window: rows × columns of patches that one token covers; None where it has no fixed window,
            so that it cannot be cropped.
        average: whether it is a mean, which commutes with a linear layer; else a maximum.
        takes_grid: whether a plan gives it the grid to pool to.
        grid: the grid that it always pools to, None where that follows from the side.
        stride: by what it divides the side, where it has no window and no grid of its own.
        times: how many times it leaves of a clip where it pools over time, else None.
        pool: tokens [T,S,S,D] (and the grid) to [T',rows,columns,D]; None for windows.
        keep: of a reducer, which keeps some tokens as they are: (states [T,N,C], count, relevance
            [T,N] or None) to the places of each frame's kept tokens, ascending, `count` in all.
        guided: whether a reducer is given the question's relevance.
    """

    name: str
    window: tuple[int, int] | None = None
    average: bool = True
    takes_grid: bool = False
    grid: tuple[int, int] | None = None
    stride: int | None = None
    times: int | None = None
    pool: PoolGrids | None = None
    keep: Callable[..., list[torch.Tensor]] | None = None
    guided: bool = False

    @property
    def takes_share(self) -> bool:
        """Whether a plan says which share of all tokens it keeps."""
        return self.keep is not None

    @property
    def coarse(self) -> bool:
        """Whether it leaves an overview of a frame, in which small things are lost."""
        return self.window is None and self.stride is None and self.keep is None

    @property
    def over_time(self) -> bool:
        """Whether frames are pooled together, so that a token belongs to no single frame."""
        return self.times is not None

    def grid_of(self, side: int) -> tuple[int, int]:
        """Rows and columns left of a side × side grid; a last odd row or column is kept."""
        if self.grid is not None:
            return self.grid
        rows, columns = self.window or (self.stride or 1,) * 2
        return math.ceil(side / rows), math.ceil(side / columns)


class PoolSetting(Protocol):
    """What a plan says of a pool."""

    @property
    def grid(self) -> tuple[int, int] | None: ...
    @property
    def method(self) -> PoolMethod: ...
    def grid_of(self, side: int) -> tuple[int, int]: ...


class CropSetting(Protocol):
    """What a plan says of a crop."""

    @property
    def ratio(self) -> float: ...
    @property
    def method(self) -> CropMethod: ...
    def box_size(self, rows: int, columns: int) -> tuple[int, int]: ...


Method = TypeVar("Method", SelectorMethod, CropMethod, PoolMethod)


class Registry(Generic[Method]):
    """Methods of one kind by name; ours, and those of other packages once they are asked for."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._methods: dict[str, Method] = {}

    def add(self, method: Method) -> None:
        """Raises PlanError where the name is taken or cannot be written in a notation."""
        name = method.name
        if not name.replace("-", "").replace("_", "").isalnum():
            raise PlanError(f"a {self.what}'s name is letters, digits, - and _, not {name!r}")
        if name in self._methods:
            raise PlanError(f"there is a {self.what} named {name!r} already")
        self._methods[name] = method

    def remove(self, name: str) -> None:
        """Take a method out again."""
        self._methods.pop(name, None)

    def names(self) -> list[str]:
        """All names, in the order in which they were registered."""
        load_plugins(ENTRY_POINTS, "methods")
        return list(self._methods)

    def __iter__(self) -> Iterator[Method]:
        load_plugins(ENTRY_POINTS, "methods")
        return iter(list(self._methods.values()))

    def get(self, name: object) -> Method:
        """The method of a name. Raises PlanError naming the nearest known one."""
        if not isinstance(name, str) or name not in self._methods:
            one_of(self.what, name, self.names(), PlanError)
        return self._methods[str(name)]


SELECTORS: Registry[SelectorMethod] = Registry("selector")
CROPS: Registry[CropMethod] = Registry("crop")
POOLS: Registry[PoolMethod] = Registry("pooling")


def selector(
    name: str,
    *,
    caption: str,
    guided: bool = False,
    counted: bool = True,
    released: Choose | None = None,
) -> Callable[[Choose], Choose]:
    """Register a function as a selector; see `SelectorMethod`."""

    def register(choose: Choose) -> Choose:
        SELECTORS.add(
            SelectorMethod(
                name=name,
                caption=caption,
                guided=guided,
                counted=counted,
                choose=choose,
                released=released,
            )
        )
        return choose

    return register


def crop(
    name: str,
    *,
    caption: str,
    notation: str | None = None,
    guided: bool = False,
    released: Keep | None = None,
) -> Callable[[Keep], Keep]:
    """Register a function as a crop; see `CropMethod`. Its notation is its name, if not given."""

    def register(keep: Keep) -> Keep:
        word = notation or name
        CROPS.add(
            CropMethod(
                name=name,
                notation=word,
                caption=caption,
                guided=guided,
                keep=keep,
                released=released,
            )
        )
        return keep

    return register


def pool(
    name: str,
    *,
    takes_grid: bool = False,
    grid: tuple[int, int] | None = None,
    stride: int | None = None,
    times: int | None = None,
) -> Callable[[PoolGrids], PoolGrids]:
    """Register a function as a pool without a fixed window; see `PoolMethod`."""

    def register(function: PoolGrids) -> PoolGrids:
        POOLS.add(
            PoolMethod(
                name=name,
                takes_grid=takes_grid,
                grid=grid,
                stride=stride,
                times=times,
                pool=function,
            )
        )
        return function

    return register


def reducer(
    name: str, *, guided: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a reducer of tokens; see `PoolMethod.keep`."""

    def register(keep: Callable[..., Any]) -> Callable[..., Any]:
        POOLS.add(PoolMethod(name=name, keep=keep, guided=guided))
        return keep

    return register


def window_pool(name: str, window: tuple[int, int], *, average: bool) -> None:
    """Register a pool with a fixed window of rows × columns, a mean or a maximum."""
    POOLS.add(PoolMethod(name=name, window=window, average=average))
