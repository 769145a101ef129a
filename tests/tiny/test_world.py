"""The toy world: what is drawn is what is said, and every question has one true answer."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from free_video_llm.tiny.questions import (
    KINDS,
    Question,
    draw_questions,
    phrase,
    questions_about,
    time_questions,
    vary,
)
from free_video_llm.tiny.truth import boxes_of, moments_of
from free_video_llm.tiny.videos import (
    Clip,
    needle_question,
    render,
    sample_clip,
    sample_needle,
    write_clip,
)
from free_video_llm.tiny.world import (
    COLOR_ANCHORS,
    COLORS,
    SHAPES,
    Background,
    Scene,
    Thing,
    degrade,
    draw,
    extent,
    overlaps,
    sample_scene,
)

DARK = Background("plain", (0.1, 0.1, 0.1), (0.1, 0.1, 0.1), 0.0, 2.0, 0)
RED_STAR = Thing("star", "red", 0.25, 0.25, 0.3, rgb=(1.0, 0.0, 0.0))
BLUE_RING = Thing("ring", "blue", 0.75, 0.8, 0.3, rgb=(0.0, 0.0, 1.0))


def test_the_world_is_the_one_that_was_fixed():
    assert SHAPES == ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "moon")
    assert COLORS == ("red", "green", "blue", "yellow", "purple", "orange", "white", "pink")
    assert set(COLOR_ANCHORS) == set(COLORS)


def test_a_square_is_drawn_where_it_stands_and_in_its_colour():
    square = Thing("square", "green", 0.25, 0.5, 0.5, rgb=(0.0, 1.0, 0.0))
    images, covers = draw([Scene(DARK, (square,))], 40, 40)
    assert images.shape == (1, 3, 40, 40)
    assert images[0, :, 20, 10].tolist() == [0.0, 1.0, 0.0]
    assert torch.allclose(images[0, :, 20, 35], torch.tensor([0.1, 0.1, 0.1]))
    # 0.9 of half the width to each side: 18 × 18 of 40 × 40 pixels.
    assert covers[0, 0].sum().item() == pytest.approx(18 * 18, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_covers_its_own_share_of_its_box(shape: str):
    thing = Thing(shape, "white", 0.5, 0.5, 0.8, detail=0.5)
    _, covers = draw([Scene(DARK, (thing,))], 200, 200)
    share = covers[0, 0].sum().item() / (160 * 160)
    # By hand: circle π/4; square 0.81; diamond 0.85·2/4; cross (8·0.29 − 4·0.29²)/4;
    # ring π(1 − 0.655²)/4; the star and the triangle by their corner angles.
    expected = {
        "circle": 0.785, "square": 0.81, "diamond": 0.425, "cross": 0.496, "ring": 0.448,
        "triangle": 0.325, "star": 0.323,
    }  # fmt: skip
    if shape in expected:
        assert share == pytest.approx(expected[shape], abs=0.012)
    else:
        assert 0.25 < share < 0.5  # the moon: a circle less most of another


def test_a_later_object_lies_on_top():
    below = Thing("circle", "red", 0.5, 0.5, 0.6, rgb=(1.0, 0.0, 0.0))
    above = Thing("square", "white", 0.5, 0.5, 0.2, rgb=(1.0, 1.0, 1.0))
    images, covers = draw([Scene(DARK, (below, above))], 60, 60)
    assert images[0, :, 30, 30].tolist() == [1.0, 1.0, 1.0]
    assert covers[0, 0, 30, 30] == 0
    assert covers[0, 1, 30, 30] == 1


def test_sampled_scenes_keep_the_worlds_rules():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = sample_scene(rng, outside=0.0)
        assert len(scene.things) <= 3
        for i, thing in enumerate(scene.things):
            width, height = extent(thing, scene.aspect)
            assert width <= 2 / 3 + 1e-6
            assert height <= 0.8 + 1e-6
            assert 0 < thing.x < 1
            assert 0 < thing.y < 1
            assert not any(overlaps(thing, other, scene.aspect) for other in scene.things[:i])


def test_degraded_images_stay_images_and_differ():
    images, _ = draw([sample_scene(np.random.default_rng(i)) for i in range(8)], 96, 96)
    worse = degrade(images.clone(), np.random.default_rng(1))
    assert worse.shape == images.shape
    assert worse.min() >= 0
    assert worse.max() <= 1
    assert (worse - images).abs().mean() > 0.005


def test_the_questions_are_worded_as_fixed():
    assert [phrase(kind, shape="star", color="red") for kind in KINDS] == [
        "What color is the star?",
        "What shape is the red object?",
        "Is there a star?",
        "Is there a red star?",
        "Where is the star?",
    ]


def _answers(frames: list[tuple[Thing, ...]]) -> dict[str, str]:
    return {q.text: q.answer for q in questions_about(frames)}


def test_answers_over_several_frames():
    answers = _answers([(RED_STAR,), (BLUE_RING,), ()])
    assert answers["What color is the star?"] == "red"
    assert answers["What shape is the blue object?"] == "ring"
    assert answers["Is there a star?"] == "yes"
    assert answers["Is there a moon?"] == "no"
    assert answers["Is there a red star?"] == "yes"
    assert answers["Is there a red ring?"] == "no"
    assert answers["Where is the star?"] == "top left"
    assert answers["Where is the ring?"] == "bottom right"
    assert "What color is the moon?" not in answers


def test_which_comes_first_and_how_many_are_asked_of_what_is_seen_over_time():
    moon = Thing("moon", "red", 0.5, 0.5, 0.3)
    found = time_questions([(RED_STAR,), (RED_STAR, BLUE_RING), (BLUE_RING, moon), (RED_STAR,)])
    answers = {q.text: q.answer for q in found}
    assert answers["Which comes first, the star or the ring?"] == "star"
    assert answers["Which comes first, the ring or the star?"] == "star"
    assert answers["Which comes first, the moon or the ring?"] == "ring"
    assert answers["How many different objects appear?"] == "three"
    assert len(answers) == 7


def test_order_in_doubt_and_many_objects_are_not_asked_about():
    both = (RED_STAR, BLUE_RING)
    assert [q.answer for q in time_questions([both])] == ["two"]  # at once: none is first
    assert [q.answer for q in time_questions([(RED_STAR,), both], gap=2)] == ["two"]
    several = [Thing(shape, "red", 0.5, 0.5, 0.1) for shape in SHAPES[:5]]
    assert time_questions([several]) == []
    assert time_questions([()]) == []


def test_a_question_of_two_shapes_is_about_both():
    clip = Clip(tuple(Scene(DARK, things) for things in [(RED_STAR,), (), (BLUE_RING,)]), 2)
    (question, *_) = time_questions(clip.things())
    assert moments_of(clip, question) == [(0.0, 0.5), (1.0, 1.5)]
    assert [second for second, _ in boxes_of(clip, question)] == [0.0, 1.0]
    how_many = time_questions(clip.things())[-1]
    assert moments_of(clip, how_many) == []  # no frame alone shows it


def test_what_is_in_doubt_is_not_asked():
    green_star = Thing("star", "green", 0.75, 0.75, 0.3)
    answers = _answers([(RED_STAR,), (green_star,)])
    assert "What color is the star?" not in answers  # two colours
    assert "Where is the star?" not in answers  # two quarters
    assert answers["Is there a star?"] == "yes"
    near_middle = Thing("star", "red", 0.46, 0.2, 0.3)
    assert "Where is the star?" not in _answers([(near_middle,)])


def test_drawn_questions_balance_yes_and_no():
    rng = np.random.default_rng(0)
    said = [
        q.answer
        for _ in range(150)
        for q in draw_questions([(RED_STAR, BLUE_RING)], 6, rng)
        if q.kind.startswith("is there")
    ]
    assert 0.4 < said.count("yes") / len(said) < 0.6


def test_variations_keep_the_words():
    rng = np.random.default_rng(0)
    seen = {vary("Is there a red star?", rng) for _ in range(200)}
    assert {
        "Is there a red star?",
        "is there a red star",
        "Is there a red star in the video?",
        "is there a red star in the video",
    } <= seen
    assert all(text.lower().startswith("is there a red star") for text in seen)


def test_a_needle_is_seen_in_at_most_a_tenth_of_the_frames():
    for seed in range(20):
        clip, needle = sample_needle(np.random.default_rng(seed))
        shows = [any(t is needle or t == needle for t in things) for things in clip.things()]
        assert 0.05 < np.mean(shows) <= 0.1
        others = {t.shape for things in clip.things() for t in things if t != needle}
        assert needle.shape not in others
        question = needle_question(clip, needle, "color", np.random.default_rng(0))
        assert question == Question(
            "color", f"What color is the {needle.shape}?", needle.color, needle.shape
        )


def test_a_written_clip_is_read_back_with_what_was_drawn(tmp_path):
    rng = np.random.default_rng(3)
    clip = sample_clip(rng, frames=24)
    path = write_clip(clip, tmp_path / "clip.mp4", rng)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 24
    assert frames[0].shape[1] / frames[0].shape[0] == pytest.approx(clip.aspect, rel=0.02)
    drawn = list(render(clip, np.random.default_rng(0)))
    # Grain, brightness and the codec change pixels a little, not what is to be seen.
    assert np.abs(frames[12].astype(float) - drawn[12]).mean() < 25
