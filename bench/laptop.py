"""What a question costs on an ordinary machine: a small model of random weights, on the CPU.

    python bench/laptop.py                  # a quarter of an hour on two cores, 8 GB of memory
    python bench/laptop.py --size small     # that it runs

LLaVA-OneVision-0.5B (a SigLIP tower of 0.4 billion parameters, Qwen2 of 0.5) beside CLIP ViT-B/32,
which scores. Random weights of the real classes and sizes: cost does not depend on their values.
Every row is a process of its own. Writes a table as Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
)

from free_video_llm import VideoLLM
from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.encoder.tower import Towers
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.tokenizer import load_tokenizer
from free_video_llm.models.folder import TINY
from free_video_llm.models.load import Loaded
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import TINY_SCORER, build_scorer, open_scorer
from free_video_llm.profiling.memory import peak_bytes

NEW_TOKENS = 16
QUESTIONS = ("What is the man doing?", "What does the woman hold?")
PLANS = {"paper-small": 50, "uniform": 8}
CLIPS = {"10 s": 10, "10 min": 600}
RATE = 10


@dataclass(frozen=True)
class Size:
    """Widths, inner widths, layers and heads: of the tower, the language model and the scorer."""

    image: int
    tower: tuple[int, int, int, int]
    llm: tuple[int, int, int, int]
    scorer: tuple[int, int, int, int]


SIZES = {
    "full": Size(384, (1152, 4304, 26, 16), (896, 4864, 24, 14), (768, 3072, 12, 12)),
    "small": Size(98, (64, 96, 3, 4), (56, 96, 2, 14), (48, 96, 2, 4)),
}


def model_of(size: Size) -> VideoLLM:
    """The model and its scorer, of random weights in float32."""
    torch.manual_seed(0)
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model", "image_size": size.image, "patch_size": 14,
            "vision_use_head": False, **dict(zip(names, size.tower, strict=True)),
        },
        text_config={
            "model_type": "qwen2", "vocab_size": 152_000, "num_key_value_heads": 2,
            "max_position_embeddings": 32_768, "tie_word_embeddings": True,
            **dict(zip(names, size.llm, strict=True)),
        },
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None  # random weights may end at any token
    vision = {"image_size": 224, "patch_size": 32, **dict(zip(names, size.scorer, strict=True))}
    clip = CLIPModel(CLIPConfig(vision_config=vision)).eval()
    words = build_scorer(open_scorer(TINY_SCORER), LoadOptions()).tokenizer
    towers = Towers(
        scorer=ClipScorer(clip, words),
        llm_tower=model.model.vision_tower,
        feature_layer=-1,
        normalisation=HALF,
    )
    llm = ImageLLM(model, load_tokenizer(TINY), after_image=model.model.image_newline)
    return VideoLLM(Loaded("random OneVision", "bench", None, towers, llm, "plain"))


def write_clip(path: Path, seconds: int) -> None:
    """Moving gradients, 640 × 360."""
    y, x = np.mgrid[0:360, 0:640]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(seconds * RATE):
            pixels = np.stack([(x + 3 * number) % 256, (y + number) % 256, (x + y) % 256], -1)
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def measure(clip: str, plan: str, size: str) -> dict[str, float]:
    """One row, in this process."""
    llm = model_of(SIZES[size])
    start = time.perf_counter()
    video = llm.watch(clip, frames=PLANS[plan], plan=plan)
    first = video.ask(QUESTIONS[0], plan=plan, max_new_tokens=NEW_TOKENS)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    video.ask(QUESTIONS[1], plan=plan, max_new_tokens=NEW_TOKENS)
    return {
        "first_token": whole - first.timings.generate,
        "first": whole,
        "next": time.perf_counter() - start,
        "tokens": len(first.visual_tokens),
        "peak_gb": peak_bytes() / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--one", nargs=2, metavar=("CLIP", "PLAN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.size)))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32\n")
    print("| clip | plan | frames looked at | tokens | first token, s | 16 tokens, s | next "
          "question, s | peak memory, GB |\n|---|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in CLIPS.items():
            clip = Path(folder) / "clip.mp4"
            write_clip(clip, seconds)
            for plan, frames in PLANS.items():
                command = [sys.executable, __file__, "--size", options.size, "--one"]
                done = subprocess.run(
                    [*command, str(clip), plan], check=True, capture_output=True, text=True
                )
                row = json.loads(done.stdout.splitlines()[-1])
                print(f"| {name} | `{plan}` | {frames} | {row['tokens']:,} | "
                      f"{row['first_token']:.1f} | {row['first']:.1f} | {row['next']:.1f} | "
                      f"{row['peak_gb']:.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
