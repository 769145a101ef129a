"""Long-CLIP's layout: a CLIP whose text encoder has 248 positions in the place of 77
(arXiv 2403.15378), as its checkpoints in transformers' form say in their config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from free_video_llm import VideoLLM
from free_video_llm.models.folder import TINY
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import build_scorer, open_scorer

LONG = "What color is the star that is next to the circle? " * 8  # some 100 tokens
LONGER = LONG * 3


def write_long_clip(folder: Path) -> CLIPModel:
    """The embedded model's CLIP with more positions, random ones, and its tokenizer."""
    config = CLIPConfig.from_pretrained(TINY / "clip")
    config.text_config.max_position_embeddings = 248
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        if (TINY / "clip" / name).exists():
            shutil.copy(TINY / "clip" / name, folder)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    tensors = {name: p.detach().clone().contiguous() for name, p in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return model


def test_a_long_question_is_read_whole(tmp_path):
    theirs = write_long_clip(tmp_path / "clip")
    scorer = build_scorer(open_scorer(tmp_path / "clip"), LoadOptions())
    ids = scorer.tokenizer(LONG, return_tensors="pt")["input_ids"]
    assert 77 < ids.shape[1] <= 248
    with torch.inference_mode():
        wanted = theirs.get_text_features(input_ids=ids).pooler_output
    (found,) = scorer.texts([LONG])
    assert not found.truncated
    torch.testing.assert_close(found.vector, F.normalize(wanted[0], dim=-1), atol=1e-5, rtol=0)


def test_only_what_is_longer_still_is_cut(tmp_path):
    write_long_clip(tmp_path / "clip")
    llm = VideoLLM.for_frames(str(tmp_path / "clip"))
    short, long = llm.towers.encode_prompts([LONG, LONGER])
    assert (short.truncated, long.truncated) == (False, True)
    video = llm.watch("sample:star", frames=4)
    assert len(video.find(LONG, plan="prompt-3").pathways[0].kept) == 3
