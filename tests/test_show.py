"""From a plan's choice to the pictures that a picture model is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from free_video_llm import Plan, VideoLLM
from free_video_llm.answer import Evidence
from free_video_llm.llm.chat import PictureLimits
from free_video_llm.show import MOST_IN_GRID, pictures_of, stamp
from free_video_llm.video.stills import Still, read_stills
from media import make_video

WIDE = PictureLimits(max_pixels=10**9)


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("show") / "clip.mp4", frames=90, rate=10)


def evidence_of(llm: VideoLLM, clip: Path, plan: str, frames: int = 20) -> tuple[Evidence, Plan]:
    answer = llm.watch(clip, frames=frames).ask("Is there a star?", plan=plan, max_new_tokens=1)
    return answer.evidence, answer.plan


def test_kept_frames_in_time_order_each_after_its_time(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "late=prompt:3/concat+even=uniform:4/concat")
    pictures, notes = pictures_of(evidence, plan, WIDE)
    kept = sorted({kept.frame for part in evidence.pathways for kept in part.kept})
    assert len(pictures) == len(kept) == 7
    assert notes == ()
    seconds = [evidence.frames.seconds[frame] for frame in kept]
    assert [p.words for p in pictures] == [f"Frame at {second:.1f} s:" for second in seconds]
    whole = read_stills(evidence.frames, [Still(frame) for frame in kept], most_pixels=10**9)
    for picture, pixels in zip(pictures, whole, strict=True):
        np.testing.assert_array_equal(picture.pixels, pixels)


def test_a_region_is_cut_at_the_clip_s_own_sharpness(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "slow=prompt:2/concat/center-crop:0.25")
    pictures, _ = pictures_of(evidence, plan, WIDE)
    regions = {kept.region for kept in evidence.pathways[0].kept}
    assert regions == {(0.25, 0.25, 0.75, 0.75)}
    assert {p.pixels.shape for p in pictures} == {(24, 32, 3)}
    assert all("(the part of the frame that matters):" in p.words for p in pictures)


def test_an_overview_is_one_grid_before_the_frames(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "paper")
    pictures, _ = pictures_of(evidence, plan, WIDE)
    details = len({k.frame for p in evidence.pathways[:2] for k in p.kept})
    assert len(pictures) == 1 + details
    grid = pictures[0]
    assert grid.words.startswith(f"Overview, {MOST_IN_GRID} frames from left to right")
    assert grid.words.count(" s") >= MOST_IN_GRID
    assert grid.pixels.shape == (4 * 48 + 3 * 4, 4 * 64 + 3 * 4, 3)
    first, last = read_stills(evidence.frames, [Still(0), Still(19)], most_pixels=10**9)
    np.testing.assert_array_equal(grid.pixels[:48, :64], first)
    np.testing.assert_array_equal(grid.pixels[-48:, -64:], last)


def test_the_same_part_of_a_frame_is_shown_once(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "a=uniform:3/concat+b=uniform:3/concat@released")
    assert len(pictures_of(evidence, plan, WIDE)[0]) == 3


@pytest.mark.parametrize(("most", "details", "grid"), [(3, 2, 1), (2, 1, 1), (7, 6, 1)])
def test_what_is_too_much_is_left_out_the_nearest_stay(tiny, clip, most, details, grid):
    evidence, plan = evidence_of(tiny, clip, "paper")
    pictures, notes = pictures_of(evidence, plan, PictureLimits(max_images=most))
    assert len(pictures) == most
    assert pictures[0].words.startswith("Overview")
    kept = [k for part in evidence.pathways[:2] for k in part.kept]
    nearest = sorted(sorted(kept, key=lambda k: -k.score)[:details], key=lambda k: k.second)
    assert [p.words.split(" (")[0].rstrip(":") for p in pictures[grid:]] == [
        f"Frame at {k.second:.1f} s" for k in nearest
    ]
    left = len(kept) - details
    assert notes == (f"the model takes {most} pictures: {left} of the kept frames were left out",)


def test_one_picture_is_a_grid_of_all(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "paper-small")
    pictures, notes = pictures_of(evidence, plan, PictureLimits(max_images=1, max_pixels=20_000))
    (grid,) = pictures
    assert grid.words.startswith("Overview, 6 frames")
    assert notes == ("the model takes one picture: 6 frames were put into a grid",)
    assert 15_000 < grid.pixels.shape[0] * grid.pixels.shape[1] <= 20_000


def test_pictures_have_no_more_pixels_than_allowed(tiny, clip):
    evidence, plan = evidence_of(tiny, clip, "uniform")
    pictures, _ = pictures_of(evidence, plan, PictureLimits(max_pixels=1024))
    assert {p.pixels.shape for p in pictures} == {(27, 36, 3)}


def test_times():
    assert [stamp(s) for s in (0, 59.96, 60, 7200.5)] == [
        "0.0 s", "60.0 s", "60.0 s (1:00)", "7200.5 s (2:00:00)",
    ]  # fmt: skip
