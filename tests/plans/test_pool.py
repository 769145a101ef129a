"""Every pooling on grids small enough to compute by hand (METHOD §1.6)."""

from __future__ import annotations

import pytest
import torch

from free_video_llm import PlanError, Pool
from free_video_llm.plans.methods import POOLS
from free_video_llm.plans.pool import pool_grid, window_table

#: 4 × 4 and 3 × 3 patches of one number, the larger ones not always on the same side.
EVEN = [[1, 2, 30, 4], [5, 60, 7, 8], [9, 10, 11, 12], [13, 14, 15, 0]]
ODD = [[1, 2, 3], [4, 5, 6], [7, 8, 90]]


def pooled(grid: list[list[float]], kind: str, size: tuple[int, int] | None = None) -> list:
    """One frame of one channel, pooled."""
    tokens = torch.tensor(grid, dtype=torch.float32)[None, :, :, None]
    return pool_grid(tokens, Pool(kind=kind, grid=size))[0, :, :, 0].tolist()


@pytest.mark.parametrize(
    ("kind", "even", "odd"),
    [
        ("concat", EVEN, ODD),
        (
            "spatial_1d_max_pool",
            [[2, 30], [60, 8], [10, 12], [14, 15]],
            [[2, 3], [5, 6], [8, 90]],
        ),
        (
            "spatial_1d_avg_pool",
            [[1.5, 17], [32.5, 7.5], [9.5, 11.5], [13.5, 7.5]],
            [[1.5, 3], [4.5, 6], [7.5, 90]],
        ),
        (
            "vertical_1d_max_pool",
            [[5, 60, 30, 8], [13, 14, 15, 12]],
            [[4, 5, 6], [7, 8, 90]],
        ),
        ("spatial_2d_max_pool", [[60, 30], [14, 15]], [[5, 6], [8, 90]]),
        ("spatial_2d_avg_pool", [[17, 12.25], [11.5, 9.5]], [[3, 4.5], [7.5, 90]]),
    ],
)
def test_small_windows(kind, even, odd):
    assert pooled(EVEN, kind) == even
    assert pooled(ODD, kind) == odd


def test_a_grid_of_one_patch_stays():
    for kind in (m.name for m in POOLS if m.window):
        assert pooled([[7]], kind) == [[7]]


@pytest.mark.parametrize(
    ("grid", "size", "expected"),
    [
        (EVEN, (2, 2), [[17, 12.25], [11.5, 9.5]]),
        (EVEN, (1, 1), [[12.5625]]),
        (EVEN, (4, 1), [[9.25], [20], [10.5], [10.5]]),
        (ODD, (2, 2), [[3, 4], [6, 27.25]]),  # windows of 2 that share the middle row and column
        (ODD, (1, 3), [[4, 5, 33]]),
        ([[1, 2], [3, 4]], (2, 4), [[1, 1, 2, 2], [3, 3, 4, 4]]),  # more cells than patches
    ],
)
def test_adaptive_averages_to_rows_and_columns(grid, size, expected):
    assert pooled(grid, "adaptive_2d_pool", size) == expected


def test_frames_and_channels_are_pooled_apart():
    tokens = torch.zeros(2, 2, 2, 2)
    tokens[0, ..., 0] = torch.tensor([[1, 5], [3, 2]])
    tokens[1, ..., 1] = torch.tensor([[-1, -5], [-3, -2]])
    result = pool_grid(tokens, Pool(kind="spatial_1d_max_pool"))
    assert result.tolist() == [[[[5, 0]], [[3, 0]]], [[[0, -1]], [[0, -2]]]]


def test_the_mean_over_time_keeps_the_grid():
    tokens = torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 20]]])[..., None]
    result = pool_grid(tokens, Pool(kind="temporal_global_pool"))
    assert result[..., 0].tolist() == [[[3, 4], [5, 12]]]


def test_sixteen_times_of_twelve_by_twelve():
    # 32 frames of 24 × 24 whose only value is the frame's number: pairs of frames are averaged.
    tokens = torch.arange(32.0)[:, None, None, None].expand(-1, 24, 24, 2)
    result = pool_grid(tokens, Pool(kind="spatial_temporal_pool"))
    assert result.shape == (16, 12, 12, 2)
    assert torch.equal(result[:, 3, 7, 1], torch.arange(16.0) * 2 + 0.5)
    # A column's number, averaged in pairs too, and two frames stretched to sixteen.
    tokens = torch.arange(24.0)[:, None].expand(2, 24, 24, 1)
    result = pool_grid(tokens, Pool(kind="spatial_temporal_pool"))
    assert result.shape == (16, 12, 12, 1)
    assert torch.equal(result[9, 5, :, 0], torch.arange(12.0) * 2 + 0.5)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("concat", [[0], [1], [2], [3], [4], [5], [6], [7], [8]]),
        ("spatial_1d_max_pool", [[0, 1], [2, 2], [3, 4], [5, 5], [6, 7], [8, 8]]),
        ("vertical_1d_max_pool", [[0, 3], [1, 4], [2, 5], [6, 6], [7, 7], [8, 8]]),
        ("spatial_2d_avg_pool", [[0, 1, 3, 4], [2, 2, 5, 5], [6, 7, 6, 7], [8, 8, 8, 8]]),
    ],
)
def test_the_patches_of_each_cell_of_an_odd_grid(kind, table):
    assert window_table(3, Pool(kind=kind)).tolist() == table


def test_pools_without_a_window_have_no_table():
    with pytest.raises(PlanError, match="temporal_global_pool has no fixed window"):
        window_table(4, Pool(kind="temporal_global_pool"))


@pytest.mark.parametrize(
    ("kind", "average"),
    [
        ("concat", True),
        ("spatial_1d_max_pool", False),
        ("spatial_1d_avg_pool", True),
        ("vertical_1d_max_pool", False),
        ("spatial_2d_max_pool", False),
        ("spatial_2d_avg_pool", True),
        ("spatial_temporal_pool", True),
        ("temporal_global_pool", True),
    ],
)
def test_which_pools_commute_with_a_linear_layer(kind, average):
    assert Pool(kind=kind).method.average is average
