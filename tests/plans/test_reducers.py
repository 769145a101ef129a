"""Reducers by hand, against their authors' formulae in plain loops, and what all keep to."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm import Plan, PlanError, Pool, VideoLLM
from free_video_llm.plans.methods import POOLS
from free_video_llm.plans.reducers.budget import divided
from free_video_llm.plans.reducers.evs import evs
from free_video_llm.plans.reducers.max_min import FLOOR, max_min
from free_video_llm.plans.reducers.vcast import vcast
from free_video_llm.plans.reducers.vidcom2 import vidcom2
from free_video_llm.plans.reducers.windows import above_mean, windows

REDUCERS = [method for method in POOLS if method.takes_share]


def states(seed: int, frames: int = 5, tokens: int = 9, width: int = 8) -> torch.Tensor:
    return torch.randn(frames, tokens, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(REDUCERS),
    st.integers(1, 6),
    st.integers(1, 5),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_as_many_are_kept_as_are_counted_and_one_of_each_frame(method, frames, side, share, seed):
    values = states(seed, frames, side * side)
    count = Pool(kind=method.name, share=max(share, 1e-6)).count_kept(frames, side)
    relevance = torch.rand(frames, side * side) if method.guided else None
    places = method.keep(values, count, relevance)
    assert len(places) == frames
    assert sum(map(len, places)) == count
    for kept in places:
        assert len(kept) >= 1
        assert kept.tolist() == sorted(set(kept.tolist()))
        assert int(kept[0]) >= 0
        assert int(kept[-1]) < side * side


@pytest.mark.parametrize("seed", range(6))
def test_vidcom2_keeps_what_is_least_like_frame_and_video(seed: int):
    values = states(seed)
    frames, tokens, width = values.shape
    steady = sorted(range(width), key=lambda c: float(values[..., c].var()))[: width // 2]
    unit = F.normalize(values[..., steady], dim=-1)

    def likeness(token: torch.Tensor, mean: torch.Tensor) -> float:
        squared = float(((token - mean) ** 2).sum())
        return sum(math.exp(-squared / (2 * 2.0**power)) for power in range(-3, 2))

    video = unit.reshape(-1, len(steady)).mean(0)
    to_video = [[likeness(unit[t, n], video) for n in range(tokens)] for t in range(frames)]
    both = [
        [to_video[t][n] + likeness(unit[t, n], unit[t].mean(0)) for n in range(tokens)]
        for t in range(frames)
    ]
    special = torch.softmax(torch.tensor([-sum(row) / tokens / 0.01 for row in to_video]), 0)
    counts = divided(1 + special - special.mean(), 15, most=tokens)
    wanted = [
        sorted(sorted(range(tokens), key=lambda n: row[n])[:kept])
        for row, kept in zip(both, counts, strict=True)
    ]
    assert [kept.tolist() for kept in vidcom2(values, 15)] == wanted


@pytest.mark.parametrize("seed", range(6))
def test_vcast_gives_most_where_the_video_turns(seed: int):
    values = states(seed)
    frames, tokens, _ = values.shape
    means = [F.normalize(values[t].mean(0), dim=0) for t in range(frames)]
    curved = [1.0] * frames
    for t in range(1, frames - 1):
        before, after = means[t] - means[t - 1], means[t + 1] - means[t]
        curved[t] = 1 - float(before @ after / (before.norm() * after.norm()))
    counts = divided(torch.softmax(torch.tensor(curved) / 0.7, 0), 20, most=tokens)
    found = vcast(values, 20)
    for t in range(frames):
        mean, lengths = values[t].mean(0), values[t].norm(dim=1)
        spread = float(lengths.max() - lengths.min())
        score = [
            1
            - float(F.cosine_similarity(values[t, n], mean, dim=0))
            + float(lengths[n] - lengths.min()) / spread
            for n in range(tokens)
        ]
        assert found[t].tolist() == sorted(
            sorted(range(tokens), key=lambda n: -score[n])[: counts[t]]
        )


def test_evs_keeps_the_first_frame_and_what_changes():
    values = states(1, frames=3, tokens=4)
    values[1], values[2] = values[0], values[0]
    values[1, 2] = -values[0, 2]
    values[2, 0] = -values[0, 0]  # and back again at 2
    kept = [places.tolist() for places in evs(values, 7)]
    assert kept == [[0, 1, 2, 3], [2], [0, 2]]
    assert [len(places) for places in evs(values, 3)] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_max_min_takes_what_is_farthest_and_near_to_the_question(seed: int):
    values, relevance = (
        states(seed),
        torch.rand(5, 9, generator=torch.Generator().manual_seed(seed)),
    )
    unit = F.normalize(values, dim=-1).reshape(45, -1)
    scaled = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    worth = (FLOOR + (1 - FLOOR) * scaled).flatten().tolist()
    kept = [t * 9 + int(relevance[t].argmax()) for t in range(5)]
    while len(kept) < 14:
        rest = [n for n in range(45) if n not in kept]
        gain = {n: worth[n] * min(1 - float(unit[n] @ unit[k]) for k in kept) for n in rest}
        kept.append(max(rest, key=lambda n: gain[n]))
    found = [
        t * 9 + n
        for t, places in enumerate(max_min(values, 14, relevance))
        for n in places.tolist()
    ]
    assert found == sorted(kept)


def test_windows_are_as_large_as_what_is_near_to_the_question():
    maps = torch.tensor(
        [
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9], [0, 0, 0, 0]],
            [[5, 5, 0, 0], [5, 5, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]],
        ]
    ).float()
    values = states(0, frames=2, tokens=16)
    found = windows(values, 5, maps.flatten(1))
    assert [places.tolist() for places in found] == [[11], [0, 1, 4, 5]]
    # One more than the windows need: the most relevant cell beside them.
    found = windows(values, 6, maps.flatten(1))
    assert [places.tolist() for places in found] == [[11], [0, 1, 4, 5, 14]]
    # Nothing stands out: a window in the middle of each.
    found = windows(values, 8, torch.ones(2, 16))
    assert [places.tolist() for places in found] == [[5, 6, 9, 10]] * 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [3, 10, 17, 40, 75])
def test_windows_hold_the_greatest_share_that_there_is_room_for(seed: int, count: int):
    frames, side = 3, 5
    relevance = torch.rand(frames, side**2, generator=torch.Generator().manual_seed(seed)).double()
    shares = [above_mean(frame.reshape(side, side).numpy()) for frame in relevance]
    spans = [(a, b) for a in range(side) for b in range(a + 1, side + 1)]
    held = [
        [(float(s[t:b, x:r].sum()), (b - t) * (r - x)) for t, b in spans for x, r in spans]
        for s in shares
    ]

    def cells(level: float) -> list[int]:
        return [min(area for share, area in frame if share >= level - 1e-9) for frame in held]

    fitting = [s for frame in held for s, _ in frame if sum(cells(s)) <= count]
    least = max(fitting, default=0.0)
    found = windows(states(0, frames, side**2), count, relevance)
    assert sum(map(len, found)) == count
    for share, places in zip(shares, found, strict=True):
        assert float(share.flatten()[places.numpy()].sum()) >= least - 1e-9
    if sum(cells(least)) == count:
        assert [len(places) for places in found] == cells(least)


def test_a_share_is_checked_written_and_read():
    plan = Plan.parse("all=all/vidcom2:0.25")
    assert str(plan) == "all=all/vidcom2:0.25"
    assert plan.count_tokens(frames=10, side=8) == 160
    for text, words in (
        ("all=all/vidcom2", "need a share of tokens, as in evs:0.25"),
        ("all=all/concat:0.3", "a grid is written"),
        ("all=all/evs:2", "a share of tokens is above 0, at most 1"),
        ("all=all/evs:x", "a share of tokens is a number"),
        ("all=all/evs:0.5/crop:0.3", "cannot be cropped"),
    ):
        with pytest.raises(PlanError, match=words):
            Plan.parse(text)


@pytest.mark.parametrize("name", [method.name for method in REDUCERS])
def test_its_tokens_are_those_of_their_places(name: str, tmp_path):
    llm = VideoLLM.from_pretrained("tiny")
    video = llm.watch("sample:star", frames=6)
    answer = video.ask("What color is the star?", plan=f"all=all/{name}:0.1", max_new_tokens=2)
    tokens = answer.visual_tokens
    assert len(tokens) == round(0.1 * 6 * 144)
    projector = llm.image_llm.projector
    with torch.inference_mode():
        whole = projector.out(projector.hidden(video.features.patches_in(range(6))))
    places = (tokens.region[:, :2] * 12).round().long()
    wanted = whole[tokens.frame, places[:, 1] * 12 + places[:, 0]]
    torch.testing.assert_close(tokens.embeds, wanted, atol=1e-5, rtol=1e-5)
    assert sum(len(kept.cells) for kept in answer.evidence.pathways[0].kept) == len(tokens)
    assert answer.save_picture(tmp_path / "why.png").stat().st_size > 10_000
