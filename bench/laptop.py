"""What a question costs on an ordinary machine: a small model of random weights, on the CPU.

    python bench/laptop.py                  # half an hour on two cores, 18 GB of memory
    python bench/laptop.py --size small     # that it runs

LLaVA-OneVision-0.5B (a SigLIP tower of 0.4 billion parameters, Qwen2 of 0.5), whose tokens we
build; Qwen2.5-VL-3B and SmolVLM2-256M and -500M, whose tokens are selected; and the last two again,
shown pictures. CLIP ViT-B/32 scores. Random weights of the real classes and sizes: cost does not
depend on their values.
Every row is a process of its own. Writes a table as Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    CLIPConfig,
    CLIPModel,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from free_video_llm import VideoLLM
from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.encoder.tower import Towers
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.selected_tokens import SelectedTokensLLM
from free_video_llm.llm.tokenizer import load_tokenizer
from free_video_llm.llm.transformers_chat import TransformersChat
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.folder import TINY
from free_video_llm.models.load import Loaded
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import TINY_SCORER, build_scorer, open_scorer
from free_video_llm.models.smolvlm import SmolVLM
from free_video_llm.profiling.memory import peak_bytes
from gpu import random_qwen

NEW_TOKENS = 16
QUESTIONS = ("What is the man doing?", "What does the woman hold?")
PLANS = {"lean": 50, "uniform": 8}
CLIPS = {"10 s": 10, "10 min": 600}
RATE = 10
HEADER = ("model", "clip", "plan", "frames scored", "prompt, tokens", "first token, s",
          "16 tokens, s", "next question, s", "peak memory, GB")  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Widths, inner widths, layers and heads: of the tower, the language model and the scorer."""

    image: int
    tower: tuple[int, int, int, int]
    llm: tuple[int, int, int, int]
    scorer: tuple[int, int, int, int]


NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def onevision(size: Size) -> VideoLLM:
    """A token model of random weights in float32, with its scorer."""
    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model", "image_size": size.image, "patch_size": 14,
            "vision_use_head": False, **dict(zip(NAMES, size.tower, strict=True)),
        },
        text_config={
            "model_type": "qwen2", "vocab_size": 152_000, "num_key_value_heads": 2,
            "max_position_embeddings": 32_768, "tie_word_embeddings": True,
            **dict(zip(NAMES, size.llm, strict=True)),
        },
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None  # random weights may end at any token
    towers = Towers(
        scorer=scorer(size),
        llm_tower=model.model.vision_tower,
        feature_layer=-1,
        normalisation=HALF,
    )
    llm = ImageLLM(model, load_tokenizer(TINY), after_image=model.model.image_newline)
    return VideoLLM(Loaded("random OneVision", "bench", None, towers, llm, "plain"))


def qwen(size: Size) -> VideoLLM:
    """Qwen2.5-VL-3B of random weights in float32, with its scorer."""
    name = "small" if size == SMALL else "3b"
    return random_qwen(name, torch.device("cpu"), torch.float32)


