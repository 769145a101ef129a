"""What the pictures are made of: letters, thumbnails, tiles, axes, colours."""

from __future__ import annotations

import itertools
import logging
from functools import partial

import numpy as np
import pytest
from matplotlib.font_manager import fontManager

from free_video_llm.picture import text as text_module
from free_video_llm.picture.comparison_picture import place_apart
from free_video_llm.picture.styles import COLORS, marks_for
from free_video_llm.picture.text import MISSING, Lettering, breakable_parts, runs_right_to_left
from free_video_llm.picture.thumbnail import (
    LEVELS,
    compose,
    heat_range,
    heat_strip,
    kept_mask,
    outline,
)
from free_video_llm.picture.thumbnails import small_size, spread, tile
from free_video_llm.picture.timeline import ScoreAxis, TimeAxis
from free_video_llm.tiny.world import COLOR_ANCHORS
from texts import ARABIC, CHINESE, EMOJI, LONG

# --- letters -----------------------------------------------------------------------------------


def test_wrap_keeps_every_letter_and_every_width() -> None:
    letters = Lettering()
    for text in (LONG, CHINESE, ARABIC, EMOJI, "x" * 300):
        clean = letters.clean(text)
        font = letters.font(10)  # with the families that the text needs
        lines = letters.wrap(clean, font, 120, most=99)
        assert "".join(lines).replace(" ", "") == clean.replace(" ", "")
        assert max(letters.width(line, font) for line in lines) <= 120


