"""A LLaVA of the real classes with random weights, at any size, put together in memory."""

from __future__ import annotations

import copy
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
from free_video_llm.checkpoints import TINY, Loaded
from free_video_llm.image_llm import ImageLLM
from free_video_llm.llm_tokenizer import load_tokenizer
from free_video_llm.vision import Towers


def random_llava(
    *, layers: int, width: int, shared: bool, llm_width: int = 512, llm_layers: int = 4
) -> VideoLLM:
    """576 patches of `layers` × `width`, and a small Llama; the tokenizers are those of `tiny`."""
    torch.manual_seed(0)
    heads = width // 64
    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 256,
    }
    clip_tokenizer = CLIPTokenizer.from_pretrained(TINY / "clip")
    text = {
        "vocab_size": len(clip_tokenizer),
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "projection_dim": 256,
        "eos_token_id": clip_tokenizer.eos_token_id,
    }
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=256))
    tokenizer = load_tokenizer(TINY)
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=llm_width,
        intermediate_size=4 * llm_width,
        num_hidden_layers=llm_layers,
        num_attention_heads=8,
        max_position_embeddings=8192,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=clip.config.vision_config.to_dict(),
            text_config=llama,
            image_token_index=len(tokenizer) - 1,
        )
    )
    tower = clip.vision_model if shared else copy.deepcopy(clip.vision_model)
    model.model.vision_tower = tower
    towers = Towers(scorer=clip, tokenizer=clip_tokenizer, llm_tower=None if shared else tower)
    return VideoLLM(Loaded("random", "memory", Path(), towers, ImageLLM(model, tokenizer), "plain"))
