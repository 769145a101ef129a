"""Pools the tokens of a frame's grid: pure functions on tensors (METHOD §1.6).

Knows nothing else. A pool with a fixed window is a table of which patches each pooled cell
covers, so that a crop can be taken before anything is projected.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from free_video_llm.errors import PlanError
from free_video_llm.plans.plan import TIMES_ROWS_COLUMNS, WINDOWS, Pool


def window_table(side: int, pool: Pool) -> torch.Tensor:
    """Which patches each pooled cell covers: int64 [rows*columns, window].

    Patches and cells are numbered row by row. Where the last window sticks out of an odd grid it
    names its inner patches twice, which changes neither a maximum nor a mean.

    Examples:
        >>> window_table(4, Pool(kind="spatial_1d_max_pool"))[:3].tolist()
        [[0, 1], [2, 3], [4, 5]]
    """
    if pool.kind not in WINDOWS:
        raise PlanError(f"{pool.kind} has no fixed window")
    high, wide = WINDOWS[pool.kind]
    rows, columns = pool.grid_of(side)
    y = (torch.arange(rows)[:, None] * high + torch.arange(high)).clamp_max(side - 1)
    x = (torch.arange(columns)[:, None] * wide + torch.arange(wide)).clamp_max(side - 1)
    patches = y[:, None, :, None] * side + x[None, :, None, :]
    return patches.reshape(rows * columns, high * wide)


def is_average(pool: Pool) -> bool:
    """Whether pooling is a mean, so that it commutes with a linear layer."""
    return "max" not in pool.kind


def reduce_windows(values: torch.Tensor, pool: Pool) -> torch.Tensor:
    """[..., window, D] to [..., D]: the window's maximum or mean."""
    if values.shape[-2] == 1:
        return values.squeeze(-2)
    return values.mean(-2) if is_average(pool) else values.amax(-2)


def pool_grid(tokens: torch.Tensor, pool: Pool) -> torch.Tensor:
    """Pool whole grids: [T,S,S,D] to [T',rows,columns,D] (T' is T but for pools over time)."""
    frames, side = tokens.shape[:2]
    if pool.kind == "concat":
        return tokens
    if pool.kind == "temporal_global_pool":
        return tokens.mean(0, keepdim=True)
    if pool.kind == "spatial_temporal_pool":
        volume = tokens.permute(3, 0, 1, 2)
        return F.adaptive_avg_pool3d(volume, TIMES_ROWS_COLUMNS).permute(1, 2, 3, 0)
    if pool.grid is not None:
        planes = tokens.permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(planes, pool.grid).permute(0, 2, 3, 1)
    rows, columns = pool.grid_of(side)
    table = window_table(side, pool).to(tokens.device)
    pooled = reduce_windows(tokens.flatten(1, 2)[:, table], pool)
    return pooled.reshape(frames, rows, columns, tokens.shape[-1])
