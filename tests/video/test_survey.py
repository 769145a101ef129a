"""Which candidates of a long video are looked at: from small pictures, and from scores."""

from __future__ import annotations

import numpy as np
import pytest

from free_video_llm.video.survey import (
    CELLS,
    changes,
    first_look,
    next_look,
    small_pictures,
)


def _still(count: int) -> np.ndarray:
    return np.zeros((count, 12), np.float32)


@pytest.mark.parametrize("side", [16, 17, 96, 336])
def test_small_pictures_are_means_of_cells(side: int):
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    small = small_pictures(pixels).reshape(3, CELLS, CELLS, 3)
    edges = np.linspace(0, side, CELLS + 1).round().astype(int)
    for row, column in ((0, 0), (3, 15), (15, 7)):
        cell = pixels[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        np.testing.assert_allclose(small[:, row, column], cell.mean((1, 2)), rtol=1e-5)


def test_a_change_counts_above_the_usual_movement():
    moving = np.cumsum(np.ones((40, 12), np.float32), axis=0)  # the same step all along
    assert np.allclose(changes(moving), 0)
    moving[20:] += 30
    assert changes(moving).argmax() == 19


def test_what_is_seen_once_is_looked_at_and_the_rest_is_even():
    small = _still(100)
    small[37] = 80
    small[60:] = 40  # another shot
    for count in (4, 8, 20):
        look = first_look(small, count)
        assert len(look) == len(set(look)) == count
        assert look == sorted(look)
        assert 37 in look
        assert any(frame >= 60 for frame in look)
    assert max(np.diff(first_look(small, 20))) <= 12


def test_of_still_pictures_the_look_is_even_and_all_are_all():
    assert first_look(_still(9), 3) == [1, 4, 7]
    assert first_look(_still(4), 4) == first_look(_still(4), 9) == [0, 1, 2, 3]
    assert first_look(_still(1), 1) == [0]


def test_next_looks_go_to_the_middle_between_the_best_and_their_neighbours():
    scores = {0: 0.1, 8: 0.9, 16: 0.2, 24: 0.3}
    assert next_look(scores, 25, 2) == [4, 12]
    assert next_look(scores, 25, 3) == [4, 12, 20]
    assert next_look({8: 0.9}, 17, 9) == [3, 12]  # beside one: each side once in a look
    assert next_look({0: 0.5, 1: 0.4, 2: 0.3}, 3, 5) == []  # nothing is left
