"""Prompt-guided RoI: from a map of similarities to the box that is kept (METHOD §1.7).

Pure functions on tensors; knows nothing of files or models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from free_video_llm.plans.plan import Crop


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


def region_boxes(similarity: torch.Tensor, crop: Crop) -> list[Box]:
    """One box for each map of similarities, float [n,h,w].

    The box has round(h√r) × round(w√r) cells around the truncated mean row and column of the
    best cells, beginning at centre − size//2, shifted back inside the grid. A "center" crop has
    the same size in the middle of the grid.
    """
    count, rows, columns = similarity.shape
    high, wide = crop.box_size(rows, columns)
    if crop.kind == "center":
        top, left = (rows - high) // 2, (columns - wide) // 2
        return [Box(left, top, left + wide, top + high)] * count
    best = best_cells(similarity, crop.ratio)
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
    rows = torch.arange(box.top, box.bottom)[:, None] * columns
    return (rows + torch.arange(box.left, box.right)).flatten()


def kept_cells(similarity: torch.Tensor, crop: Crop) -> tuple[torch.Tensor, list[Box]]:
    """The cells that a crop keeps of each map [n,h,w]: int64 [n,k], and the box of each.

    For "cells" the box is the smallest around the kept cells.
    """
    _, rows, columns = similarity.shape
    if crop.kind != "cells":
        boxes = region_boxes(similarity, crop)
        return torch.stack([cells_in(box, columns) for box in boxes]), boxes
    high, wide = crop.box_size(rows, columns)
    cells = similarity.flatten(1).topk(high * wide, dim=1).indices.sort(dim=1).values.cpu()
    y, x = cells // columns, cells % columns
    boxes = [
        Box(int(c.min()), int(r.min()), int(c.max()) + 1, int(r.max()) + 1)
        for r, c in zip(y, x, strict=True)
    ]
    return cells, boxes
