"""The pictures: every format, nothing cut or overlapping, any script, colours that stay apart."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from free_video_llm import ConfigError, Crop, Pathway, Plan, Pool, Select
from free_video_llm.answer import Answer, Timings, gather_evidence
from free_video_llm.encoder.features import JointSpace, VideoFeatures
from free_video_llm.picture import (
    check_suffix,
    draw_comparison,
    draw_picture,
    save_comparison,
    save_picture,
)
from free_video_llm.plans.apply import perceive
from free_video_llm.video.read import Frames
from texts import ARABIC, CHINESE, EMOJI, LONG
from toys import with_class_token

SIDE = 6


class Straight:
    """A projector that leaves patches as they are."""

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        return patches

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def make_answer(
    count: int = 10,
    *,
    plan: str | Plan = "paper",
    size: tuple[int, int] = (640, 480),
    question: str = "what is a man doing?",
    text: str = "In the video, a man is rowing.",
    seconds: float = 20.0,
    source: str = "clips/rowing.mp4",
    **values: object,
) -> Answer:
    """An answer with random features, as the pipeline makes it."""
    random = torch.Generator().manual_seed(count)
    patches = torch.randn(count, SIDE, SIDE, 8, generator=random)
    vectors = torch.nn.functional.normalize(torch.randn(count, 8, generator=random), dim=-1)
    prompt = torch.nn.functional.normalize(torch.randn(8, generator=random), dim=-1)
    joint = JointSpace(torch.ones(8), torch.zeros(8), 1e-5, torch.eye(8))
    plan = Plan.parse(plan) if isinstance(plan, str) else plan
    states = with_class_token(patches)
    features = VideoFeatures(states, states, vectors, joint)
    tokens = perceive(features, prompt, plan, Straight())
    pixels = np.random.default_rng(count).integers(0, 255, (count, 24, 24, 3), dtype=np.uint8)
    times = np.linspace(0, seconds * 0.98, count)
    frames = Frames(pixels, times, np.arange(count) * 5, count * 5, seconds, source, *size)
    evidence = gather_evidence(frames, tokens, plan, side=SIDE)
    timings = Timings(0.5, 2.0, 0.01, 0.015, 0.005, 0.3, 0.9)
    answer = Answer(
        question, text, (1, 2), tokens, evidence, timings, plan, "some/model", "prompt", 99
    )
    return replace(answer, **values)  # type: ignore[arg-type]


def artists(figure: Figure, kind: str) -> list[Any]:
    """What is drawn, by matplotlib's class."""
    axes = figure.axes[0]
    return [child for child in axes.get_children() if type(child).__name__ == kind]


