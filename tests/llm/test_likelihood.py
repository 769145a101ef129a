"""Choices by likelihood: the plain sum over a full forward pass; answers that are never none."""

from __future__ import annotations

import math

import pytest
import torch

from free_video_llm import ConfigError, VideoLLM
from free_video_llm.cli.main import main
from free_video_llm.llm.likelihood import likelihoods
from free_video_llm.samples import all_samples
from free_video_llm.tiny.world import COLORS
from tiny_checkpoints import own_llm

ENDINGS = (" red", " a blue star", " green moon to the left", " red star")


@pytest.fixture(scope="module", params=["tiny", "original"])
def llm(request, tmp_path_factory) -> VideoLLM:
    if request.param == "tiny":
        return VideoLLM.from_pretrained("tiny")
    return own_llm(tmp_path_factory.mktemp("own"))


@torch.inference_mode()
def plain_sum(llm: VideoLLM, prompt: str, visual: torch.Tensor, endings) -> list[float]:
    """Each ending by itself, in one full forward pass."""
    image_llm = llm.image_llm
    ids = [image_llm.tokenize(prompt + ending) for ending in endings]
    shared = 0
    while len({tuple(one[: shared + 1]) for one in ids}) == 1:
        shared += 1
    sums = []
    for one in ids:
        embeds = image_llm.embed(one, visual)
        scores = image_llm.model(inputs_embeds=embeds[None]).logits[0].log_softmax(-1)
        late = len(embeds) - len(one)  # visual tokens in the place of one
        sums.append(
            sum(float(scores[late + place - 1, one[place]]) for place in range(shared, len(one)))
        )
    return sums


@pytest.mark.parametrize("endings", [ENDINGS, ("A", "B", "C"), (" yes", " no")])
def test_it_is_the_plain_sum(llm: VideoLLM, endings):
    visual = torch.randn(20, llm.image_llm.model.get_input_embeddings().weight.shape[1]) * 0.02
    prompt = "USER: <image>\nWhat is to be seen? ASSISTANT:"
    found = likelihoods(llm.image_llm, prompt, visual, endings)
    assert found.log == pytest.approx(plain_sum(llm, prompt, visual, endings), abs=1e-4)
    assert math.isclose(sum(found.probabilities), 1)
    assert found.best == max(range(len(endings)), key=found.log.__getitem__)


def test_a_prompt_that_ends_as_an_ending_begins(llm: VideoLLM):
    """One ending is the beginning of another."""
    visual = torch.zeros(4, llm.image_llm.model.get_input_embeddings().weight.shape[1])
    prompt, endings = "<image> What?", (" red", " red star", " red star moon")
    found = likelihoods(llm.image_llm, prompt, visual, endings)
    ids = [llm.image_llm.tokenize(prompt + ending) for ending in endings]
    assert all(len(rest) >= 1 for rest in found.token_ids)
    assert all(tuple(one[-len(r) :]) == r for one, r in zip(ids, found.token_ids, strict=True))


@pytest.mark.parametrize("choose", ["letters", "options"])
def test_no_answer_is_empty_and_tiny_knows_its_clips(choose: str):
    llm = VideoLLM.from_pretrained("tiny")
    right = asked = 0
    for sample in all_samples().values():
        video = llm.watch(sample.path)
        for question, answer in sample.questions:
            if answer not in COLORS:
                continue
            options = [answer, *(c for c in COLORS if c != answer)][:4]
            found = video.ask(question, options=options, choose=choose)
            assert len(found.probabilities) == 4
            assert found.probability == max(found.probabilities)
            assert found.text in (options if choose == "options" else list("ABCD"))
            asked += 1
            right += found.text == answer
    assert asked >= 3
    if choose == "options":  # tiny was never taught letters
        assert right == asked


def test_yes_and_no():
    llm = VideoLLM.from_pretrained("tiny")
    video = llm.watch("sample:star")
    for question, answer in (("Is there a star?", "yes"), ("Is there a pink moon?", "no")):
        found = video.ask(question, options=["yes", "no"], choose="options")
        assert found.text == answer
        assert found.probability > 0.5
    generated = video.ask("Is there a star?", max_new_tokens=2)
    assert generated.probability is None
    assert generated.probabilities == ()
    assert found.to_dict()["probabilities"] == list(found.probabilities)


def test_what_cannot_be_chosen_is_said(llm: VideoLLM, capsys):
    video = llm.watch("sample:star", frames=4)
    with pytest.raises(ConfigError, match="among options"):
        video.ask("Is there a star?", choose="letters")
    with pytest.raises(ConfigError, match="did you mean 'letters'"):
        video.ask("Is there a star?", options=["a", "b"], choose="letter")
    visual = torch.zeros(2, llm.image_llm.model.get_input_embeddings().weight.shape[1])
    for endings in (["a"], ["a", "a"], []):
        with pytest.raises(ConfigError, match="two or more"):
            likelihoods(llm.image_llm, "<image> x", visual, endings)
    too_long = torch.zeros(llm.image_llm.max_positions, visual.shape[1])
    with pytest.raises(ConfigError, match="prompt and choices need"):
        likelihoods(llm.image_llm, "<image> x", too_long, ["a", "b"])
    command = ["ask", "sample:star", "Is there a star?", "--choose", "options", "--quiet"]
    assert main([*command, "--option", "yes", "--option", "no"]) == 0
    assert capsys.readouterr().out == "yes\n"
