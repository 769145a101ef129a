"""Prompts of different lengths pre-filled together: what each would be alone, without a mask."""

from __future__ import annotations

import pytest
import torch

from free_video_llm import VideoLLM
from free_video_llm.llm import prefill, prefix_tree
from free_video_llm.llm.generate import Decoding, ImageLLM
from free_video_llm.llm.kv_cache import KeyValues
from free_video_llm.llm.prefill import Piece, pieces
from free_video_llm.llm.prefix_tree import Branch, tree
from free_video_llm.llm.prompts import IMAGE


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
    planned = []
    monkeypatch.setattr(prefill, "pieces", lambda *a: planned.extend(pieces(*a)) or pieces(*a))
    batch = llm.generate(prompts, tokens, decoding=decoding)
    assert [g.token_ids for g in batch] == [g.token_ids for g in alone]
    assert len({g.token_ids for g in batch}) > 1
    ends = [len(llm.tokenize(prompt)) - 2 for prompt in prompts]  # without image and last token
    whole = sum(len(t) for t in tokens) + sum(ends)
    computed = [len(p.prompts) * (p.end - p.start) for step in planned for p in step]
    assert sum(computed) < whole - 90


def test_pieces_need_only_what_was_written_in_steps_before():
    lengths = dict(enumerate([12, 5, 3, 6, 4, 8, 5, 11, 13]))
    longer = Branch(6, (3, 5), (Branch(9, (), (Branch(11, (7, 8)),)),))
    found = pieces(Branch(0, (2, 6, 0), (longer, Branch(4, (4, 1)))), lengths, 10)
    assert found == [
        [
            Piece((2, 6), 0, 0, 5),  # two prompts of up to five positions, ten together
            Piece((0,), 2, 0, 12),
            Piece((3,), 3, 0, 6, range(4, 7)),  # begins as three others do
            Piece((4,), 7, 0, 4, range(8, 9)),
        ],
        [
            Piece((3, 5), 3, 6, 8),
            Piece((7,), 5, 6, 9, range(6, 7)),
            Piece((4, 1), 7, 4, 5),
        ],
        [Piece((7,), 5, 9, 11, range(6, 7))],
        [Piece((7, 8), 5, 11, 13)],
    ]
    assert pieces(Branch(3, (0, 1)), {0: 3, 1: 3}, 10) == [[Piece((0,), 0, 0, 3, range(1, 2))]]


def test_a_pass_before_the_last_positions_ends_at_the_last_keys_and_values(llm: ImageLLM):
    seen: dict[str, list[int]] = {}
    layers = llm.model.model.language_model.layers
    hooks = [
        layer.mlp.up_proj.register_forward_pre_hook(
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

    monkeypatch.setattr(prefix_tree, "SHARED_AT_LEAST", 3)
    model = llm.model.model.language_model
    first, second, third = visual(llm, [9, 6, 4])
    prompts = [second, torch.cat([first, third]), third, torch.cat([first, second]), first]
    branches = tree(dict(enumerate(prompts)), pair=0)
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
                assert not ours[place, :, length:15].any()  # masked, but read


def test_an_answer_is_the_one_that_transformers_own_cache_gives(llm: ImageLLM, monkeypatch):
    """Of one prompt and of several, with an answer that does not fit into the first buffer."""
    monkeypatch.setattr("free_video_llm.llm.kv_cache.GROWTH", 5)
    monkeypatch.setattr(llm.model.generation_config, "eos_token_id", None)
    monkeypatch.setattr(llm, "_end_ids", list)
    prompts, tokens = [f"{IMAGE} what is it"] * 3, visual(llm, [20, 9, 14])
    decoding = Decoding(max_new_tokens=40, repetition_penalty=1.3)
    stores, made = [], llm.key_values
    monkeypatch.setattr(llm, "key_values", lambda *a: stores.append(made(*a)) or stores[-1])
    ours = [*llm.generate(prompts, tokens, decoding=decoding)]
    ours += [llm.generate([p], [t], decoding=decoding)[0] for p, t in zip(prompts, tokens)]
    assert len(stores) == 4
    assert all(store.buffers[0][0].shape[2] > store.room for store in stores)
    monkeypatch.setattr(llm, "key_values", lambda *_: None)
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
    assert llm.key_values(2, 5, Decoding()) is not None
    monkeypatch.setattr(config, "text_config", MistralConfig(num_hidden_layers=1, sliding_window=4))
    assert llm.key_values(2, 5, Decoding()) is None


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
