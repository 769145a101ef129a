"""A LLaVA of the real classes with random weights, at any size, put together in memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from free_video_llm import VideoLLM
from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.encoder.tower import Towers
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.tokenizer import load_tokenizer
from free_video_llm.models.load import TINY, Loaded


@dataclass(frozen=True)
class Clip:
    """The size of a CLIP model; the text encoder has as many heads of 64."""

    layers: int
    width: int
    size: int = 336
    patch: int = 14
    text_layers: int = 4
    text_width: int = 256
    projection: int = 256

    def build(self) -> CLIPModel:
        tokenizer = CLIPTokenizer.from_pretrained(TINY / "clip")
        vision = {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.width // 64),
            "image_size": self.size,
            "patch_size": self.patch,
            "projection_dim": self.projection,
        }
        text = {
            "vocab_size": len(tokenizer),
            "hidden_size": self.text_width,
            "intermediate_size": 4 * self.text_width,
            "num_hidden_layers": self.text_layers,
            "num_attention_heads": self.text_width // 64,
            "projection_dim": self.projection,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        return CLIPModel(
            CLIPConfig(text_config=text, vision_config=vision, projection_dim=self.projection)
        )


@dataclass(frozen=True)
class Size:
    """How large the bench's models are."""

    name: str
    clip: Clip
    llm_layers: int
    llm_width: int

    def __str__(self) -> str:
        clip = self.clip
        return (
            f"towers of {clip.layers} layers × {clip.width} at {clip.size} px, "
            f"a language model of {self.llm_layers} × {self.llm_width}"
        )


#: The real number of patches, cut in depth and width.
QUICK = Size("quick", Clip(6, 384), llm_layers=4, llm_width=512)
#: Towers and text encoder as CLIP ViT-L/14 at 336 px has them.
FULL = Size(
    "full",
    Clip(24, 1024, text_layers=12, text_width=768, projection=768),
    llm_layers=8,
    llm_width=1024,
)
SIZES = {size.name: size for size in (QUICK, FULL)}
#: A small scoring model, for either: as CLIP ViT-B/32 at 224 px, cut as its towers are.
SCORERS = {
    "quick": Clip(3, 256, size=224, patch=32),
    "full": Clip(12, 768, size=224, patch=32, text_layers=12, text_width=512, projection=512),
}


def random_llava(size: Size, *, shared: bool, scorer: Clip | None = None) -> VideoLLM:
    """A LLaVA whose tower is the scorer's own, or one of its own beside it; the tokenizers are
    those of `tiny`."""
    torch.manual_seed(0)
    clip = size.clip.build()
    tower = clip.vision_model if shared else copy.deepcopy(clip.vision_model)
    tokenizer = load_tokenizer(TINY)
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.llm_width,
        intermediate_size=4 * size.llm_width,
        num_hidden_layers=size.llm_layers,
        num_attention_heads=size.llm_width // 64,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # The model's own tower is replaced: not built at full depth for nothing.
    flat = clip.config.vision_config.to_dict() | {"num_hidden_layers": 1}
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=flat, text_config=llama, image_token_index=len(tokenizer) - 1)
    )
    model.model.vision_tower = tower
    words = CLIPTokenizer.from_pretrained(TINY / "clip")
    towers = Towers(
        scorer=ClipScorer(scorer.build() if scorer else clip, words),
        llm_tower=None if shared else tower,
    )
    return VideoLLM(Loaded("random", "memory", Path(), towers, ImageLLM(model, tokenizer), "plain"))