def smolvlm(size: Size, *, key_values: int, level: str) -> VideoLLM:
    """A SmolVLM2 of random weights in float32, with its scorer, at either level."""
    marks = ["<unk>", "<pad>", "<s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
             "<global-img>"]  # fmt: skip
    words = Tokenizer(WordLevel({m: n for n, m in enumerate(marks)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        additional_special_tokens=marks[3:],
    )  # fmt: skip
    images = SmolVLMImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": 4 * size.image},
        max_image_size={"longest_edge": size.image},
    )  # fmt: skip
    template = (
        "<s> {% for part in messages[0]['content'] %}{% if part['type'] == 'text' %}"
        "{{ part['text'] }} {% else %}<image> {% endif %}{% endfor %}"
    )
    tokens = (size.image // 16 // 4) ** 2
    processor = Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=template)
    config = SmolVLMConfig(
        vision_config={
            "image_size": size.image, "patch_size": 16, **dict(zip(NAMES, size.tower, strict=True)),
        },
        text_config={
            "model_type": "llama", "vocab_size": 49_280, "num_key_value_heads": key_values,
            "max_position_embeddings": 8_192, "pad_token_id": 1,
            **dict(zip(NAMES, size.llm, strict=True)),
        },
        scale_factor=4, image_token_id=4, pad_token_id=1,
    )  # fmt: skip
    model = SmolVLMForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 1
    if level == "pictures":
        towers, llm = Towers(scorer=scorer(size)), TransformersChat(model, processor)
    else:
        family, opened = SmolVLM(), Opened(folder=Path("nowhere"), layout="memory", config=config,
                                           scorer=None, conv_mode="chat")  # fmt: skip
        tower = family.tower(model, opened, LoadOptions())
        towers = Towers(scorer=scorer(size), llm_tower=tower)
        wiring = family.wiring(model, tower, tokenizer)
        llm = SelectedTokensLLM(model, tokenizer, template, wiring)
    return VideoLLM(Loaded("random SmolVLM", "bench", None, towers, llm, "chat"))


def scorer(size: Size) -> ClipScorer:
    vision = {"image_size": 224, "patch_size": 32, **dict(zip(NAMES, size.scorer, strict=True))}
    words = build_scorer(open_scorer(TINY_SCORER), LoadOptions()).tokenizer
    return ClipScorer(CLIPModel(CLIPConfig(vision_config=vision)).eval(), words)


SCORER = (768, 3072, 12, 12)
SMALL = Size(98, (64, 96, 3, 4), (56, 96, 2, 14), (48, 96, 2, 4))
SMALL_SMOL = Size(64, (64, 96, 3, 4), (60, 96, 2, 15), (48, 96, 2, 4))
SMOL_TOWER = (768, 3072, 12, 12)
SMOL_256M = Size(512, SMOL_TOWER, (576, 1536, 30, 9), SCORER)
SMOL_500M = Size(512, SMOL_TOWER, (960, 2560, 32, 15), SCORER)
SMALL_256M = replace(SMALL_SMOL, llm=(54, 96, 2, 9))
#: By name: how it is built, at full size and small.
MODELS: dict[str, tuple[Callable[[Size], VideoLLM], Size, Size]] = {
    "SmolVLM2-256M": (partial(smolvlm, key_values=3, level="tokens"), SMOL_256M, SMALL_256M),
    "SmolVLM2-256M, pictures": (
        partial(smolvlm, key_values=3, level="pictures"),
        SMOL_256M,
        SMALL_256M,
    ),
    "SmolVLM2-500M": (partial(smolvlm, key_values=5, level="tokens"), SMOL_500M, SMALL_SMOL),
    "SmolVLM2-500M, pictures": (
        partial(smolvlm, key_values=5, level="pictures"),
        SMOL_500M,
        SMALL_SMOL,
    ),
    "LLaVA-OneVision-0.5B": (
        onevision,
        Size(384, (1152, 4304, 26, 16), (896, 4864, 24, 14), SCORER),
        SMALL,
    ),
    # Its sizes are in gpu.py.
    "Qwen2.5-VL-3B": (qwen, replace(SMALL, image=448), SMALL),
}


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


def measure(clip: str, plan: str, model: str, size: str) -> dict[str, float]:
    """One row, in this process."""
    torch.manual_seed(0)
    build, full, small = MODELS[model]
    llm = build(full if size == "full" else small)
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
        "prompt": first.prompt_tokens,
        "peak_gb": peak_bytes() / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--model", choices=MODELS, action="append", help="several times")
    parser.add_argument("--one", nargs=3, metavar=("CLIP", "PLAN", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.size)))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32\n")
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * 3 + "|---:" * (len(HEADER) - 3) + "|")
    with tempfile.TemporaryDirectory() as folder:
        clips = {name: Path(folder) / f"{seconds}.mp4" for name, seconds in CLIPS.items()}
        for name, seconds in CLIPS.items():
            write_clip(clips[name], seconds)
        for model in options.model or MODELS:
            for name, clip in clips.items():
                for plan, frames in PLANS.items():
                    command = [sys.executable, __file__, "--size", options.size, "--one"]
                    done = subprocess.run(
                        [*command, str(clip), plan, model], check=True, capture_output=True,
                        text=True,
                    )  # fmt: skip
                    row = json.loads(done.stdout.splitlines()[-1])
                    print(f"| {model} | {name} | `{plan}` | {frames} | {row['prompt']:,} | "
                          f"{row['first_token']:.1f} | {row['first']:.1f} | {row['next']:.1f} | "
                          f"{row['peak_gb']:.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
