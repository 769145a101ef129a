"""Boxes and cells on small maps against hand-computed ones (METHOD §1.7)."""

from __future__ import annotations

import pytest
import torch

from free_video_llm import Crop
from free_video_llm.plans.crop import Box, best_cells, cells_in, kept_cells


def hot(rows: int, columns: int, cells: list[tuple[int, int]]) -> torch.Tensor:
    """A map [1,rows,columns] of zeros with ones at (row, column)."""
    similarity = torch.zeros(1, rows, columns)
    for row, column in cells:
        similarity[0, row, column] = 1.0
    return similarity


def region_boxes(similarity: torch.Tensor, crop: Crop) -> list[Box]:
    return kept_cells(similarity, crop)[1]


def block(rows: range, columns: range) -> list[tuple[int, int]]:
    return [(row, column) for row in rows for column in columns]


# On 4 rows × 6 columns a quarter is 6 cells, and the box 2 rows × 3 columns.
@pytest.mark.parametrize(
    ("cells", "box"),
    [
        # mean (1.5, 3), truncated (1, 3): rows from 1 - 1, columns from 3 - 1
        (block(range(1, 3), range(2, 5)), Box(2, 0, 5, 2)),
        # mean (2.5, 4), truncated (2, 4)
        (block(range(2, 4), range(3, 6)), Box(3, 1, 6, 3)),
        # mean (3, 2.5): the last row
        (block(range(3, 4), range(6)), Box(1, 2, 4, 4)),
        # mean (0, 2.5): rows would begin at -1
        (block(range(1), range(6)), Box(1, 0, 4, 2)),
        # mean (7/6, 1/3): columns would begin at -1
        ([*block(range(4), range(1)), (0, 1), (1, 1)], Box(0, 0, 3, 2)),
        # two corners: the box lies between them, on neither
        ([(0, 0), (0, 1), (1, 0), (3, 5), (3, 4), (2, 5)], Box(1, 0, 4, 2)),
    ],
)
def test_the_papers_box_lies_around_the_truncated_mean_of_the_best_cells(cells, box):
    assert region_boxes(hot(4, 6, cells), Crop(ratio=0.25, kind="mean-center")) == [box]
    crop = Crop(ratio=0.25)
    assert kept_cells(hot(4, 6, cells), crop, rules="released")[1] == [box]


def test_the_box_is_shifted_back_inside_at_the_far_ends():
    # 9 best cells and a box of 3×3; the mean is (4, 8) and (8, 4), so the box would end at 10.
    crop = Crop(ratio=0.11, kind="mean-center")
    assert region_boxes(hot(10, 9, block(range(9), range(8, 9))), crop) == [Box(6, 3, 9, 6)]
    assert region_boxes(hot(9, 10, block(range(8, 9), range(9))), crop) == [Box(3, 6, 6, 9)]


def test_the_released_reading_of_the_same_numbers_is_another_box():
    # The right column of a pooled grid of 4 rows × 2 columns, read truly and as 2 × 4.
    flat = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1])
    crop = Crop(ratio=0.5, kind="mean-center")
    true, released = flat.reshape(1, 4, 2), flat.reshape(1, 2, 4)
    assert region_boxes(true, crop) == [Box(1, 0, 2, 3)]
    assert kept_cells(true, crop)[0].tolist() == [[1, 3, 5]]
    assert region_boxes(released, crop) == [Box(1, 0, 4, 1)]
    assert kept_cells(released, crop)[0].tolist() == [[1, 2, 3]]


def test_every_map_has_its_own_box():
    maps = torch.cat(
        [hot(4, 6, block(range(1), range(6))), hot(4, 6, block(range(3, 4), range(6)))]
    )
    cells, boxes = kept_cells(maps, Crop(ratio=0.25))
    assert boxes == [Box(1, 0, 4, 2), Box(1, 2, 4, 4)]
    assert cells.tolist() == [[1, 2, 3, 7, 8, 9], [13, 14, 15, 19, 20, 21]]


@pytest.mark.parametrize(
    ("rows", "columns", "ratio", "box"),
    [
        (4, 6, 0.25, Box(1, 1, 4, 3)),
        (24, 12, 0.8, Box(0, 1, 11, 22)),
        (5, 5, 0.36, Box(1, 1, 4, 4)),
        (1, 1, 0.5, Box(0, 0, 1, 1)),
    ],
)
def test_a_centre_crop_does_not_look_at_the_map(rows, columns, ratio, box):
    crop = Crop(ratio=ratio, kind="center")
    maps = torch.cat([torch.zeros(1, rows, columns), hot(rows, columns, [(0, 0)])])
    assert region_boxes(maps, crop) == [box, box]


def test_the_best_cells_wherever_they_are():
    # Half of 2 × 3 cells: a box of 1 × 2, so the 2 best cells, in reading order.
    maps = torch.tensor([[[0.1, 0.8, 0.2], [0.9, 0.3, 0.0]], [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]])
    cells, boxes = kept_cells(maps, Crop(ratio=0.5, kind="cells"))
    assert cells.tolist() == [[1, 3], [4, 5]]
    assert boxes == [Box(0, 0, 2, 2), Box(1, 1, 3, 2)]


