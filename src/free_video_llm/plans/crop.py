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


def cells_in(box: Box, columns: int) -> torch.Tensor:
    """The numbers of a box's cells, row by row, in a grid of `columns` columns: int64 [cells].

    Examples:
        >>> cells_in(Box(1, 0, 3, 2), columns=4).tolist()
        [1, 2, 5, 6]
    """
    import torch

    rows = torch.arange(box.top, box.bottom)[:, None] * columns
    return (rows + torch.arange(box.left, box.right)).flatten()


def kept_cells(similarity: torch.Tensor, crop: CropSetting) -> tuple[torch.Tensor, list[Box]]:
    """The cells that a crop keeps of each map [n,h,w]: int64 [n,k], and the box of each."""
    _, rows, columns = similarity.shape
    return crop.method.keep(similarity, crop.box_size(rows, columns), crop.ratio)


def _in_boxes(boxes: list[Box], columns: int) -> tuple[torch.Tensor, list[Box]]:
    import torch

    return torch.stack([cells_in(box, columns) for box in boxes]), boxes


# --- the entries ---------------------------------------------------------------------------------


@crop(
    "prompt",
    notation="crop",
    caption="region of {share} nearest to the question",
    guided=True,
)
def _around_the_best(
    similarity: torch.Tensor, size: tuple[int, int], ratio: float
) -> tuple[torch.Tensor, list[Box]]:
    return _in_boxes(boxes_around(similarity, size, ratio), similarity.shape[2])


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
