"""Prompts of different lengths pre-filled together: what each would be alone, without a mask."""

from __future__ import annotations

import pytest
import torch

from free_video_llm import VideoLLM, prefill
from free_video_llm.image_llm import Decoding, ImageLLM
from free_video_llm.key_values import KeyValues
from free_video_llm.prefill import Branch
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


def letters(*rows: str) -> dict[int, torch.Tensor]:
    """Prompts of one number a position, a letter's."""
    made = [torch.tensor([[float(ord(c))] for c in row]).reshape(-1, 1) for row in rows]
    return dict(enumerate(made))


def test_a_tree_divides_prompts_by_what_they_begin_with(monkeypatch):
    monkeypatch.setattr(prefill, "SHARED_AT_LEAST", 2)
    found = prefill.tree(
        letters("abcdx", "abcdyz", "q", "abc", "qrs", "qrt", "zz", "", "abcdx"), pair=0
    )
    alike = Branch(5, (0, 8))
    assert found == Branch(0, (7, 2, 6), (Branch(3, (3, 1), (alike,)), Branch(2, (4, 5))))
    assert found.rows == (7, 2, 6, 3, 1, 0, 8, 4, 5)
    assert prefill.tree(letters("abc"), pair=0) == Branch(0, (0,))
    assert prefill.tree(letters("abc", "abc"), pair=0) == Branch(0, (), (Branch(3, (0, 1)),))


def test_what_costs_more_than_it_saves_is_not_computed_apart(monkeypatch):
    """Behind a beginning of its own a rest of r positions costs r²/2 pairs more."""
    monkeypatch.setattr(prefill, "SHARED_AT_LEAST", 2)
    two = letters("abcdxxxx", "abcdyyyy")  # saves 4 positions, for 16 pairs
    apart, together = Branch(0, (0, 1)), Branch(0, (), (Branch(4, (0, 1)),))
    assert prefill.tree(two, pair=0.24) == together
    assert prefill.tree(two, pair=0.26) == apart
    three = letters("abcdxxxx", "abcdyyyy", "abcdzzzz")  # 8 positions, for 24 pairs
    assert prefill.tree(three, pair=0.32) == Branch(0, (), (Branch(4, (0, 1, 2)),))
    assert prefill.tree(three, pair=0.34) == Branch(0, (0, 1, 2))
    # What is alike for longer is computed apart all the same; one mask is paid for but once.
    found = prefill.tree(letters("abcdefghpq", "abcdefghrs", "abxxxxxx"), pair=0.2)
    assert found == Branch(0, (2,), (Branch(8, (0, 1)),))
    # Neither beginning pays: the longer one would, but for the mask that the shorter had paid for.
    found = prefill.tree(letters("abcdxxxxxx", "abcdxxyyyy", "abzzzzzzzz"), pair=0.5)
    assert found == Branch(0, (2, 0, 1))
    found = prefill.tree(letters("abcdefpp", "abcdefrr", "abcdxx"), pair=0.5)
    assert found == Branch(0, (), (Branch(4, (2,), (Branch(6, (0, 1)),)),))


def test_the_cost_of_a_pair_falls_with_the_size_of_the_model(llm: ImageLLM):
    from transformers import LlamaConfig, LlamaModel

    model = llm.model.model.language_model
    a_layer = 4 * 160 * 160 + 3 * 160 * 432 + 2 * 160
    assert prefill.pair_cost(model) == pytest.approx(4 * 160 / a_layer, rel=1e-3)
    with torch.device("meta"):
        seven_b = LlamaModel(LlamaConfig())
    assert prefill.pair_cost(seven_b) == pytest.approx(4 * 4096 / 202.4e6, rel=1e-3)


def test_a_pass_before_the_last_positions_ends_at_the_last_keys_and_values(llm: ImageLLM):
    seen: dict[str, list[int]] = {}
    layers = llm.model.model.language_model.layers
    hooks = [
        layer.mlp.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0].shape[1])
        )
        for name, layer in (("one before", layers[-2]), ("last", layers[-1]))
    ]
    llm.generate([f"{IMAGE} what is it"] * 2, visual(llm, [90, 70]))
    for hook in hooks:
        hook.remove()
    assert max(seen["one before"]) > 90
    assert set(seen["last"]) == {1}


def test_what_is_written_is_what_each_prompt_alone_would_have(llm: ImageLLM, monkeypatch):
    from transformers import DynamicCache

    monkeypatch.setattr(prefill, "SHARED_AT_LEAST", 3)
    model = llm.model.model.language_model
    first, second, third = visual(llm, [9, 6, 4])
    prompts = [second, torch.cat([first, third]), third, torch.cat([first, second]), first]
    branches = prefill.tree(dict(enumerate(prompts)), pair=0)
    assert branches.rows == (2, 0, 4, 1, 3)
    store = KeyValues(layers=4, rows=5, room=15)
    prefill.prefill(model, prompts, branches, store)
    for place, row in enumerate(branches.rows):
        alone = DynamicCache(config=model.config)
        model(inputs_embeds=prompts[row][None], past_key_values=alone, use_cache=True)
        for layer, (keys, values) in zip(alone.layers, store.buffers.values(), strict=True):
            length = len(prompts[row])
            for ours, theirs in ((keys, layer.keys), (values, layer.values)):
                torch.testing.assert_close(ours[place, :, :length], theirs[0], rtol=0, atol=1e-5)


