"""Small random models of the families whose tokens are selected, as the Hub's repositories have
them, with what transformers' own processor makes of frames and a question."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
)

WORDS = ["<unk>", "<pad>", "<bos>", "<end>", "user", "model", "Frame", "at", "s:", "from", "what",
         "is", "it", "?", "red", "blue", "(A)", "(B)", "<0.0", "<1.0", "<2.0", "<3.0", "<4.0",
         "<5.0", "seconds>", "0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "00:00:", "00:01:",
         "00:02:", "00:03:", "00:04:", "00:05:"]  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One family.

    Attributes:
        marks: its special tokens.
        image: which of them stands for one visual token; `placeholder` what its template writes.
        config: with the ids of marks by name.
        template: how a user's turn stands in its prompt.
        around: what its processor makes of a placeholder, with {tokens} for all of a frame's.
        words: what is written before a frame at a second.
        images: frames uint8 [n,S,S,3] to the model's inputs by transformers' PIL image processor.
        side: of a frame's grid of tokens.
        options: to load it with.
    """

    marks: tuple[str, ...]
    image: str
    placeholder: str
    config: Callable[[dict[str, int]], dict[str, Any]]
    around: str
    words: Callable[[int], str]
    images: Callable[[list[Image.Image]], dict[str, Any]]
    preprocessor: dict[str, Any]
    side: int
    options: dict[str, Any]
    turn: str = "<bos> user {content} <end> model "


def ids_of(kind: Kind) -> dict[str, int]:
    return {word: number for number, word in enumerate([*WORDS, *kind.marks])}


def template_of(kind: Kind) -> str:
    before, after = kind.turn.split("{content}")
    return (
        f"{{% for m in messages %}}{before}{{% for part in m['content'] %}}"
        "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}"
        f"{kind.placeholder} {{% endif %}}{{% endfor %}}{after}{{% endfor %}}"
    )


def write_model(folder: Path, kind: Kind) -> Any:
    """The model, which is in the folder too."""
    ids = ids_of(kind)
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<end>",
        additional_special_tokens=list(kind.marks),
    )  # fmt: skip
    torch.manual_seed(9)
    values = kind.config(ids)
    model_type = values.pop("model_type")
    text = dict(values["text_config"])
    text |= {"vocab_size": len(ids), "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 1}
    config = AutoConfig.for_model(model_type, **(values | {"text_config": text}))
    model = AutoModelForImageTextToText.from_config(config).eval()
    for parameter in model.parameters():  # initialised too small to tell frames apart
        parameter.data += torch.randn(parameter.shape) * 0.08
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template_of(kind))
    (folder / "preprocessor_config.json").write_text(json.dumps(kind.preprocessor))
    return model


def _qwen_images(normal: dict[str, Any], patch: int) -> Callable[..., dict[str, Any]]:
    def images(frames: list[Image.Image]) -> dict[str, Any]:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        processor = Qwen2VLImageProcessorPil(
            patch_size=patch, size={"shortest_edge": 1, "longest_edge": 10**7}, **normal
        )
        return dict(processor(frames, return_tensors="pt"))

    return images


def _pixels(size: int, normal: dict[str, Any], *, joined: bool) -> Callable[..., dict[str, Any]]:
    """Of one size each; Idefics' kind has all images of a question in one row."""

    def images(frames: list[Image.Image]) -> dict[str, Any]:
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
            GotOcr2ImageProcessorPil,
        )
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        kind = SiglipImageProcessorPil if joined else GotOcr2ImageProcessorPil
        processor = kind(size={"height": size, "width": size}, **normal)
        values = processor(frames, return_tensors="pt")["pixel_values"]
        return {"pixel_values": values[None] if joined else values}

    return images


CLIPS = {"image_mean": [0.48145466, 0.4578275, 0.40821073],
         "image_std": [0.26862954, 0.26130258, 0.27577711]}  # fmt: skip
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")


def _frame_at(second: int) -> str:
    return f"Frame at {second}.0 s:"


def _qwen2_5(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2,
            "window_size": 56, "fullatt_block_indexes": [2], "tokens_per_second": 2,
        },
        "text_config": {
            **TEXT, "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2],
            },
        },
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"], "tie_word_embeddings": False,
    }  # fmt: skip