def test_wrap_and_fit_cut_with_an_ellipsis() -> None:
    letters = Lettering()
    font = letters.font(10)
    lines = letters.wrap(LONG, font, 150, most=2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert letters.fit("short", font, 100) == "short"
    assert letters.fit_middle("a" * 90 + "_end.mp4", font, 160).endswith("_end.mp4")
    for cut in (letters.fit, letters.fit_middle):
        assert letters.width(cut(LONG, font, 77), font) <= 77


def test_lines_break_where_the_script_allows_it() -> None:
    assert list(breakable_parts("so long_name, 3-4")) == ["so ", "long_", "name, ", "3-", "4"]
    assert list(breakable_parts("这是「问题」，对吗？")) == [
        "这",
        "是",
        "「问",
        "题」，",
        "对",
        "吗？",
    ]


def test_characters_without_a_font_stand_as_boxes(caplog: pytest.LogCaptureFixture) -> None:
    letters = Lettering()
    nobodys = "\U000e0fff\U0003fffd"
    with caplog.at_level(logging.WARNING):
        assert letters.clean(f"a {nobodys}\tb\n\x07") == f"a {MISSING * 2} b"
        letters.font(9, bold=True, italic=True)
    assert letters.missing == set(nobodys)
    assert not caplog.records


def test_a_font_that_matplotlib_has_not_listed_yet_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    letter = "\N{LATIN SMALL LETTER D WITH PALATAL HOOK}"
    entries = fontManager.ttflist
    stix = [e for e in entries if e.name == "STIXGeneral"]
    new = next(e.fname for e in stix if (e.style, e.weight) == ("normal", 400))
    only = [e for e in entries if e.name == text_module.MAIN_FONT]
    monkeypatch.setattr(fontManager, "ttflist", only)
    monkeypatch.setattr(text_module, "findSystemFonts", lambda: ["no/such.ttf", new])
    caches = (text_module._other_fonts, text_module._family_with)
    for cached in caches:
        cached.cache_clear()
    letters = Lettering()
    assert letters.clean(letter) == letter
    assert not letters.missing
    assert [e.name for e in only][-1] == "STIXGeneral"
    for cached in caches:
        cached.cache_clear()


def test_direction_is_that_of_the_first_letter() -> None:
    assert runs_right_to_left("12 مرحبا abc")
    assert not runs_right_to_left("abc مرحبا")
    assert not runs_right_to_left("123 ?")


# --- parts -------------------------------------------------------------------------------------


def test_tiles_fit_and_shrink_with_number() -> None:
    for aspect, count in itertools.product((0.2, 0.56, 1.0, 1.78, 8.0), (1, 2, 3, 8, 50, 120)):
        tiling = tile(count, aspect, 528)
        assert tiling.columns * tiling.cell + (tiling.columns - 1) * 9 <= 528 + 1e-6
        assert tiling.width / tiling.height == pytest.approx(aspect)
        assert tiling.columns <= count
    assert tile(3, 16 / 9, 528).columns == 3
    assert tile(8, 4 / 3, 528).columns == 4
    assert tile(50, 16 / 9, 528).width < tile(8, 16 / 9, 528).width
    upright = tile(8, 9 / 16, 528)  # as high as they may be: smaller ones would leave a third empty
    assert (upright.columns, upright.height) == (4, 190)


def test_small_pictures_of_upright_clips_are_higher() -> None:
    assert small_size(4 / 3, 36) == (48, 36)
    assert small_size(4, 36) == (110, 27.5)
    wide, high = small_size(9 / 16, 36)
    assert wide * high == pytest.approx(48 * 36)
    assert small_size(0.2, 36) == pytest.approx((15.12, 75.6))
    assert small_size(9 / 16, 36, widest=18) == pytest.approx((18, 32))


def test_place_apart_keeps_distances_and_bounds() -> None:
    places = place_apart([0, 1, 2, 50, 99, 100], 12, 0, 100)
    assert min(b - a for a, b in itertools.pairwise(places)) >= 12 - 1e-9
    assert places[0] >= 0
    assert places[-1] <= 100


def test_spread_reaches_both_ends() -> None:
    assert spread(50, 4) == [0, 16, 33, 49]
    assert spread(3, 9) == [0, 1, 2]
    assert spread(5, 1) == [2]


def test_outline_of_a_box_is_its_four_sides() -> None:
    mask = kept_mask(np.array([[0.25, 0.25, 0.75, 1.0]]), 4)
    assert mask.sum() == 6
    assert sorted(outline(mask)) == [
        ((0.25, 0.25), (0.25, 1.0)),
        ((0.25, 0.25), (0.75, 0.25)),
        ((0.25, 1.0), (0.75, 1.0)),
        ((0.75, 0.25), (0.75, 1.0)),
    ]


def test_only_what_was_not_kept_is_dimmed() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    mask = np.zeros((4, 4), dtype=bool)
    mask[:, :2] = True
    image = compose(pixels, 16, 8, mask=mask)
    assert image.shape == (8, 16, 3)
    assert image[:, :8].max() == 0
    assert image[:, 8:].min() > 120


def test_heat_is_translucent_and_strongest_at_the_best_patch() -> None:
    pixels = np.full((4, 4, 3), 100, dtype=np.uint8)
    heat = np.zeros((4, 2))
    heat[1, 1] = 1.0
    image = compose(pixels, 40, 40, heat=heat, scale=(0.0, 1.0)).astype(int)
    change = np.abs(image - 100).sum(-1)
    assert change[15, 35] > 40
    assert change[35, 5] == 0
    assert image[15, 35].max() < 160, "the frame still shows through"


@pytest.mark.parametrize("word", COLOR_ANCHORS)
def test_no_colour_becomes_another_under_the_strongest_heat(word: str) -> None:
    def name_of(rgb: np.ndarray) -> str:
        return min(
            COLOR_ANCHORS,
            key=lambda w: min(np.linalg.norm(rgb - np.array(a)) for a in COLOR_ANCHORS[w]),
        )

    for anchor in COLOR_ANCHORS[word]:
        pixels = np.broadcast_to(np.array(anchor, np.uint8), (4, 4, 3))
        image = compose(pixels, 20, 20, heat=np.ones((4, 4)), scale=(0.0, 1.0))
        assert not np.array_equal(image[10, 10], anchor)
        assert name_of(image[10, 10].astype(float)) == word


def test_lines_run_around_what_is_warm_and_have_a_dark_edge() -> None:
    pixels = np.full((4, 4, 3), 230, dtype=np.uint8)
    heat = np.repeat(np.linspace(0, 1, 9)[None], 4, axis=0)  # warmer from left to right
    image = compose(pixels, 360, 240, heat=heat, scale=(0.0, 1.0)).astype(int)
    dark = np.flatnonzero(image[120].sum(-1) < 450)
    groups = np.split(dark, np.flatnonzero(np.diff(dark) > 20) + 1)
    middles = [group.mean() / 360 for group in groups]
    assert len(middles) == len(LEVELS)
    for middle, level in zip(middles, LEVELS, strict=True):
        # The outermost cells' middles are half a cell from the edges.
        assert middle == pytest.approx((0.5 + level * 8) / 9, abs=0.02)
    cold = compose(pixels, 360, 240, heat=heat * 0.2, scale=(0.0, 1.0))
    assert (cold == 230).all()


def test_the_scale_is_pale_where_the_frame_shows_as_it_is() -> None:
    strip = heat_strip(101, 5).astype(int)
    assert strip.shape == (5, 101, 3)
    assert strip[:, 0].min() == 225
    assert (np.abs(strip[0, 100] - [253, 231, 37]) <= 2).all()
    for level in LEVELS:
        assert strip[2, round(level * 100)].max() < 60


def test_heat_range_of_nothing_is_none() -> None:
    assert heat_range([]) is None
    assert heat_range([np.zeros((2, 2))]) is None
    assert heat_range([np.array([[np.nan, 0.0], [1.0, 1.0]])]) is not None


def test_times_are_read_as_people_read_them() -> None:
    assert TimeAxis(0, 400, 10).ticks() == [0, 2, 4, 6, 8, 10]
    assert TimeAxis(0, 400, 7200).label(3600) == "1:00:00"
    assert TimeAxis(0, 400, 0).ticks() == [0]
    assert TimeAxis(10, 20, 4).x(1) == 12.5
    axis = ScoreAxis.of(np.array([0.2, 0.3]), 0, 100)
    assert axis.y(0.3) < axis.y(0.2) <= 100
    assert 2 <= len(axis.ticks) <= 4


# --- colours -----------------------------------------------------------------------------------


def lab(color: str, blindness: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as it is seen with a deficiency (Machado, Oliveira, Fernandes 2009)."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(blindness @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


TRITANOPIA = np.array(
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ]
)


@pytest.mark.parametrize(
    ("blindness", "apart"),
    [(np.eye(3), 20), (DEUTERANOPIA, 20), (PROTANOPIA, 20), (TRITANOPIA, 16)],
)
def test_colours_stay_apart_for_the_colour_blind(blindness: np.ndarray, apart: float) -> None:
    seen = partial(lab, blindness=blindness)
    for one, other in itertools.combinations(COLORS[:3], 2):
        assert np.linalg.norm(seen(one) - seen(other)) > apart, (one, other)
    for one, other in itertools.combinations(COLORS, 2):
        assert np.linalg.norm(seen(one) - seen(other)) > 9, (one, other)


def test_pathways_differ_in_shape_as_well() -> None:
    marks = marks_for(["slow", "middle", "fast", "frames", "grid", "one", "two", "three"])
    assert len({mark.shape for mark in list(marks.values())[:6]}) == 6
    assert len(set(marks.values())) == 8
    for names in (["slow", "middle", "fast", "best", "mean", "last"], list("abcdef")):
        assert len({mark.color for mark in marks_for(names).values()}) == 6
    assert marks_for(["fast"])["fast"] == marks["fast"], "a pathway looks the same in each picture"