@pytest.mark.parametrize("kind", ["prompt", "center", "cells"])
@pytest.mark.parametrize(("ratio", "tokens"), [(0.8, 231), (0.7, 200), (0.6, 171)])
def test_every_kind_keeps_as_many_cells(kind, ratio, tokens):
    maps = torch.randn(3, 24, 12, generator=torch.Generator().manual_seed(0))
    cells, boxes = kept_cells(maps, Crop(ratio=ratio, kind=kind))
    assert cells.shape == (3, tokens)
    assert all(len(set(row)) == tokens for row in cells.tolist())
    for box, row in zip(boxes, cells.tolist(), strict=True):
        assert 0 <= box.left < box.right <= 12
        assert 0 <= box.top < box.bottom <= 24
        assert all(box.top <= n // 12 < box.bottom and box.left <= n % 12 < box.right for n in row)


@pytest.mark.parametrize(
    ("rows", "columns", "ratio", "count"),
    [(12, 24, 0.8, 230), (12, 24, 0.6, 172), (1, 1, 0.5, 1), (4, 2, 0.1, 1)],
)
def test_how_many_cells_the_box_is_drawn_around(rows, columns, ratio, count):
    assert best_cells(torch.rand(2, rows, columns), ratio).shape == (2, count)


def test_cells_of_a_box_are_numbered_row_by_row():
    assert cells_in(Box(2, 1, 4, 3), columns=5).tolist() == [7, 8, 12, 13]
    assert Box(2, 1, 4, 3).ltrb == (2, 1, 4, 3)


# --- the window ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "box"),
    [
        (block(range(1, 3), range(2, 5)), Box(2, 1, 5, 3)),
        (block(range(2, 4), range(3, 6)), Box(3, 2, 6, 4)),
        # two corners: the window holds one of them, the first of equal ones
        ([(0, 0), (0, 1), (1, 0), (3, 5), (3, 4), (2, 5)], Box(0, 0, 3, 2)),
        # one cell, and any window around it holds as much: the one nearest to the middle
        ([(0, 0)], Box(0, 0, 3, 2)),
        ([(1, 2)], Box(1, 1, 4, 3)),
    ],
)
def test_the_window_holds_most_of_what_is_similar(cells, box):
    assert region_boxes(hot(4, 6, cells), Crop(ratio=0.25)) == [box]


@pytest.mark.parametrize("seed", range(30))
def test_the_window_lies_around_what_the_fullest_one_holds(seed: int):
    """In plain loops: among windows with the best cell that hold nine tenths of what the fullest
    holds, none has its middle nearer to the centre of what that one holds."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = 3 + seed % 7, 4 + seed % 5
    similarity = torch.randn(1, rows, columns, generator=generator)
    worth = ((similarity[0] - similarity.mean()).clamp_min(0) ** 2).tolist()
    row, column = divmod(int(similarity.argmax()), columns)
    for ratio in (0.1, 0.3, 0.55, 0.8):
        crop = Crop(ratio=ratio)
        (box,) = region_boxes(similarity, crop)
        high, wide = crop.box_size(rows, columns)

        def cells(top: int, left: int, high: int = high, wide: int = wide):
            return [(r, c) for r in range(top, top + high) for c in range(left, left + wide)]

        held = {
            (top, left): sum(worth[r][c] for r, c in cells(top, left))
            for top in range(rows - high + 1)
            for left in range(columns - wide + 1)
            if top <= row < top + high and left <= column < left + wide
        }
        fullest = max(held, key=held.__getitem__)
        centre = [
            sum(worth[r][c] * (r, c)[i] for r, c in cells(*fullest)) / held[fullest] for i in (0, 1)
        ]

        def away(place: tuple[int, int], centre=centre, high: int = high, wide: int = wide):
            return (place[0] + (high - 1) / 2 - centre[0]) ** 2 + (
                place[1] + (wide - 1) / 2 - centre[1]
            ) ** 2

        near = [place for place in held if held[place] >= 0.9 * held[fullest]]
        assert (box.top, box.left) in near
        assert (box.bottom - box.top, box.right - box.left) == (high, wide)
        assert away((box.top, box.left)) == pytest.approx(min(map(away, near)), abs=1e-5)


def test_a_window_larger_than_the_object_lies_around_it():
    cells = block(range(1, 3), range(4, 6))
    similarity = hot(6, 8, cells)
    similarity[0, 2, 1] = 0.3  # something like it to the left draws the fullest window over
    assert region_boxes(similarity, Crop(ratio=0.36)) == [Box(2, 0, 7, 4)]


def test_a_level_map_is_cropped_in_the_middle():
    assert region_boxes(torch.full((1, 6, 6), 0.3), Crop(ratio=0.5)) == [Box(1, 1, 5, 5)]
    assert region_boxes(torch.zeros(1, 5, 5), Crop(ratio=0.36)) == [Box(1, 1, 4, 4)]