def check_layout(figure: Figure) -> None:
    """Nothing is cut, and no text lies on another or on an image."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    axes = figure.axes[0]
    # The axes' own empty titles are texts as well.
    texts = [t for t in axes.get_children() if hasattr(t, "get_text") and t.get_text()]
    assert texts
    spans = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    images = [("image", i.get_window_extent(renderer)) for i in artists(figure, "AxesImage")]
    for name, box in [*spans, *images]:
        inside = (box.x0 >= 8, box.x1 <= width - 8, box.y0 >= 8, box.y1 <= height - 8)
        assert all(inside), f"{name!r} is cut: {box} in {width}×{height}"
    for (a, one), (b, other) in itertools.combinations(spans, 2):
        assert not overlap(one, other), f"{a!r} lies on {b!r}"
    for (a, one), (_, other) in itertools.product(spans, images):
        assert not overlap(one, other), f"{a!r} lies on an image"
    for (_, one), (_, other) in itertools.combinations(images, 2):
        assert not overlap(one, other), "two images overlap"


def overlap(one: Bbox, other: Bbox, slack: float = 1.0) -> bool:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    down = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > slack and down > slack


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_save_picture_writes_each_format(tmp_path: Path, name: str, begins: bytes) -> None:
    path = save_picture(make_answer(1), tmp_path / "new" / "folder" / name)
    assert path == tmp_path / "new" / "folder" / name
    assert path.read_bytes().startswith(begins)


def test_answer_saves_its_picture_at_the_width_asked_for(tmp_path: Path) -> None:
    path = make_answer(2).save_picture(str(tmp_path / "why.png"), width_px=800)
    with Image.open(path) as image:
        assert image.width == 800
        assert image.info["Title"] == "what is a man doing?"
        assert image.info["Description"] == "In the video, a man is rowing."


def test_default_width_is_1200_pixels() -> None:
    assert draw_picture(make_answer(1)).bbox.width == pytest.approx(1200)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.gif", ".png"])
def test_other_suffixes_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        save_picture(make_answer(1), tmp_path / name)
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        check_suffix(Path(name))


def test_a_file_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match="cannot write the picture"):
        save_picture(make_answer(1), tmp_path / "taken" / "a.png")


@pytest.mark.parametrize("width", [0, 299, 8001, 1200.0, True])
def test_odd_widths_are_refused(width: object) -> None:
    with pytest.raises(ConfigError, match="width_px"):
        draw_picture(make_answer(1), width_px=width)  # type: ignore[arg-type]


def test_the_same_answer_gives_the_same_pdf(tmp_path: Path) -> None:
    answer = make_answer(1, plan="freeva")
    one = save_picture(answer, tmp_path / "1.pdf").read_bytes()
    assert one == save_picture(answer, tmp_path / "2.pdf").read_bytes()


def test_control_characters_do_not_break_svg(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    answer = make_answer(1, question="what\x00\x0bis \ud83d <this> & that?", text="\x1b[1m<b>")
    ElementTree.parse(save_picture(answer, tmp_path / "a.svg"))


# --- layout ------------------------------------------------------------------------------------

SIZES = [(640, 480), (1920, 1080), (1080, 1920), (500, 500), (2560, 320)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_nothing_is_cut_or_overlaps(count: int, size: tuple[int, int]) -> None:
    check_layout(draw_picture(make_answer(count, size=size, question=LONG), width_px=600))


@pytest.mark.parametrize("count", [50, 100])
def test_many_detailed_frames_wrap(count: int) -> None:
    select, crop = Select(kind="prompt", count=count), Crop(ratio=0.8)
    plan = Plan(pathways=(Pathway(name="slow", select=select, crop=crop),))
    answer = make_answer(count, plan=plan, seconds=8000, size=(1080, 1920))
    figure = draw_picture(answer, width_px=600)
    check_layout(figure)
    named = [i for i in artists(figure, "AxesImage") if i.get_gid() == "thumbnail"]
    assert len(named) == count


@pytest.mark.parametrize(
    "text", [LONG, CHINESE, ARABIC, EMOJI, "x" * 900, "", "Кто? $5, $6_x^2$ \\a"]
)
def test_any_script_fits(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_layout(draw_picture(make_answer(4, question=text, text=text * 2), width_px=600))


def test_long_names_and_notes_fit() -> None:
    plan = replace(Plan.preset("paper"), name="n" * 300)
    answer = make_answer(
        5, plan=plan, source="C:\\clips\\" + "long_name_" * 40 + "last.mp4",
        model="organisation/" + "model" * 60, warnings=(LONG * 3, "short", "third", "4", "5"),
        options=("yes", "no", LONG, "x" * 200),
    )  # fmt: skip
    figure = draw_picture(answer, width_px=600)
    check_layout(figure)
    shown = " ".join(t.get_text() for t in artists(figure, "Text"))
    assert "last.mp4" in shown
    assert "clips" not in shown, "the folder is nobody's business"


def test_a_choice_stands_behind_its_letter() -> None:
    def listed(*options: str) -> list[str]:
        figure = draw_picture(make_answer(1, options=options), width_px=600)
        check_layout(figure)
        return [t.get_text() for t in artists(figure, "Text") if t.get_gid() == "options"]

    assert listed("yes", "no") == ["(A) yes · (B) no"]
    assert listed("red", "x" * 96, "blue") == ["(A) red", f"(B) {'x' * 96}", "(C) blue"]
    few = listed(*(f"choice {n} of some that are long" for n in range(8)))
    assert few == [f"({'ABCDEFGH'[n]}) choice {n} of some that are long" for n in range(8)]
    numbers = listed(*map(str, range(30)))
    assert len(numbers) == 2
    assert " · ".join(numbers).split(" · ") == [f"({chr(65 + n)}) {n}" for n in range(30)]
    many = listed(*(f"choice {n}, {'very ' * 9}long" for n in range(40)))
    assert many[0] == f"(A) choice 0, {'very ' * 9}long"
    assert many[-1] == "and 28 more choices, not shown"
    assert len(many) == 13


def test_characters_without_a_font_are_told() -> None:
    figure = draw_picture(make_answer(1, question="a \U000e0fff\U0003fffd b"), width_px=600)
    notes = " ".join(t.get_text() for t in artists(figure, "Text"))
    assert "2 characters stand as boxes" in notes


def test_an_empty_answer_is_said_to_be_empty() -> None:
    figure = draw_picture(make_answer(2, text=" \n "), width_px=600)
    assert "the model said nothing" in [t.get_text() for t in artists(figure, "Text")]


@pytest.mark.parametrize("seconds", [0.0, 0.04, 1.5, 99.0, 3599.0, 90_000.0])
def test_any_duration_has_a_readable_axis(seconds: float) -> None:
    check_layout(draw_picture(make_answer(3, seconds=seconds), width_px=600))


def test_frames_close_in_time_have_different_stamps() -> None:
    def stamps(count: int, seconds: float) -> list[str]:
        crop = Crop(ratio=0.8)
        slow = Pathway(name="slow", select=Select(kind="prompt", count=count), crop=crop)
        figure = draw_picture(make_answer(count, plan=Plan(pathways=(slow,)), seconds=seconds))
        shown = [t.get_text() for t in artists(figure, "Text") if t.get_gid() == "caption"]
        return [text for text in shown if text.endswith(" s")]

    assert stamps(3, 10)[1] == "4.9 s"
    dense = stamps(60, 5)
    assert len(set(dense)) == len(dense) == 60
    assert dense[1] == "0.08 s"


def test_a_long_clip_is_told_in_hours() -> None:
    figure = draw_picture(make_answer(3, seconds=10_798), width_px=600)
    shown = [t.get_text() for t in artists(figure, "Text") if t.get_gid() == "footer"]
    assert shown[0] == "rowing.mp4 · 3 of 15 frames sampled, 2:59:58, 640×480"


def test_marks_of_clustered_frames_do_not_hide_each_other() -> None:
    """The overview of 50 of 100 frames has neighbours, so its marks are as small as for 100."""
    figure = draw_picture(make_answer(100))
    (lane,) = [a for a in artists(figure, "Line2D") if a.get_gid() == "lane-fast"]
    assert len(lane.get_xdata()) == 50
    closest = np.diff(np.sort(lane.get_xdata())).min()
    assert lane.get_markersize() < closest
    (few,) = [a for a in artists(figure, "Line2D") if a.get_gid() == "lane-slow"]
    assert few.get_markersize() == 6.5


def test_the_check_of_the_layout_can_fail() -> None:
    def moved(move: Callable[[Figure, Any], object]) -> Figure:
        figure = draw_picture(make_answer(3), width_px=600)
        check_layout(figure)
        move(figure, next(t for t in artists(figure, "Text") if t.get_gid() == "title"))
        return figure

    with pytest.raises(AssertionError, match="is cut"):
        check_layout(moved(lambda figure, text: text.set_x(570)))
    with pytest.raises(AssertionError, match="lies on 'When'"):
        check_layout(moved(lambda figure, text: text.set_y(31)))
    with pytest.raises(AssertionError, match="lies on an image"):
        check_layout(
            moved(lambda f, text: text.set_y(artists(f, "AxesImage")[0].get_extent()[3] + 20))
        )


def test_pools_over_time_and_kept_cells_are_drawn() -> None:
    best = Pathway(
        name="best", select=Select(kind="prompt", count=2), crop=Crop(ratio=0.3, kind="cells")
    )
    mean = Pathway(name="mean", pool=Pool(kind="temporal_global_pool"))
    check_layout(draw_picture(make_answer(6, plan=Plan(pathways=(best, mean))), width_px=600))


def test_scores_that_are_no_numbers_are_survived() -> None:
    answer = make_answer(4)
    evidence = replace(answer.evidence, scores=np.array([np.nan, 0.2, np.inf, 0.2]))
    check_layout(draw_picture(replace(answer, evidence=evidence), width_px=600))


# --- comparison --------------------------------------------------------------------------------


WIDE_PLAN = (
    "slow_9frms_spatial_1d_max_pool_roi6-middle_9frms_spatial_1d_max_pool_24x12-fast_50frms_8x8"
)


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("size", [(640, 480), (1080, 1920), (2560, 320)], ids=str)
def test_comparison_layout(count: int, size: tuple[int, int]) -> None:
    said = {"paper": "A man.", "slowfast": LONG * 3, "uniform": "", WIDE_PLAN: CHINESE}
    answers = [
        make_answer(count, plan=plan, size=size, question=LONG, text=text)
        for plan, text in said.items()
    ]
    figure = draw_comparison(answers, width_px=600)
    check_layout(figure)
    gids = [t.get_gid() for t in artists(figure, "Text")]
    assert gids.count("plan") == 4
    assert gids.count("cost") == 8


def test_upright_clips_are_not_tiny_in_a_comparison() -> None:
    def largest(size: tuple[int, int]) -> tuple[float, float]:
        figure = draw_comparison([make_answer(50, plan="freeva", size=size)])
        left, right, bottom, top = artists(figure, "AxesImage")[0].get_extent()
        return right - left, bottom - top

    wide, high = largest((1080, 1920))
    assert wide > 32
    assert high / wide == pytest.approx(16 / 9, abs=0.05)
    assert largest((640, 480)) == pytest.approx((53, 40), abs=1)
    assert largest((200, 4000))[1] <= 84.5


def test_plans_that_differ_little_are_told_apart_in_a_comparison() -> None:
    one, other = (
        f"slow=prompt:3/concat/crop:0.8+middle=uniform:{n}/concat/crop:0.5+fast=all/"
        "adaptive_2d_pool:4x4" for n in (4, 5)
    )  # fmt: skip
    plans = ("paper", "paper@released", one, other)
    figure = draw_comparison([make_answer(10, plan=plan) for plan in plans], width_px=600)
    check_layout(figure)
    named = [t.get_text() for t in artists(figure, "Text") if t.get_gid() == "plan"]
    assert named[:2] == ["paper", "paper@released"]
    whole = "".join(t.get_text() for t in artists(figure, "Text") if t.get_gid() == "notation")
    assert whole == one + other


def test_comparison_bars_share_one_scale() -> None:
    answers = [make_answer(10, plan=plan) for plan in ("freeva", "uniform-3")]
    bars = [b for b in artists(draw_comparison(answers), "Rectangle") if b.get_gid() == "tokens"]
    wide, narrow = (bar.get_width() for bar in bars)
    assert narrow / wide == pytest.approx(answers[1].evidence.tokens / answers[0].evidence.tokens)


def test_save_comparison_writes_and_refuses(tmp_path: Path) -> None:
    answers = [make_answer(3, plan=plan) for plan in ("paper", "uniform")]
    assert save_comparison(answers, tmp_path / "c.svg").stat().st_size > 10_000
    with pytest.raises(ConfigError, match="at least one"):
        save_comparison([], tmp_path / "c.png")
    with pytest.raises(ConfigError, match="2 questions"):
        save_comparison([answers[0], make_answer(3, question="else?")], tmp_path / "c.png")


# --- threads and settings ----------------------------------------------------------------------


def test_threads_draw_at_the_same_time_and_leave_settings_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    answers = [make_answer(n, question=q) for n, q in ((2, CHINESE), (3, LONG), (4, EMOJI))]
    save = partial(save_picture, width_px=400)
    one_by_one = [save(a, tmp_path / f"s{n}.png").read_bytes() for n, a in enumerate(answers)]
    threads = [
        threading.Thread(target=save, args=(a, tmp_path / f"t{n}.png"))
        for n, a in enumerate(answers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / f"t{n}.png").read_bytes() for n in range(3)] == one_by_one
    assert dict(matplotlib.rcParams) == before


def test_the_users_matplotlib_settings_do_not_show() -> None:
    def picture() -> np.ndarray:
        figure = draw_picture(make_answer(2), width_px=400)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba()).copy()

    plain = picture()
    odd = {
        "figure.autolayout": True, "savefig.bbox": "tight", "axes.facecolor": "black",
        "font.size": 30, "text.color": "red", "lines.linewidth": 9, "lines.linestyle": ":",
        "lines.marker": "x", "figure.facecolor": "green", "image.interpolation": "bicubic",
        "image.cmap": "jet", "patch.force_edgecolor": True, "font.weight": "bold",
        "axes.prop_cycle": matplotlib.cycler(color=["r"]), "image.origin": "lower",
    }  # fmt: skip
    with matplotlib.rc_context(odd):
        styled = picture()
    assert np.array_equal(plain, styled)


def test_importing_the_library_does_not_import_matplotlib() -> None:
    code = "import sys, free_video_llm; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