def test_an_answer_is_the_one_that_transformers_own_cache_gives(llm: ImageLLM, monkeypatch):
    """Of one prompt and of several, with an answer that does not fit into the first buffer."""
    monkeypatch.setattr("free_video_llm.key_values.GROWTH", 5)
    monkeypatch.setattr(llm.model.generation_config, "eos_token_id", None)
    monkeypatch.setattr(llm, "_end_ids", list)
    prompts, tokens = [f"{IMAGE} what is it"] * 3, visual(llm, [20, 9, 14])
    decoding = Decoding(max_new_tokens=40, repetition_penalty=1.3)
    stores, made = [], llm._key_values
    monkeypatch.setattr(llm, "_key_values", lambda *a: stores.append(made(*a)) or stores[-1])
    ours = [*llm.generate(prompts, tokens, decoding=decoding)]
    ours += [llm.generate([p], [t], decoding=decoding)[0] for p, t in zip(prompts, tokens)]
    assert len(stores) == 4
    assert all(store.buffers[0][0].shape[2] > store.room for store in stores)
    monkeypatch.setattr(llm, "_key_values", lambda *_: None)
    theirs = [llm.generate([p], [t], decoding=decoding)[0] for p, t in zip(prompts, tokens)]
    assert [g.token_ids for g in ours] == [g.token_ids for g in [*theirs, *theirs]]
    assert [len(g.token_ids) for g in ours] == [40] * 6


def test_a_new_token_copies_nothing_of_what_was_before(llm: ImageLLM):
    store = KeyValues(layers=1, rows=2, room=8)
    cache = store.cache(slice(0, 2), 0)
    states = torch.randn(2, 3, 4, 5)
    cache.update(states, states + 1, 0)
    before = store.buffers[0][0].data_ptr()
    keys, values = cache.update(states[:, :, :1], states[:, :, :1], 0)
    assert keys.data_ptr() == before
    assert keys.shape == values.shape == (2, 3, 5, 5)
    torch.testing.assert_close(keys[:, :, :4], states, rtol=0, atol=0)
    torch.testing.assert_close(values[:, :, :4], states + 1, rtol=0, atol=0)
    second = store.cache(slice(1, 2), 3)
    assert second.get_seq_length() == 3
    second.update(states[:1], states[:1], 0)
    torch.testing.assert_close(store.buffers[0][0][1, :, 3:7], states[0], rtol=0, atol=0)
    torch.testing.assert_close(store.buffers[0][0][0, :, :4], states[0], rtol=0, atol=0)
    second.update(states[:1], states[:1], 0)  # eleven positions: more than there is room for
    assert store.buffers[0][0].shape[2] >= 11
    torch.testing.assert_close(store.buffers[0][0][1, :, 7:11], states[0], rtol=0, atol=0)
    torch.testing.assert_close(store.buffers[0][1][0, :, :4], states[0] + 1, rtol=0, atol=0)


def test_a_model_with_a_sliding_window_is_left_to_transformers(llm: ImageLLM, monkeypatch):
    from transformers import MistralConfig

    config = llm.model.config
    assert llm._key_values(2, 5, Decoding()) is not None
    monkeypatch.setattr(config, "text_config", MistralConfig(num_hidden_layers=1, sliding_window=4))
    assert llm._key_values(2, 5, Decoding()) is None


def test_prompts_that_need_stretched_positions_are_answered_one_by_one(monkeypatch):
    llm = VideoLLM.from_pretrained("tiny", rope_scaling_factor=2).image_llm
    monkeypatch.setattr(llm.model.config.text_config, "max_position_embeddings", 60)
    prompts, tokens = [f"{IMAGE} what is it"] * 2, visual(llm, [80, 20])
    seen = watch_inputs(llm, monkeypatch)
    llm.generate(prompts, tokens, decoding=Decoding(max_new_tokens=4))
    assert {rows for rows, _, _ in seen} == {1}
    seen.clear()
    llm.generate(prompts, [tokens[1], tokens[1][:15]], decoding=Decoding(max_new_tokens=4))
    assert max(rows for rows, _, _ in seen) == 2


def test_beams_and_single_prompts_go_their_usual_way(llm: ImageLLM, monkeypatch):
    monkeypatch.setattr(llm, "_prefill", lambda *_: pytest.fail("pre-filled"))
    prompts, tokens = [f"{IMAGE} is there a star"] * 2, visual(llm, [4, 7])
    llm.generate(prompts, tokens, decoding=Decoding(max_new_tokens=2, num_beams=2))
    llm.generate(prompts[:1], tokens[:1], decoding=Decoding(max_new_tokens=2))


def test_the_time_of_the_first_token_is_known_for_batches_too(llm: ImageLLM):
    generations = llm.generate([f"{IMAGE} what is it"] * 3, visual(llm, [40, 30, 20]))
    assert generations[0].prefill_seconds > 0
    assert all(g.prefill_seconds == generations[0].prefill_seconds for g in generations)
