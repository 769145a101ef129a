"""Candidates and kept frames apart: a tower of the LLM's own sees only what a plan keeps."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from free_video_llm import FeatureCache, VideoLLM
from free_video_llm.encoder.tower import Towers
from free_video_llm.profile import cost_report
from free_video_llm.samples import find
from tiny_checkpoints import write_original

STAR = find("sample:star")
FRAMES = 12
SMALL, WHOLE = "paper-small", "slow=prompt:2/concat+all=all/adaptive_2d_pool:2x2"


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> VideoLLM:
    """A LLaVA whose tower is another than its scorer's."""
    folder = tmp_path_factory.mktemp("own")
    write_original(folder)
    llm = VideoLLM.from_pretrained(folder, conv_mode="plain")
    assert not llm.towers.shared
    return llm


class Passes:
    """Frames that passed the LLM's tower and the scorer's."""

    def __init__(self, towers: Towers) -> None:
        self.seen = {"llm": 0, "scorer": 0}
        self._hooks = [
            tower.embeddings.register_forward_hook(self._count(name))
            for name, tower in (("llm", towers.llm_tower), ("scorer", towers.scorer.tower))
        ]

    def _count(self, name: str):
        def count(module, inputs, output) -> None:
            self.seen[name] += len(output)

        return count

    def take(self) -> tuple[int, int]:
        """(LLM's, scorer's) since the last time."""
        seen, self.seen = self.seen, {"llm": 0, "scorer": 0}
        return seen["llm"], seen["scorer"]

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def test_only_kept_frames_pass_the_llm_s_own_tower_and_each_once(own: VideoLLM):
    with Passes(own.towers) as passes:
        video = own.watch(STAR, frames=FRAMES)
        assert passes.take() == (0, FRAMES)
        answer = video.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
        kept = {kept.frame for part in answer.evidence.pathways for kept in part.kept}
        assert len(kept) == 6
        assert passes.take() == (6, 0)
        video.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
        assert passes.take() == (0, 0)
        video.ask("Is there a ring?", plan=WHOLE, max_new_tokens=1)
        assert passes.take() == (FRAMES - 6, 0)
        video.ask("Is there a moon?", plan="paper", max_new_tokens=1)
        assert passes.take() == (0, 0)


@pytest.mark.parametrize("plan", ["paper", "slowfast", WHOLE])
def test_a_plan_that_keeps_all_is_encoded_while_it_is_decoded(own: VideoLLM, plan: str):
    with Passes(own.towers) as passes:
        video = own.watch(STAR, frames=FRAMES, plan=plan)
        assert passes.take() == (FRAMES, FRAMES)
        video.ask("What color is the star?", plan=plan, max_new_tokens=1)
        assert passes.take() == (0, 0)
        own.watch(STAR, frames=FRAMES, plan=SMALL)
        assert passes.take() == (0, FRAMES)


def test_one_tower_for_both_sees_each_frame_once(monkeypatch):
    tiny = VideoLLM.from_pretrained("tiny")
    with Passes(tiny.towers) as passes:
        video = tiny.watch(STAR, frames=FRAMES)
        video.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
        assert passes.take() == (FRAMES, FRAMES)  # both hooks are on the one tower
    assert video.features.late is None


@pytest.mark.parametrize("plan", [SMALL, WHOLE, "paper", "diverse", "slowfast"])
def test_the_answers_are_the_same_to_the_bit(own: VideoLLM, plan: str):
    early = own.watch(STAR, frames=FRAMES, plan="paper")
    late = own.watch(STAR, frames=FRAMES)
    assert (early.features.late is None) == (late.features.late is not None)
    for question in ("What color is the star?", "Is there a moon?"):
        first, second = (v.ask(question, plan=plan, max_new_tokens=5) for v in (early, late))
        assert torch.equal(first.visual_tokens.embeds, second.visual_tokens.embeds)
        assert first.token_ids == second.token_ids
        assert first.to_dict()["evidence"] == second.to_dict()["evidence"]


def test_a_cache_keeps_all(own: VideoLLM, tmp_path: Path):
    cache = FeatureCache(tmp_path)
    with Passes(own.towers) as passes:
        own.watch(STAR, frames=FRAMES, cache=cache)
        assert passes.take() == (FRAMES, FRAMES)
        again = own.watch(STAR, frames=FRAMES, cache=FeatureCache(tmp_path))
        again.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
        assert passes.take() == (0, 0)


def test_it_is_pickled_with_what_is_known(own: VideoLLM):
    video = own.watch(STAR, frames=FRAMES)
    wanted = video.ask("What color is the star?", plan=SMALL, max_new_tokens=3)
    copied = own.attach(pickle.loads(pickle.dumps(video)))
    with Passes(own.towers) as passes:
        assert copied.ask("What color is the star?", plan=SMALL, max_new_tokens=3).token_ids == (
            wanted.token_ids
        )
        assert passes.take() == (0, 0)
        copied.ask("Is there a ring?", plan=WHOLE, max_new_tokens=1)
        assert passes.take() == (FRAMES - 6, 0)


def test_what_it_holds_and_costs_grows_with_what_is_kept(own: VideoLLM):
    video = own.watch(STAR, frames=FRAMES)
    watched, before = video.encode_seconds, video.features.nbytes()
    first = video.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
    frame = next(iter(video.features.late.known.values())).nbytes
    assert video.features.nbytes() == before + 6 * frame
    assert video.encode_seconds > watched
    assert first.timings.encode == video.encode_seconds
    small = cost_report(video, first)
    video.ask("Is there a ring?", plan=WHOLE, max_new_tokens=1)
    assert cost_report(video, first).steps[1].operations > small.steps[1].operations


def test_frames_that_were_given_wait_too(own: VideoLLM):
    frames = own.watch(STAR, frames=FRAMES).frames
    with Passes(own.towers) as passes:
        video = own.watch(frames)
        video.ask("What color is the star?", plan=SMALL, max_new_tokens=1)
        assert passes.take() == (6, FRAMES)
