"""What the language model's pre-fill costs by the number of visual tokens."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from free_video_llm import Plan
from measure import Curve, Figure, Series, alone, interleaved

SECTION = "Cost against tokens"
LENGTHS = (500, 1000, 1500, 2000, 2500, 3000, 3500, 4000)
PRESETS = ("paper-small", "freeva", "paper", "ig-vlm", "slowfast")
#: Layers and width of a Llama: four of a 7B model's 32 layers, at half its width.
LAYERS, WIDTH = 4, 2048


def figures(repeats: int) -> tuple[list[Figure], list[Curve]]:
    """Seconds and memory of a pre-fill from 500 to 4,000 tokens, the presets marked."""
    llm = random_llm()
    times = interleaved(
        {str(n): lambda n=n: first_token(llm, n) for n in LENGTHS},
        repeats,
        what="pre-fill",
        warm=False,
    )
    memory = {n: _added(n) for n in LENGTHS}
    marks = tuple((name, float(count_tokens(name))) for name in PRESETS)
    pairs = (("1000", "2500"), ("2500", "3500"))
    lines = [
        Figure(
            SECTION, f"pre-fill of {int(more):,} tokens ÷ of {int(fewer):,}", times[more],
            times[fewer], note=f"{LAYERS} layers × {WIDTH}",
        )
        for fewer, more in pairs
    ] + [
        Figure(
            SECTION, f"memory that a pre-fill of {int(more):,} tokens adds ÷ of {int(fewer):,}",
            Series(more, (memory[int(more)],)), Series(fewer, (memory[int(fewer)],)), "MB",
        )
        for fewer, more in pairs
    ]  # fmt: skip
    return lines, [
        Curve(SECTION, "pre-fill", "s", tuple((n, times[str(n)].median) for n in LENGTHS), marks),
        Curve(SECTION, "memory added", "MB", tuple(memory.items()), marks),
    ]


def count_tokens(preset: str) -> int:
    """Of 50 frames of 24×24 patches."""
    return Plan.preset(preset).count_tokens(frames=50, side=24)


def random_llm() -> LlamaForCausalLM:
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=WIDTH, intermediate_size=11008 * WIDTH // 4096,
        num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 128, max_position_embeddings=8192,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def first_token(llm: LlamaForCausalLM, tokens: int) -> torch.Tensor:
    """The scores of the first new token after a prompt of so many."""
    embeds = torch.zeros(1, tokens, WIDTH)
    return llm(inputs_embeds=embeds, use_cache=True, logits_to_keep=1).logits


def _added(tokens: int) -> float:
    report = alone("prefill", str(tokens))
    return (report["peak"] - report["before"]) / 1e6
