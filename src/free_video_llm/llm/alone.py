"""The language model of an image LLM written alone, in transformers' layout: what vLLM is given to
decode our visual tokens with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from free_video_llm.llm.generate import ImageLLM

#: Files of a tokenizer, and what a model generates with.
_BESIDE = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
           "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json")  # fmt: skip


def write_alone(llm: ImageLLM, folder: Path, out: Path) -> None:
    """Write its language model, weights as they are, and the tokenizer of the checkpoint's folder,
    a fast one made of it where it has none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole: Any = llm.model
    with torch.device("meta"):
        alone: Any = AutoModelForCausalLM.from_config(whole.config.text_config)
    states = {f"model.{k}": v for k, v in whole.model.language_model.state_dict().items()}
    states["lm_head.weight"] = whole.lm_head.weight
    alone.load_state_dict(states, assign=True)
    alone.generation_config = whole.generation_config
    out.mkdir(parents=True, exist_ok=True)
    alone.save_pretrained(out)
    for name in _BESIDE:
        if (folder / name).is_file() and not (out / name).exists():
            shutil.copy(folder / name, out / name)
    if not any((out / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        AutoTokenizer.from_pretrained(folder).save_pretrained(out)
