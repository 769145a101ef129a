"""Make the two tokenizers of `tiny`: CLIP's byte-level BPE and a sentencepiece one for the LLM.

Both know the toy world's words as single tokens and can spell everything else.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import sentencepiece
from transformers import CLIPTokenizer

from free_video_llm.tiny.questions import KINDS, PLACES, phrase
from free_video_llm.tiny.world import COLORS, SHAPES

EXTRA = (
    "in the video something a an the photo of object USER ASSISTANT sequence key frames from answer"
)


def sentences() -> list[str]:
    """All questions and answers of the world."""
    lines = [*SHAPES, *COLORS, *PLACES, "yes", "no", EXTRA]
    for shape in SHAPES:
        for color in COLORS:
            lines += [phrase(kind, shape=shape, color=color) for kind in KINDS]
            lines += [f"a {color} {shape}", phrase("shape", color=color) + " in the video"]
    questions = [line for line in lines if line.endswith("?")]
    lines += [line.rstrip("?") + " in the video?" for line in questions]
    turns = [f"USER: {line} ASSISTANT: yes" for line in questions]
    return lines + [line.lower() for line in lines] + turns


def _byte_alphabet() -> list[str]:
    """The printable stand-ins of the 256 bytes in GPT-2's and CLIP's byte-level BPE."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return [chr(b) for b in keep] + [chr(256 + i) for i in range(len(rest))]


def write_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write `vocab.json`, `merges.txt` and the tokenizer's settings."""
    words = sorted(
        {w.strip("?").lower() for line in sentences() for w in line.replace(":", "").split()}
    )
    merges: list[tuple[str, str]] = []
    pieces: list[str] = []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            # Later words must be spelt by the merges that exist already, in their order of rank.
            ranked = [p for p in merges if p in pairwise(parts)]
            pair = ranked[0] if ranked else (parts[0], parts[1])
            if not ranked:
                merges.append(pair)
                pieces.append("".join(pair))
            i = next(i for i, p in enumerate(pairwise(parts)) if p == pair)
            parts[i : i + 2] = ["".join(pair)]
    letters = _byte_alphabet()
    tokens = [*letters, *(c + "</w>" for c in letters), *dict.fromkeys(pieces)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=77
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_llm_tokenizer(folder: Path, vocab_size: int = 448) -> None:
    """Train and write `tokenizer.model` (sentencepiece BPE with byte fallback, as Llama's)."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences() * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
