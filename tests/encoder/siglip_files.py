"""A small random SigLIP model in its own layout, with either kind of tokenizer."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import SiglipConfig, SiglipModel

WORDS = "what colour is the star a red green blue circle moves left right up down who wins 0 1 2"


def siglip_model(*, image: int = 60, patch: int = 20, seed: int = 3) -> SiglipModel:
    torch.manual_seed(seed)
    vision = {
        "image_size": image, "patch_size": patch, "hidden_size": 16, "num_hidden_layers": 3,
        "intermediate_size": 24, "num_attention_heads": 2,
    }  # fmt: skip
    text = {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
        "num_attention_heads": 2, "max_position_embeddings": 8, "projection_size": 16,
    }  # fmt: skip
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    for parameter in model.parameters():  # initialised too small to tell frames apart
        parameter.data += torch.randn(parameter.shape) * 0.1
    return model.eval()


def write_siglip(folder: Path, model: SiglipModel | None = None) -> Path:
    """As google/siglip-base-patch16-224 has it: with a sentencepiece model."""
    model = model or siglip_model()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    tensors = {name: p.detach().clone().contiguous() for name, p in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 20), model_writer=trained, vocab_size=40,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, model_type="unigram", minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(trained.getvalue())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "SiglipTokenizer", "model_max_length": 8})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    return folder
