"""The pools: fewer tokens of a frame's grid, pure functions on tensors (METHOD §1.6).

Each is one entry of the registry. A pool with a fixed window is a table of which patches each
pooled cell covers, so that a crop can be taken before anything is projected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.errors import PlanError
from free_video_llm.plans.methods import PoolSetting, pool, window_pool

if TYPE_CHECKING:
    import torch

#: What `spatial_temporal_pool` averages a clip down to: times × rows × columns.
TIMES_ROWS_COLUMNS = (16, 12, 12)


def window_table(side: int, setting: PoolSetting) -> torch.Tensor:
    """Which patches each pooled cell covers: int64 [rows*columns, window].

    Patches and cells are numbered row by row. Where the last window sticks out of an odd grid it
    names its inner patches twice, which changes neither a maximum nor a mean.

    Examples:
        >>> from free_video_llm.plans.plan import Pool
        >>> window_table(4, Pool(kind="spatial_1d_max_pool"))[:3].tolist()
        [[0, 1], [2, 3], [4, 5]]
    """
    import torch

    if setting.method.window is None:
        raise PlanError(f"{setting.method.name} has no fixed window")
    high, wide = setting.method.window
    rows, columns = setting.grid_of(side)
    y = (torch.arange(rows)[:, None] * high + torch.arange(high)).clamp_max(side - 1)
    x = (torch.arange(columns)[:, None] * wide + torch.arange(wide)).clamp_max(side - 1)
    patches = y[:, None, :, None] * side + x[None, :, None, :]
    return patches.reshape(rows * columns, high * wide)


def reduce_windows(values: torch.Tensor, setting: PoolSetting) -> torch.Tensor:
    """[..., window, D] to [..., D]: the window's maximum or mean."""
    if values.shape[-2] == 1:
        return values.squeeze(-2)
    return values.mean(-2) if setting.method.average else values.amax(-2)


def pool_grid(tokens: torch.Tensor, setting: PoolSetting) -> torch.Tensor:
    """Pool whole grids: [T,S,S,D] to [T',rows,columns,D] (T' is T but for pools over time)."""
    frames, side = tokens.shape[:2]
    if setting.method.pool is not None:
        return setting.method.pool(tokens, setting.grid_of(side))
    if setting.method.window == (1, 1) or setting.method.keep is not None:
        return tokens
    rows, columns = setting.grid_of(side)
    table = window_table(side, setting).to(tokens.device)
    pooled = reduce_windows(tokens.flatten(1, 2)[:, table], setting)
    return pooled.reshape(frames, rows, columns, tokens.shape[-1])


# --- the entries ---------------------------------------------------------------------------------

window_pool("concat", (1, 1), average=True)
window_pool("spatial_1d_max_pool", (1, 2), average=False)
window_pool("spatial_1d_avg_pool", (1, 2), average=True)
window_pool("vertical_1d_max_pool", (2, 1), average=False)
window_pool("spatial_2d_max_pool", (2, 2), average=False)
window_pool("spatial_2d_avg_pool", (2, 2), average=True)


@pool("adaptive_2d_pool", takes_grid=True)
def _adaptive(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    import torch.nn.functional as F

    return F.adaptive_avg_pool2d(tokens.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)


@pool("bilinear_2d_pool", stride=2)
def _bilinear(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """LLaVA-OneVision's for video (arXiv 2408.03326): 27 × 27 patches to 14 × 14."""
    import torch.nn.functional as F

    return F.interpolate(tokens.permute(0, 3, 1, 2), grid, mode="bilinear").permute(0, 2, 3, 1)


@pool("spatial_temporal_pool", grid=TIMES_ROWS_COLUMNS[1:], times=TIMES_ROWS_COLUMNS[0])
def _over_space_and_time(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    import torch.nn.functional as F

    volume = tokens.permute(3, 0, 1, 2)
    return F.adaptive_avg_pool3d(volume, TIMES_ROWS_COLUMNS).permute(1, 2, 3, 0)


@pool("temporal_global_pool", times=1)
def _over_time(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    return tokens.mean(0, keepdim=True)
