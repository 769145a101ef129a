"""Fewer tokens by choosing among them, for language models that know where in a frame a token lies.

Averages of tokens belong to no place, and a model that was trained with the places of its tokens
(Qwen-VL) or with tokens that its family made itself reads them as noise. Of a pool's window one
token is kept as it is: the one most like the window's mean. Pure functions on tensors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from free_video_llm.errors import PlanError
from free_video_llm.plans.methods import PoolSetting


def windows(side: int, setting: PoolSetting) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens of a side × side grid each pooled cell chooses from.

    Windows do not overlap, so that no token is kept twice.

    Returns:
        int64 [rows*columns, most], numbers of tokens, row by row; and bool of the same shape, which
        of them are real: windows are of different sizes.

    Raises:
        PlanError: the pool makes tokens of several frames, or more tokens than there are.

    Examples:
        >>> from free_video_llm.plans.plan import Pool
        >>> table, real = windows(3, Pool(kind="adaptive_2d_pool", grid=(2, 1)))
        >>> [row[there].tolist() for row, there in zip(table, real)]
        [[0, 1, 2], [3, 4, 5, 6, 7, 8]]
    """
    name, (rows, columns) = setting.method.name, setting.grid_of(side)
    if setting.method.over_time:
        raise PlanError(f"{name} averages frames, and this model's tokens are kept as they are")
    if rows > side or columns > side:
        raise PlanError(
            f"{name} to {rows} × {columns} is more than the {side} × {side} tokens that this model "
            "has of a frame"
        )
    cells = [
        [row * side + column for row in y for column in x]
        for y in _spans(side, rows, setting)
        for x in _spans(side, columns, setting)
    ]
    most = max(map(len, cells))
    table = torch.tensor([cell + [cell[0]] * (most - len(cell)) for cell in cells])
    real = torch.tensor([[place < len(cell) for place in range(most)] for cell in cells])
    return table, real


def _spans(side: int, count: int, setting: PoolSetting) -> list[range]:
    """`count` parts of a side: windows of a fixed width, the last one narrower, or as equal as
    whole numbers allow."""
    if setting.method.window is not None or setting.method.stride is not None:
        width = -(-side // count)
        return [range(i * width, min((i + 1) * width, side)) for i in range(count)]
    return [range(i * side // count, (i + 1) * side // count) for i in range(count)]


def pick(
    patches: torch.Tensor, cells: torch.Tensor, table: torch.Tensor, real: torch.Tensor
) -> torch.Tensor:
    """The token that stands for each cell: of its window the one most like the mean.

    Args:
        patches: [n,S²,C], of n frames.
        cells: int64 [n,k], the cells that are kept of each.
        table, real: see `windows`.

    Returns:
        int64 [n,k], numbers of tokens in each frame's grid, in ascending order.
    """
    members, there = table[cells], real[cells]
    if table.shape[1] == 1:
        return members[..., 0].sort(dim=1).values
    values = patches[torch.arange(len(cells))[:, None, None], members]
    unit = F.normalize(values.float(), dim=-1)
    there_too = there.to(unit.device)
    mean = (unit * there_too[..., None]).sum(2, keepdim=True)
    closeness = (unit * mean).sum(-1).masked_fill(~there_too, -torch.inf)
    nearest = closeness.argmax(-1, keepdim=True).cpu()
    return members.gather(-1, nearest)[..., 0].sort(dim=1).values
