"""SigLIP as the scorer, against transformers' own features and a hand-computed head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from siglip_files import siglip_model, write_siglip

from free_video_llm import CheckpointError, VideoLLM
from free_video_llm.encoder.tower import Towers
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import build_scorer, find_scorer, open_scorer
from free_video_llm.samples import find


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def scorer(folder: Path):
    return build_scorer(open_scorer(folder), LoadOptions())


def frames(count: int = 3, size: int = 60) -> torch.Tensor:
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def test_frame_vectors_are_transformers_image_features(scorer):
    pixels = frames()
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        wanted = siglip_model().get_image_features(pixel_values=images).pooler_output
        ours = scorer.frames(scorer.states(pixels))
    torch.testing.assert_close(ours, F.normalize(wanted, dim=-1), atol=1e-5, rtol=0)


def test_prompt_vectors_are_transformers_text_features(scorer):
    questions = ["what colour is the star", "who wins"]
    tokens = scorer.tokenizer(
        questions, padding="max_length", max_length=8, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        wanted = siglip_model().get_text_features(input_ids=tokens["input_ids"]).pooler_output
    ours = torch.stack([p.vector for p in scorer.texts(questions)])
    torch.testing.assert_close(ours, F.normalize(wanted, dim=-1), atol=1e-5, rtol=0)


def test_a_question_that_is_too_long_is_cut_and_said_so(scorer):
    short, long = scorer.texts(["who wins", "what colour is the red star who moves left and up"])
    assert (short.truncated, long.truncated) == (False, True)


def test_a_patch_s_vector_is_the_head_applied_to_it_alone(scorer):
    """By hand: a softmax over one patch is 1, so of the attention value and output remain."""
    pixels = frames(2)
    states = scorer.states(pixels)
    with torch.inference_mode():
        ours = scorer.joint(torch.device("cpu")).patches(states)
        model, head = scorer.tower, scorer.tower.head
        patch = model.post_layernorm(model.encoder.layers[-1](states, attention_mask=None))[1, 4]
        weight, bias = head.attention.in_proj_weight, head.attention.in_proj_bias
        value = weight[-16:] @ patch + bias[-16:]
        seen = head.attention.out_proj(value)
        by_hand = seen + head.mlp(head.layernorm(seen))
    assert ours.shape == (2, 9, 16)
    torch.testing.assert_close(ours[1, 4], by_hand, atol=1e-5, rtol=0)


def test_frames_of_another_size_are_scaled(scorer):
    states = scorer.states(frames(1, size=80))
    assert states.shape == (1, 9, 16)


def test_towers_of_a_siglip_alone_have_no_class_token(scorer):
    towers = Towers(scorer=scorer)
    features = towers.encode(frames(5).numpy())
    assert features.patches.shape == (5, 3, 3, 16)
    assert features.side == 3
    assert features.llm_states is features.scorer_states
    assert towers.made(features)
    assert features.joint_patches([0, 3]).shape == (2, 3, 3, 16)
    assert "scorer" not in towers.fingerprint  # a hash, as of any other
    assert towers.fingerprint != Towers(scorer=scorer, feature_layer=-1).fingerprint


def test_it_scores_for_a_llava_with_a_tower_of_its_own(folder: Path, tmp_path: Path):
    llm = VideoLLM.from_pretrained("tiny", scorer=str(folder))
    assert not llm.towers.shared
    video = llm.watch(find("sample:star"), frames=6)
    answer = video.ask("what colour is the star", plan="paper-small")
    assert len(answer.evidence.scores) == 6
    assert answer.evidence.pathways[0].kept[0].similarity is not None
    assert answer.save_picture(tmp_path / "why.png").stat().st_size > 10_000
    assert llm.attach(video) is video


def test_what_is_no_scorer_is_named(folder: Path, tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="a scorer is a 'clip' or 'siglip' model"):
        open_scorer(tmp_path)
    bare = write_siglip(tmp_path / "bare")
    (bare / "spiece.model").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer for its text encoder"):
        build_scorer(open_scorer(bare), LoadOptions())


def test_the_embedded_scorer_has_a_name():
    assert open_scorer(find_scorer("tiny")).model_type == "clip"
