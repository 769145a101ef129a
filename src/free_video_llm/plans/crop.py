"""The crops: from a map of similarities to the cells that are kept (METHOD §1.7).

Each is one entry of the registry. Pure functions on tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from free_video_llm.plans.methods import CropSetting, crop

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Box:
    """A box of grid cells; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def ltrb(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.right, self.bottom


def best_cells(similarity: torch.Tensor, ratio: float) -> torch.Tensor:
    """The `int(h*w*r)` most similar cells of each map, at least one: [n,h,w] to int64 [n,k]."""
    flat = similarity.flatten(1)
    return flat.topk(max(1, int(flat.shape[1] * ratio)), dim=1).indices


def boxes_around(similarity: torch.Tensor, size: tuple[int, int], ratio: float) -> list[Box]:
    """One box of `size` (rows, columns) for each map of similarities, float [n,h,w].

    It lies around the truncated mean row and column of the `ratio` best cells, beginning at
    centre − size//2, shifted back inside the grid (METHOD §1.7).
    """
    _, rows, columns = similarity.shape
    high, wide = size
    best = best_cells(similarity, ratio)
    centre_row = (best // columns).float().mean(1).int()
    centre_column = (best % columns).float().mean(1).int()
    boxes = []
    for row, column in zip(centre_row.tolist(), centre_column.tolist(), strict=True):
        top = min(max(row - high // 2, 0), rows - high)
        left = min(max(column - wide // 2, 0), columns - wide)
        boxes.append(Box(left, top, left + wide, top + high))
    return boxes


#: A window that holds nearly as much as the fullest one may be taken for lying better around it.
NEARLY = 0.9


def best_windows(similarity: torch.Tensor, size: tuple[int, int]) -> list[Box]:
    """The window of `size` (rows, columns) that lies around what is similar, of each map [n,h,w].

    What a cell counts is the square of its similarity above the map's mean. Only windows in which
    the most similar cell lies are looked at. Of those that hold at least NEARLY as much as the
    fullest one, that is taken whose middle is nearest to the centre of what the fullest one holds:
    a window larger than the object then does not cut it for some stray cells beside it. Of equal
    cells, and of equal windows, those nearest to the middle of the picture are taken.

    The mean row and column of the best cells, which the paper's box lies around, is at a share of
    0.8 the middle of the picture whatever was asked. On clips of the toy world, at a share of 0.3,
    the whole object lies in 98 % of these windows and in 55 % of the paper's boxes
    (`study/boxes.py`).
    """
    import torch

    high, wide = size
    values = similarity.double().cpu()
    maps = (values - values.mean((1, 2), keepdim=True)).clamp_min(0) ** 2
    count, rows, columns = maps.shape
    corners = torch.zeros(count, rows + 1, columns + 1, dtype=maps.dtype)
    corners[:, 1:, 1:] = maps.cumsum(1).cumsum(2)  # the integral image
    sums = (
        corners[:, high:, wide:]
        - corners[:, :-high, wide:]
        - corners[:, high:, :-wide]
        + corners[:, :-high, :-wide]
    )
    tops, lefts = torch.arange(rows - high + 1), torch.arange(columns - wide + 1)
    best = _middlemost(values == values.amax((1, 2), keepdim=True))
    row, column = (best // columns)[:, None], (best % columns)[:, None]
    inside = ((tops <= row) & (row < tops + high))[:, :, None] & (
        (lefts <= column) & (column < lefts + wide)
    )[:, None]
    sums = sums.masked_fill(~inside, -torch.inf)
    ahead = sums.amax((1, 2), keepdim=True)
    away = ((2 * tops + high - rows) ** 2)[:, None] + ((2 * lefts + wide - columns) ** 2)
    fullest = away.masked_fill(sums < ahead * (1 - 1e-9), away.max() + 1).flatten(1).argmin(1)
    boxes = []
    for values_in, sum_in, most, first in zip(maps, sums, ahead.flatten(), fullest, strict=True):
        top, left = divmod(int(first), len(lefts))
        row_at, column_at = _centre(values_in[top : top + high, left : left + wide])
        beside = (tops - top + (high - 1) / 2 - row_at).square()[:, None]
        beside = beside + (lefts - left + (wide - 1) / 2 - column_at).square()
        beside = beside.masked_fill(sum_in < most * NEARLY, torch.inf)
        tied = beside <= beside.min() + 1e-9
        chosen = int(away.masked_fill(~tied, away.max() + 1).flatten().argmin())
        top, left = divmod(chosen, len(lefts))
        boxes.append(Box(left, top, left + wide, top + high))
    return boxes


def _centre(weights: torch.Tensor) -> tuple[float, float]:
    """Mean row and column of weights [h,w] of at least 0; the middle where all are 0."""
    import torch

    high, wide = weights.shape
    total = float(weights.sum())
    if total <= 0:
        return (high - 1) / 2, (wide - 1) / 2
    row = float((weights.sum(1) * torch.arange(high)).sum()) / total
    return row, float((weights.sum(0) * torch.arange(wide)).sum()) / total


def _middlemost(places: torch.Tensor) -> torch.Tensor:
    """Of the places that are true in each map [n,h,w] the number of the one nearest to its middle:
    int64 [n]."""
    import torch

    _, rows, columns = places.shape
    away = ((2 * torch.arange(rows) + 1 - rows) ** 2)[:, None] + (
        2 * torch.arange(columns) + 1 - columns
    ) ** 2
    return away.expand(places.shape).masked_fill(~places, away.max() + 1).flatten(1).argmin(1)


def cells_in(box: Box, columns: int) -> torch.Tensor:
    """The numbers of a box's cells, row by row, in a grid of `columns` columns: int64 [cells].

    Examples:
        >>> cells_in(Box(1, 0, 3, 2), columns=4).tolist()
        [1, 2, 5, 6]
    """
    import torch

    rows = torch.arange(box.top, box.bottom)[:, None] * columns
    return (rows + torch.arange(box.left, box.right)).flatten()


def kept_cells(
    similarity: torch.Tensor, crop: CropSetting, *, rules: str = "corrected"
) -> tuple[torch.Tensor, list[Box]]:
    """The cells that a crop keeps of each map [n,h,w]: int64 [n,k], and the box of each."""
    _, rows, columns = similarity.shape
    keep = crop.method.keep
    if rules == "released" and crop.method.released is not None:
        keep = crop.method.released
    return keep(similarity, crop.box_size(rows, columns), crop.ratio)


def _in_boxes(boxes: list[Box], columns: int) -> tuple[torch.Tensor, list[Box]]:
    import torch

    return torch.stack([cells_in(box, columns) for box in boxes]), boxes


# --- the entries ---------------------------------------------------------------------------------


@crop("mean-center", caption="region of {share} around the mean of the nearest", guided=True)
def _around_the_best(
    similarity: torch.Tensor, size: tuple[int, int], ratio: float
) -> tuple[torch.Tensor, list[Box]]:
    """The paper's, on the true grid."""
    return _in_boxes(boxes_around(similarity, size, ratio), similarity.shape[2])


@crop(
    "prompt",
    notation="crop",
    caption="region of {share} nearest to the question",
    guided=True,
    released=_around_the_best,
)
def _best_window(
    similarity: torch.Tensor, size: tuple[int, int], ratio: float
) -> tuple[torch.Tensor, list[Box]]:
    return _in_boxes(best_windows(similarity, size), similarity.shape[2])


@crop("center", notation="center-crop", caption="{share} in the middle")
def _in_the_middle(
    similarity: torch.Tensor, size: tuple[int, int], ratio: float
) -> tuple[torch.Tensor, list[Box]]:
    count, rows, columns = similarity.shape
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    box = Box(left, top, left + size[1], top + size[0])
    return _in_boxes([box] * count, columns)


@crop("cells", caption="the {share} of patches nearest to the question", guided=True)
def _best_anywhere(
    similarity: torch.Tensor, size: tuple[int, int], ratio: float
) -> tuple[torch.Tensor, list[Box]]:
    """As many cells as the box has, wherever they are; the box is the smallest around them."""
    columns = similarity.shape[2]
    cells = similarity.flatten(1).topk(size[0] * size[1], dim=1).indices.sort(dim=1).values.cpu()
    y, x = cells // columns, cells % columns
    boxes = [
        Box(int(c.min()), int(r.min()), int(c.max()) + 1, int(r.max()) + 1)
        for r, c in zip(y, x, strict=True)
    ]
    return cells, boxes
