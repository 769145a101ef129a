"""Prompts of different lengths pre-filled together: what each would be alone, without a mask."""

from __future__ import annotations

import pytest
import torch

from free_video_llm import VideoLLM, prefill
from free_video_llm.image_llm import Decoding, ImageLLM
from free_video_llm.prompts import IMAGE


@pytest.fixture(scope="module")
def llm() -> ImageLLM:
    return VideoLLM.from_pretrained("tiny").image_llm


def visual(llm: ImageLLM, counts: list[int]) -> list[torch.Tensor]:
    """Random visual tokens, so that greedy answers differ."""
    generator = torch.Generator().manual_seed(1)
    width = llm.model.config.text_config.hidden_size
    scale = llm.model.get_input_embeddings().weight.std().item()
    return [scale * torch.randn(n, width, generator=generator) for n in counts]


def watch_inputs(llm: ImageLLM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, object]]:
    """Batch, length and mask of every pass through the language model."""
    seen = []
    forward = llm.model.model.language_model.forward

    def noted(*args, **kwargs):
        embeds = kwargs["inputs_embeds"]
        seen.append((embeds.shape[0], embeds.shape[1], kwargs.get("attention_mask")))
        return forward(*args, **kwargs)

    monkeypatch.setattr(llm.model.model.language_model, "forward", noted)
    return seen


@pytest.mark.parametrize("positions", [1, 60, 100_000])
@pytest.mark.parametrize("counts", [[5, 5], [3, 40, 17, 40], [1, 300]])
def test_a_batch_answers_as_each_question_alone(llm: ImageLLM, monkeypatch, counts, positions):
    monkeypatch.setattr(prefill, "POSITIONS_AT_ONCE", positions)
    prompts = [f"{IMAGE} what is it" + " and where" * (n % 3) for n in counts]
    tokens = visual(llm, counts)
    decoding = Decoding(max_new_tokens=12, repetition_penalty=1.3)
    batch = llm.generate(prompts, tokens, decoding=decoding)
    alone = [llm.generate([p], [t], decoding=decoding)[0] for p, t in zip(prompts, tokens)]
    assert [g.token_ids for g in batch] == [g.token_ids for g in alone]
    assert len({g.token_ids for g in batch}) > 1  # else equality would say little


def test_no_pass_over_a_whole_prompt_has_a_mask(llm: ImageLLM, monkeypatch):
    monkeypatch.setattr(prefill, "POSITIONS_AT_ONCE", 150)
    seen = watch_inputs(llm, monkeypatch)
    prompts = [f"{IMAGE} what is it"] * 4
    llm.generate(prompts, visual(llm, [20, 90, 20, 25]), decoding=Decoding(max_new_tokens=3))
    whole = [(rows, mask) for rows, length, mask in seen if length > 1]
    assert [rows for rows, _ in whole] == [3, 1]  # the short ones together, the long one alone
    assert all(mask is None for _, mask in whole)


@pytest.mark.parametrize("positions", [1, 60, 100_000])
@pytest.mark.parametrize("kept", [0, 1, 30])
def test_a_beginning_in_common_is_computed_once(llm: ImageLLM, monkeypatch, kept, positions):
    """Three prompts on one set of visual tokens, one of which is cut; two on another; one alone."""
    monkeypatch.setattr(prefill, "POSITIONS_AT_ONCE", positions)
    first, second, third = visual(llm, [90, 120, 70])
    tokens = [first, second, first, first[: 90 - kept], second, third]
    prompts = [
        f"{IMAGE} what is {what}" for what in ("it", "it", "there", "it and where", "red", "it")
    ]
    decoding = Decoding(max_new_tokens=12, repetition_penalty=1.3)
    alone = [llm.generate([p], [t], decoding=decoding)[0] for p, t in zip(prompts, tokens)]
    seen = watch_inputs(llm, monkeypatch)
    batch = llm.generate(prompts, tokens, decoding=decoding)
    assert [g.token_ids for g in batch] == [g.token_ids for g in alone]
    assert len({g.token_ids for g in batch}) > 1
    ends = [len(llm.tokenize(prompt)) - 2 for prompt in prompts]  # without image and last token
    whole = sum(len(t) for t in tokens) + sum(ends)
    assert sum(rows * length for rows, length, _ in seen if rows < 6) < whole - 90


def test_families_share_what_they_begin_with(monkeypatch):
    monkeypatch.setattr(prefill, "SHARED_AT_LEAST", 2)
    rows = ["abcdx", "abcdyz", "q", "abc", "qrs", "qrt", "zz", ""]
    prompts = [torch.tensor([[float(ord(c))] for c in row]).reshape(-1, 1) for row in rows]
    assert prefill.families(prompts) == [
        prefill.Family(0, (2, 6, 7)),
        prefill.Family(3, (0, 1, 3)),
        prefill.Family(2, (4, 5)),
    ]
    assert prefill.families(prompts[:1]) == [prefill.Family(0, (0,))]


def test_keys_and_values_stand_on_the_right(llm: ImageLLM):
    model = llm.model.model.language_model
    short, long = (t for t in visual(llm, [4, 9]))
    cache = prefill.prefill(model, [short, long])
    from transformers import DynamicCache

    single = DynamicCache(config=model.config)
    model(inputs_embeds=short[None, :-1], past_key_values=single, use_cache=True)
    for merged, alone in zip(cache.layers, single.layers, strict=True):
        assert merged.keys.shape[2] == 8
        assert not merged.keys[0, :, :5].any()
        torch.testing.assert_close(merged.keys[0, :, 5:], alone.keys[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(merged.values[0, :, 5:], alone.values[0], rtol=0, atol=1e-5)


def test_a_model_with_a_sliding_window_is_left_to_transformers():
    from transformers import MistralConfig, MistralModel

    config = MistralConfig(
        vocab_size=10, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    assert prefill.prefill(MistralModel(config).eval(), [torch.randn(6, 16)] * 2) is None


def test_beams_and_single_prompts_go_their_usual_way(llm: ImageLLM, monkeypatch):
    monkeypatch.setattr("free_video_llm.image_llm.prefill", lambda *_: pytest.fail("pre-filled"))
    prompts, tokens = [f"{IMAGE} is there a star"] * 2, visual(llm, [4, 7])
    llm.generate(prompts, tokens, decoding=Decoding(max_new_tokens=2, num_beams=2))
    llm.generate(prompts[:1], tokens[:1], decoding=Decoding(max_new_tokens=2))


def test_the_time_of_the_first_token_is_known_for_batches_too(llm: ImageLLM):
    generations = llm.generate([f"{IMAGE} what is it"] * 3, visual(llm, [40, 30, 20]))
    assert generations[0].prefill_seconds > 0
    assert all(g.prefill_seconds == generations[0].prefill_seconds for g in generations)
