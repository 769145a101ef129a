"""The field's selectors: by hand, against their authors' formulae in plain loops, and what all keep
to."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from free_video_llm.plans.methods import SELECTORS
from free_video_llm.plans.select import most_similar_diverse, spread_evenly
from free_video_llm.plans.selectors.aks import aks
from free_video_llm.plans.selectors.bolt import bolt
from free_video_llm.plans.selectors.dpp import SHARPNESS, dpp
from free_video_llm.plans.selectors.focus import focus
from free_video_llm.plans.selectors.gate import gate, stand_out
from free_video_llm.plans.selectors.peaks import peaks
from free_video_llm.plans.selectors.ranking import filled

COUNTED = [method.name for method in SELECTORS if method.counted]


def drawn(seed: int, total: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(total, 6, generator=generator), dim=-1)
    return torch.rand(total, generator=generator), vectors


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(COUNTED), st.integers(1, 40), st.integers(1, 50), st.integers(0, 999),
    st.floats(0, 1), st.booleans(),
)  # fmt: skip
def test_every_selector_gives_each_frame_once_in_time_order(
    name: str, total: int, count: int, seed: int, share: float, level: bool
):
    scores, vectors = drawn(seed, total)
    if level:
        scores = torch.full_like(scores, 0.3)
    exclude = set(range(0, total, 3)) if share > 0.5 else set()
    frames = SELECTORS.get(name).frames(scores, vectors, count, exclude=exclude)
    assert len(frames) == min(count, total - len(exclude))
    assert all(a < b for a, b in pairwise(frames))
    assert not exclude & set(frames)
    assert all(0 <= frame < total for frame in frames)


@pytest.mark.parametrize("seed", range(20))
def test_bolt_is_the_inverse_of_the_summed_scores(seed: int):
    scores, vectors = drawn(seed, 50)
    count = 3 + seed % 8
    values = scores.double().numpy()
    weights = ((values - values.min()) / (values.max() - values.min())) ** 3
    cdf = np.cumsum(weights / weights.sum())
    taken = []
    for target in np.linspace(1 / count, 1 - 1 / count, count):
        taken.append(int(np.argmax(cdf >= target - 1e-12)))
    chosen = bolt(scores, vectors, count)
    assert set(taken) <= set(chosen)
    rest = [int(f) for f in np.argsort(-values, kind="stable") if f not in taken]
    assert chosen == sorted([*set(taken), *rest[: count - len(set(taken))]])


def test_bolt_of_nothing_special_is_even():
    assert bolt(torch.full((9,), 0.2), torch.ones(9, 1), 3) == [2, 4, 5]
    assert bolt(torch.tensor([0.1, 0.2, 0.9]), torch.ones(3, 1), 1) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_aks_halves_where_the_best_do_not_stand_out(seed: int):
    scores, vectors = drawn(seed, 40 + seed)
    if seed % 2:
        scores[[5, 6, 30]] += 30
    values = ((scores - scores.min()) / (scores.max() - scores.min())).tolist()
    count = 2 + seed % 9

    def reference(part: list[tuple[float, int]], places: int, depth: int) -> list[int]:
        if not places or not part:
            return []
        best = sorted(part, key=lambda item: (-item[0], item[1]))[:places]
        gap = sum(v for v, _ in best) / len(best) - sum(v for v, _ in part) / len(part)
        if gap > 0.8 or depth == 5 or len(part) < 2 or places < 2:
            return [frame for _, frame in best]
        middle = len(part) // 2
        return reference(part[:middle], places // 2, depth + 1) + reference(
            part[middle:], places // 2, depth + 1
        )

    own = reference(list(zip(values, range(len(values)), strict=True)), count, 0)
    assert aks(scores, vectors, count) == filled(own, scores.double(), count)


@pytest.mark.parametrize(
    ("seed", "total"), [*((seed, 14) for seed in range(12)), (12, 700), (13, 700), (15, 2200)]
)
def test_dpp_takes_what_adds_most_to_the_volume(seed: int, total: int):
    scores, vectors = drawn(seed, total)
    count = 2 + seed % 4
    values = (scores - scores.min()) / (scores.max() - scores.min())
    relevance = torch.exp(SHARPNESS * values).double()
    unit = vectors.double()
    kernel = relevance[:, None] * (unit @ unit.T) * relevance
    chosen: list[int] = []
    for _ in range(count):
        volumes = {
            frame: float(torch.det(kernel[[*chosen, frame]][:, [*chosen, frame]]))
            for frame in range(total)
            if frame not in chosen
        }
        chosen.append(max(volumes, key=lambda frame: volumes[frame]))
    assert dpp(scores, vectors, count) == sorted(chosen)


def test_dpp_beyond_the_rank_of_its_vectors_takes_the_best_of_the_rest():
    scores, _ = drawn(1, 6)
    assert len(dpp(scores, torch.ones(6, 1), 4)) == 4


def test_peaks_are_the_tops_of_rises():
    scores = torch.tensor([0.5, 0.1, 0.3, 0.3, 0.3, 0.2, 0.9, 0.8])
    assert peaks(scores, torch.ones(8, 1), 1) == [6]
    assert peaks(scores, torch.ones(8, 1), 3) == [0, 3, 6]
    assert peaks(scores, torch.ones(8, 1), 4) == [0, 3, 6, 7]
    assert peaks(torch.full((5,), 0.1), torch.ones(5, 1), 1) == [2]


@pytest.mark.parametrize("seed", range(10))
def test_focus_divides_its_places_among_the_best_stretches(seed: int):
    scores, vectors = drawn(seed, 300)
    count = 20
    values, arms = scores.double().tolist(), []
    number = math.ceil(300 / 16)
    for arm in range(number):
        frames = range(arm * 300 // number, (arm + 1) * 300 // number)
        some = [values[f] for f in frames]
        mean = sum(some) / len(some)
        variance = max(sum((v - mean) ** 2 for v in some) / len(some), 1e-6)
        log = math.log(300)
        worth = mean + math.sqrt(2 * log * variance / len(some)) + 3 * log / len(some)
        arms.append((worth, frames))
    best = sorted(arms, key=lambda arm: -arm[0])[: max(4, round(0.25 * number))]
    chosen = focus(scores, vectors, count)
    order = sorted(range(300), key=lambda f: -values[f])
    assert set(order[:4]) <= set(chosen)
    inside = {f for _, frames in best for f in frames}
    assert set(chosen) - set(order[:4]) <= inside
    shares = [len(set(frames) & (set(chosen) - set(order[:4]))) for _, frames in best]
    assert max(shares) - min(shares) <= 1


def test_the_gate_spreads_frames_where_none_stands_out():
    generator = torch.Generator().manual_seed(3)
    level = 0.2 + 0.01 * torch.rand(50, generator=generator)
    vectors = F.normalize(torch.randn(50, 5, generator=generator), dim=-1)
    assert not stand_out(level)
    assert gate(level, vectors, 5) == spread_evenly(50, 5)
    level[20:23] += 0.1
    assert stand_out(level)
    assert gate(level, vectors, 5) == most_similar_diverse(level, vectors, 5)
    assert not stand_out(torch.full((4,), 0.5))
