"""Writes the language model of an image LLM alone, in transformers' layout: what a vLLM server is
given to decode our visual tokens with (`llm/remote_tokens.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from free_video_llm.errors import ConfigError
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.models.load import load
from free_video_llm.models.options import LoadOptions

#: Files of a tokenizer, and what a model generates with.
_BESIDE = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
           "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json")  # fmt: skip


def write_language_model(
    source: str | Path, out: str | Path, *, dtype: str | None = None, revision: str | None = None
) -> Path:
    """Write the language model of a checkpoint whose visual tokens we build.

    Args:
        dtype: of the weights; the checkpoint's own where None.

    Raises:
        CheckpointError: it cannot be loaded.
        ConfigError: its visual tokens are its own, or the folder is not empty.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: name another folder")
    loaded = load(source, LoadOptions(device="cpu", dtype=dtype, revision=revision, scorer="tiny"))
    if not isinstance(loaded.llm, ImageLLM):
        raise ConfigError(
            f"the visual tokens of {loaded.name} are its own: serve the whole model, and ask it as "
            "a picture model (vllm:NAME)"
        )
    whole: Any = loaded.llm.model
    config = whole.config.text_config
    with torch.device("meta"):
        alone: Any = AutoModelForCausalLM.from_config(config)
    states = {f"model.{k}": v for k, v in whole.model.language_model.state_dict().items()}
    states["lm_head.weight"] = whole.lm_head.weight
    alone.load_state_dict(states, assign=True)
    alone.generation_config = whole.generation_config
    out.mkdir(parents=True, exist_ok=True)
    alone.save_pretrained(out)
    assert loaded.folder is not None
    for name in _BESIDE:
        if (loaded.folder / name).is_file() and not (out / name).exists():
            shutil.copy(loaded.folder / name, out / name)
    if not any((out / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        AutoTokenizer.from_pretrained(loaded.folder).save_pretrained(out)  # of a fast kind
    return out
