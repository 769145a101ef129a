"""Layers of our own write the keys and values that transformers' write."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
)

from free_video_llm import VideoLLM, llama_pass
from free_video_llm.key_values import KeyValues
from free_video_llm.llama_pass import LlamaPass, is_known

SIZES = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 6, "vocab_size": 20,
}  # fmt: skip
MODELS = {
    "plain": (LlamaModel, LlamaConfig, {}),
    "grouped heads": (LlamaModel, LlamaConfig, {"num_key_value_heads": 2}),
    "wide heads": (LlamaModel, LlamaConfig, {"head_dim": 16, "num_key_value_heads": 3}),
    "biases": (LlamaModel, LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "stretched positions": (
        LlamaModel, LlamaConfig,
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}},
    ),
    "Mistral": (MistralModel, MistralConfig, {"num_key_value_heads": 2, "sliding_window": None}),
}  # fmt: skip


def random_model(model: type, config: type, **options: object) -> torch.nn.Module:
    torch.manual_seed(3)
    made = model(config(**SIZES | options)).eval()
    for parameter in made.parameters():  # norms of ones and biases of zeros would show nothing
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def assert_written(store: KeyValues, row: int, model: torch.nn.Module, prompt: torch.Tensor):
    """A row holds what transformers' own layers write for a prompt [L,D] alone."""
    theirs = DynamicCache(config=model.config)
    model(inputs_embeds=prompt[None], past_key_values=theirs, use_cache=True)
    for number, layer in enumerate(theirs.layers):
        keys, values = store.written(number, slice(row, row + 1), len(prompt))
        torch.testing.assert_close(keys, layer.keys, rtol=0, atol=1e-5)
        torch.testing.assert_close(values, layer.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_keys_and_values_are_those_of_transformers(name: str):
    made, config, options = MODELS[name]
    model = random_model(made, config, **options)
    assert is_known(model)
    inputs = torch.randn(2, 23, 48)
    given = inputs.clone()
    store = KeyValues(layers=3, rows=4, room=30)
    ours = LlamaPass(model, store, list(inputs))
    ours(inputs[:, :9], 1, 0)
    ours(inputs[:, 9:10], 1, 9)
    ours(inputs[:1, 10:], 1, 10)
    ours(inputs[1:, 10:], 2, 10)
    assert torch.equal(inputs, given)
    for row, prompt in enumerate(inputs, start=1):
        assert_written(store, row, model, prompt)


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_what_all_prompts_have_in_the_same_place_passes_the_first_layer_once(name, monkeypatch):
    monkeypatch.setattr(llama_pass, "SHARED_AT_LEAST", 8)
    made, config, options = MODELS[name]
    model = random_model(made, config, **options)
    prompts = [*torch.randn(3, 23, 48)]
    prompts[2] = prompts[2][:18]
    for prompt in prompts[1:]:
        prompt[5:15] = prompts[0][5:15]
    store = KeyValues(layers=3, rows=3, room=30)
    seen: dict[int, list[int]] = {0: [], 1: []}
    for number in seen:
        model.layers[number].self_attn.v_proj.register_forward_pre_hook(
            lambda _, inputs, number=number: seen[number].append(inputs[0].shape[1])
        )
    ours = LlamaPass(model, store, prompts)
    ours(torch.stack(prompts[:2]), 0, 0)
    ours(prompts[2][None], 2, 0)
    assert seen == {0: [10, 13, 8], 1: [23, 18]}
    for row, prompt in enumerate(prompts):
        assert_written(store, row, model, prompt)


@torch.inference_mode()
def test_a_piece_that_ends_within_what_is_alike_goes_its_usual_way(monkeypatch):
    monkeypatch.setattr(llama_pass, "SHARED_AT_LEAST", 8)
    model = random_model(LlamaModel, LlamaConfig)
    prompts = [*torch.randn(2, 23, 48)]
    prompts[1][5:15] = prompts[0][5:15]
    inputs = torch.stack(prompts)
    for ends in ((3, 15, 23), (15, 23), (9, 23)):
        store = KeyValues(layers=3, rows=2, room=30)
        ours = LlamaPass(model, store, prompts)
        for start, end in zip((0, *ends), ends):
            ours(inputs[:, start:end], 0, start)
        for row, prompt in enumerate(prompts):
            assert_written(store, row, model, prompt)


def test_what_is_not_llama_in_float32_on_a_cpu_is_left_to_transformers():
    plain = random_model(LlamaModel, LlamaConfig)
    assert is_known(plain)
    assert not is_known(random_model(Qwen2Model, Qwen2Config))  # biases of its own
    assert not is_known(random_model(LlamaModel, LlamaConfig, hidden_act="gelu"))
    assert not is_known(random_model(LlamaModel, LlamaConfig).to(torch.bfloat16))
    with torch.device("meta"):
        assert not is_known(LlamaModel(LlamaConfig(**SIZES)))

    class Changed(LlamaModel):
        pass

    assert not is_known(random_model(Changed, LlamaConfig))


def test_a_model_that_accelerate_moves_in_parts_is_left_to_transformers():
    from accelerate import cpu_offload

    model = random_model(LlamaModel, LlamaConfig)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert not is_known(model)


def test_the_embedded_model_is_known():
    llm = VideoLLM.from_pretrained("tiny").image_llm
    assert is_known(llm.model.model.language_model)