def _qwen2(ids: dict[str, int]) -> dict[str, Any]:
    return _qwen2_5(ids) | {
        "model_type": "qwen2_vl",
        "vision_config": {
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
    }  # fmt: skip


def _qwen3(ids: dict[str, int]) -> dict[str, Any]:
    return _qwen2_5(ids) | {
        "model_type": "qwen3_vl",
        "vision_config": {
            "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "spatial_merge_size": 2,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        },
        "text_config": {
            **TEXT, "head_dim": 8, "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
    }  # fmt: skip


def _internvl(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "internvl",
        "vision_config": {
            "model_type": "internvl_vision", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": [112, 112],
            "patch_size": [14, 14],
        },
        "text_config": {"model_type": "qwen2", **TEXT},
        "image_token_id": ids["<IMG_CONTEXT>"], "image_seq_length": 16, "downsample_ratio": 0.5,
        "tie_word_embeddings": False,
    }  # fmt: skip


def _smolvlm(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "smolvlm",
        "vision_config": {
            "model_type": "smolvlm_vision", "hidden_size": 24, "intermediate_size": 40,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
        },
        "text_config": {"model_type": "llama", **TEXT},
        "scale_factor": 2, "image_token_id": ids["<image>"], "pad_token_id": 1,
        "tie_word_embeddings": False,
    }  # fmt: skip


def _gemma3(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "gemma3",
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 24, "intermediate_size": 40,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
            "vision_use_head": False,
        },
        "text_config": {
            "model_type": "gemma3_text", **TEXT, "head_dim": 8, "query_pre_attn_scalar": 8,
            "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        "mm_tokens_per_image": 16, "image_token_id": ids["<image_soft_token>"],
        "boi_token_index": ids["<start_of_image>"], "eoi_token_index": ids["<end_of_image>"],
        "tie_word_embeddings": False,
    }  # fmt: skip


QWEN_AROUND = "{tokens}"
QWEN = {
    "marks": VISION, "image": "<|image_pad|>", "around": QWEN_AROUND,
    "placeholder": "<|vision_start|><|image_pad|><|vision_end|>",
}  # fmt: skip

KINDS: dict[str, Kind] = {
    "qwen2_vl": Kind(
        **QWEN, config=_qwen2, words=_frame_at, images=_qwen_images(CLIPS, 14),
        preprocessor=CLIPS, side=4, options={"max_pixels": 112 * 112},
    ),
    "qwen2_5_vl": Kind(
        **QWEN, config=_qwen2_5, words=_frame_at, images=_qwen_images(CLIPS, 14),
        preprocessor=CLIPS, side=4, options={"max_pixels": 112 * 112},
    ),
    "qwen3_vl": Kind(
        **QWEN, config=_qwen3, words=lambda second: f"<{second}.0 seconds>",
        images=_qwen_images(HALVES, 16), preprocessor=HALVES, side=4,
        options={"max_pixels": 128 * 128},
    ),
    "internvl": Kind(
        marks=("<img>", "<IMG_CONTEXT>", "</img>"), image="<IMG_CONTEXT>",
        placeholder="<IMG_CONTEXT>", around="<img>{tokens}</img>", config=_internvl,
        words=_frame_at, images=_pixels(112, IMAGENET, joined=False), preprocessor=IMAGENET,
        side=4, options={},
    ),
    "smolvlm": Kind(
        marks=("<image>", "<fake_token_around_image>", "<global-img>"), image="<image>",
        placeholder="<image>",
        around="<fake_token_around_image><global-img>{tokens}<fake_token_around_image>",
        config=_smolvlm, words=lambda second: f"Frame from 00:0{second}:",
        images=_pixels(64, HALVES, joined=True), preprocessor=HALVES, side=4, options={},
    ),
    "gemma3": Kind(
        marks=("<start_of_image>", "<image_soft_token>", "<end_of_image>"),
        image="<image_soft_token>", placeholder="<start_of_image>",
        around="\n\n<start_of_image>{tokens}<end_of_image>\n\n", config=_gemma3,
        words=_frame_at, images=_pixels(64, HALVES, joined=False), preprocessor=HALVES, side=4,
        options={},
    ),
}  # fmt: skip


def prompt_of(kind: Kind, seconds: list[int], question: str) -> str:
    """What transformers' processor makes of the chat: by hand, as it cannot be made here."""
    around = kind.around.replace("{tokens}", kind.image * kind.side**2)
    seen = (
        kind.placeholder.replace(kind.image, around) if kind.image in kind.placeholder else around
    )
    told = "".join(f"{kind.words(second)} {seen} " for second in seconds)
    return kind.turn.replace("{content}", f"{told}{question} ")
