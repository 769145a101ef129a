"""Every method of the registry through notation, JSON, captions and counting; and a stranger's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from free_video_llm import Crop, Pathway, Plan, PlanError, Pool, Select, VideoLLM
from free_video_llm.picture import captions
from free_video_llm.plans.methods import CROPS, POOLS, SELECTORS, SelectorMethod, selector
from free_video_llm.plans.pool import pool_grid


def plan_of(pathway: Pathway) -> Plan:
    return Plan(pathways=(pathway,))


def with_selector(name: str) -> Plan:
    count = 3 if SELECTORS.get(name).counted else None
    return plan_of(Pathway(name="some", select=Select(kind=name, count=count)))


def with_crop(name: str) -> Plan:
    return plan_of(
        Pathway(
            name="some", select=Select(kind="uniform", count=2), crop=Crop(ratio=0.5, kind=name)
        )
    )


def with_pool(name: str) -> Plan:
    grid = (2, 3) if POOLS.get(name).takes_grid else None
    share = 0.3 if POOLS.get(name).takes_share else None
    return plan_of(Pathway(name="some", pool=Pool(kind=name, grid=grid, share=share)))


PLANS = [
    *map(with_selector, SELECTORS.names()),
    *map(with_crop, CROPS.names()),
    *map(with_pool, POOLS.names()),
]


@pytest.fixture(scope="module")
def video():
    return VideoLLM.from_pretrained("tiny").watch("sample:star", frames=5)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_method_is_written_read_counted_applied_and_named(plan: Plan, video) -> None:
    assert Plan.parse(str(plan)).pathways == plan.pathways
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    answer = video.ask("Is there a star?", plan=plan, max_new_tokens=1)
    assert len(answer.visual_tokens) == plan.count_tokens(frames=5, side=12)
    (part,) = answer.evidence.pathways
    said = captions.how(answer, part)
    (pathway,) = plan.pathways
    if len(part.kept) < 5:
        assert pathway.select.method.caption in said
    if pathway.crop is not None:
        assert pathway.crop.method.caption.format(share="50%") in said


def test_names_and_captions_are_told_apart() -> None:
    for registry in (SELECTORS, CROPS, POOLS):
        names = registry.names()
        assert len(names) == len(set(names)) > 2
    assert len({m.caption for m in SELECTORS}) == len(SELECTORS.names())
    assert len({m.notation for m in CROPS}) == len({m.caption for m in CROPS}) == 4


@pytest.mark.parametrize("name", POOLS.names())
def test_a_pool_leaves_the_grid_that_it_says(name: str) -> None:
    pool = with_pool(name).pathways[0].pool
    for side in (6, 7):
        pooled = pool_grid(torch.rand(3, side, side, 2), pool)  # a reducer's grid is the whole one
        times = 3 if pool.method.times is None else pool.method.times
        assert pooled.shape == (times, *pool.grid_of(side), 2)


@pytest.mark.parametrize("name", SELECTORS.names())
def test_a_selector_gives_frames_in_time_order_none_twice_and_none_that_is_taken(name) -> None:
    method = SELECTORS.get(name)
    scores = torch.tensor([0.3, 0.9, 0.9, 0.1, 0.5, 0.5, 0.2])
    vectors = torch.nn.functional.normalize(torch.rand(7, 4), dim=-1)
    for count in (1, 3, 7, 20):
        for exclude in ((), (1, 4)):
            frames = method.frames(scores, vectors, count, exclude=exclude)
            assert frames == sorted(set(frames) - set(exclude))
            if method.counted:
                assert len(frames) == min(count, 7 - len(exclude))


def test_a_name_is_taken_once_and_an_unknown_one_is_told_with_the_nearest() -> None:
    with pytest.raises(PlanError, match="there is a selector named 'prompt' already"):
        selector("prompt", caption="x")(lambda *_, **__: [])
    with pytest.raises(PlanError, match="letters, digits, - and _"):
        SELECTORS.add(
            SelectorMethod(name="a/b", caption="x", guided=False, counted=True, choose=list)
        )
    with pytest.raises(PlanError, match="unknown selector 'promt'; did you mean 'prompt'"):
        Select(kind="promt", count=3)
    with pytest.raises(PlanError, match="unknown crop 'centre'; did you mean 'center'"):
        Crop(ratio=0.5, kind="centre")
    with pytest.raises(PlanError, match="unknown pooling 'conat'; did you mean 'concat'"):
        Pool(kind="conat")


# --- from outside of the package ------------------------------------------------------------------

PLUGIN = """
from free_video_llm.plans.crop import Box, cells_in
from free_video_llm.plans.methods import crop, selector

@selector("ends", caption="from both ends", guided=False)
def ends(scores, vectors, count, *, exclude=()):
    free = [f for f in range(len(scores)) if f not in exclude]
    first = free[: (count + 1) // 2]
    return sorted({*first, *(free[-(count // 2) :] if count > 1 else [])})

@crop("top", notation="top-crop", caption="{share} at the top", guided=False)
def top(similarity, size, ratio):
    import torch
    box = Box(0, 0, size[1], size[0])
    cells = cells_in(box, similarity.shape[2])
    return torch.stack([cells] * len(similarity)), [box] * len(similarity)
"""
USE = """
import json, sys
from free_video_llm import Plan, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.picture import captions
plan = Plan.parse("some=ends:3/concat/top-crop:0.5")
assert str(plan) == "some=ends:3/concat/top-crop:0.5", str(plan)
assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
video = VideoLLM.from_pretrained("tiny").watch("sample:star", frames=8)
answer = video.ask("What color is the star?", plan=plan)
(part,) = answer.evidence.pathways
assert [kept.frame for kept in part.kept] == [0, 1, 7]
assert captions.how(answer, part) == "from both ends, 50% at the top"
assert answer.save_picture(sys.argv[1]).stat().st_size > 10_000
sys.exit(main(["ask", "sample:star", "What color is the star?", "--plan", str(plan), "--quiet"]))
"""


def installed(folder: Path, code: str) -> Path:
    """A package as pip would install it: one module and its entry point."""
    (folder / "my_methods.py").write_text(code)
    about = folder / "my_methods-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[free_video_llm.methods]\nmine = my_methods\n")
    return folder


def use(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}", *words],
        capture_output=True, text=True,
    )  # fmt: skip


def test_methods_of_another_package_are_one_file(tmp_path: Path) -> None:
    folder = installed(tmp_path, PLUGIN)
    done = use(folder, USE, str(tmp_path / "why.png"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_package_whose_methods_fail_is_a_warning(tmp_path: Path) -> None:
    folder = installed(tmp_path, "raise RuntimeError('broken')")
    code = "from free_video_llm.plans.methods import SELECTORS; print(SELECTORS.names())"
    done = use(folder, code)
    assert done.returncode == 0
    assert "the methods of my_methods cannot be used: broken" in done.stderr
    assert "prompt" in done.stdout
