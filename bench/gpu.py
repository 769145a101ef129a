"""What a question costs on a GPU with a full-size model of random weights, in one file.

    python bench/gpu.py                                           # minutes, a card of 40 GB
    python bench/gpu.py --model qwen2.5-vl                        # or llava-onevision
    python bench/gpu.py --size small --device cpu --dtype float32   # that it runs

LLaVA-1.6-7B, LLaVA-OneVision-7B (SigLIP so400m, Qwen2-7B) and Qwen2.5-VL-7B. Against transformers'
own path and the bare passes: the family's encoder over every frame, and its `generate` over the
same tokens.

Needs torch, transformers, numpy and this package (PyAV with it). Random weights of the real classes
and sizes: cost does not depend on their values. Writes a table as Markdown and the figures as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from free_video_llm import Plan, VideoLLM
from free_video_llm.answer import Answer
from free_video_llm.asking import Asked, frames_of
from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.siglip_scorer import HALF
from free_video_llm.encoder.tower import Towers
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.selected_tokens import SeenFrames, SelectedTokensLLM
from free_video_llm.llm.tokenizer import load_tokenizer
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.folder import TINY
from free_video_llm.models.load import Loaded
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.qwen_vl import QwenVL
from free_video_llm.pipeline import Video
from free_video_llm.video.read import read_frames

FRAMES = 50
NEW_TOKENS = 32
PLAN = Plan.preset("paper")
QUESTIONS = [f"What is the {who} doing {when}?" for who in ("man", "woman", "child", "dog", "cat")
             for when in ("now", "first", "last", "with the ball", "in the end")]  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A model: its tower's image size, widths and layers; its language model's, and its heads."""

    image: int
    tower: tuple[int, int, int]
    llm: tuple[int, int, int, int]


SIZES = {
    # CLIP ViT-L/14 at 336 px; Vicuna 7B. Width, inner width, layers; and heads.
    "7b": Size(336, (1024, 4096, 24), (4096, 11008, 32, 32)),
    "small": Size(112, (64, 128, 3), (64, 128, 2, 4)),
}


@contextlib.contextmanager
def made_of(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Models are made on this device, of this type."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(usual)


def small_scorer(device: torch.device, dtype: torch.dtype, *, small: bool) -> ClipScorer:
    """A CLIP ViT-B/32, as it scores where the model has no text encoder."""
    layers = 1 if small else 12
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 1 + layers,
              "num_attention_heads": 12, "image_size": 224, "patch_size": 32}  # fmt: skip
    text = {"hidden_size": 512, "num_hidden_layers": layers, "num_attention_heads": 8,
            "intermediate_size": 2048}  # fmt: skip
    with made_of(device, dtype):
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=512))
    return ClipScorer(clip.eval(), CLIPTokenizer.from_pretrained(TINY / "clip"))


def qwen2(size: str) -> dict[str, Any]:
    """The sizes of Qwen2-7B and Qwen2.5-7B, of Qwen2.5-3B, or small ones."""
    if size == "3b":
        return {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
                "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
                "max_position_embeddings": 32768, "tie_word_embeddings": True}  # fmt: skip
    if size == "small":
        return {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32064,
                "max_position_embeddings": 32768}  # fmt: skip
    return {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
            "max_position_embeddings": 32768}  # fmt: skip


def random_onevision(size: str, device: torch.device, dtype: torch.dtype) -> VideoLLM:
    """LLaVA-OneVision-7B."""
    small = size == "small"
    vision = {"model_type": "siglip_vision_model", "hidden_size": 64 if small else 1152,
              "intermediate_size": 128 if small else 4304, "num_hidden_layers": 2 if small else 26,
              "num_attention_heads": 1 if small else 16, "patch_size": 14,
              "image_size": 112 if small else 384, "vision_use_head": False}  # fmt: skip
    text = {"model_type": "qwen2", **qwen2(size)}
    config = LlavaOnevisionConfig(vision_config=vision, text_config=text, image_token_index=32000,
                                  video_token_index=32001, vision_feature_layer=-1)  # fmt: skip
    with made_of(device, dtype):
        model = LlavaOnevisionForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    towers = Towers(
        scorer=small_scorer(device, dtype, small=small), llm_tower=model.model.vision_tower,
        feature_layer=-1, normalisation=HALF,
    )  # fmt: skip
    llm = ImageLLM(model, load_tokenizer(TINY), after_image=model.model.image_newline)
    return VideoLLM(Loaded("LLaVA-OneVision", "memory", Path(), towers, llm, "image_seq_v3"))


def random_qwen(size: str, device: torch.device, dtype: torch.dtype) -> VideoLLM:
    """Qwen2.5-VL-7B or -3B, its frames of 448 px."""
    small = size == "small"
    text = qwen2(size)
    head = text["hidden_size"] // text["num_attention_heads"]
    vision = {"depth": 2 if small else 32, "hidden_size": 64 if small else 1280,
              "intermediate_size": 128 if small else 3420, "num_heads": 2 if small else 16,
              "out_hidden_size": text["hidden_size"], "patch_size": 14, "spatial_merge_size": 2,
              "window_size": 112, "fullatt_block_indexes": [1] if small else [7, 15, 23, 31],
              "tokens_per_second": 2}  # fmt: skip
    sections = [head // 8, 3 * head // 16, head // 2 - head // 8 - 3 * head // 16]
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6,
                               "mrope_section": sections}  # fmt: skip
    marks = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"]
    words = {word: number for number, word in enumerate(["<unk>", "<pad>", *marks])}
    table = Tokenizer(WordLevel(words, unk_token="<unk>"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=table, unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=marks,
    )  # fmt: skip
    config = Qwen2_5_VLConfig(
        vision_config=vision, text_config=text, image_token_id=words["<|image_pad|>"],
        vision_start_token_id=words["<|vision_start|>"], video_token_id=31000,
        vision_end_token_id=words["<|vision_end|>"],
        tie_word_embeddings=text.get("tie_word_embeddings", False),
    )  # fmt: skip
    with made_of(device, dtype):
        model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    family, scorer = QwenVL(), small_scorer(device, dtype, small=small)
    opened = Opened(folder=Path("nowhere"), layout="memory", config=config, scorer=None,
                    conv_mode="chat")  # fmt: skip
    tower = family.tower(model, opened, LoadOptions(max_pixels=112 * 112 if small else None))
    llm = SelectedTokensLLM(model, tokenizer, QWEN_TEMPLATE, family.wiring(model, tower, tokenizer))
    towers = Towers(scorer=scorer, llm_tower=tower)
    return VideoLLM(Loaded("Qwen2.5-VL", "memory", Path(), towers, llm, "chat"))


QWEN_TEMPLATE = (
    "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }} {% else %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% endif %}{% endfor %}{% endfor %}"
)


def random_llava(size: Size, device: torch.device, dtype: torch.dtype) -> VideoLLM:
    """A LLaVA-1.6 whose tower was fine-tuned, with the CLIP model that it came from."""
    width, inner, layers = size.tower
    vision = {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64), "image_size": size.image, "patch_size": 14,
        "projection_dim": 768,
    }  # fmt: skip
    text = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072, "projection_dim": 768}  # fmt: skip
    if layers < 24:
        text |= {"num_hidden_layers": 1}
    wide, deep, blocks, heads = size.llm
    llama = LlamaConfig(
        hidden_size=wide, intermediate_size=deep, num_hidden_layers=blocks,
        num_attention_heads=heads, vocab_size=32064, max_position_embeddings=4096,
    )  # fmt: skip
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**vision), text_config=llama, image_token_index=32000
    )
    with made_of(device, dtype):
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=768))
        model = LlavaNextForConditionalGeneration(config)
        model.model.vision_tower = CLIPVisionModel(config.vision_config)
    model.generation_config.eos_token_id = None  # random words never end
    words = CLIPTokenizer.from_pretrained(TINY / "clip")
    towers = Towers(
        scorer=ClipScorer(clip.eval(), words), llm_tower=model.model.vision_tower.eval()
    )
    llm = ImageLLM(model, load_tokenizer(TINY))
    return VideoLLM(Loaded("random LLaVA-1.6-7B", "memory", Path(), towers, llm, "image_seq_v3"))


def make_clip(path: Path, *, seconds: int = 10, rate: int = 30) -> Path:
    """A clip of 854×480 in which a bright square moves over noise, H.264."""
    noise = np.random.default_rng(0).integers(0, 90, (480, 854, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 854, 480, "yuv420p"
        for number in range(seconds * rate):
            pixels = noise.copy()
            x = (number * 5) % 700
            pixels[100:200, x : x + 100] = (255, 200, 0)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


class Bench:
    """Times ways of doing a thing, several times over, and collects the rows of the table."""

    def __init__(self, llm: VideoLLM, repeats: int) -> None:
        self.llm, self.repeats = llm, repeats
        self.device = llm.towers.device
        self.rows: list[tuple[str, float, str]] = []

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, what: str, work: Callable[[], object], note: str = "") -> float:
        """The median of `repeats`, after one that does not count."""
        times = []
        for turn in range(self.repeats + 1):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if turn:
                times.append(time.perf_counter() - start)
        median = statistics.median(times)
        self.rows.append((what, median, note))
        print(f"{what}: {median:.3f} s {note}", flush=True)
        return median


@torch.inference_mode()
def bare_passes(llm: VideoLLM, pixels: np.ndarray, inputs: dict[str, Any]) -> None:
    """The tower over every frame, and transformers' own generate over the same tokens."""
    towers, model = llm.towers, llm.token_llm.model
    images = towers.normalisation(torch.from_numpy(pixels).to(towers.device)).to(towers.dtype)
    look = towers.own.look if isinstance(towers.own, TokenTower) else towers.llm_tower
    for first in range(0, len(images), 32):
        look(images[first : first + 32])
    model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)


@torch.inference_mode()
def inputs_of(llm: VideoLLM, video: Video, answer: Answer) -> dict[str, Any]:
    """What transformers' generate is given for the tokens of an answer."""
    if isinstance(llm.token_llm, SelectedTokensLLM):
        asked = Asked(question=QUESTIONS[0], options=(), frames=video.frames, side=0,
                      tokens=answer.visual_tokens, notes=(), seconds={})  # fmt: skip
        return llm.token_llm.inputs_of(SeenFrames(frames_of(asked), QUESTIONS[0]))
    ids = llm.image_llm.tokenize(f"<image> {QUESTIONS[0]}")
    embeds = llm.image_llm.embed(ids, answer.visual_tokens.embeds)
    mask = torch.ones(1, len(embeds), device=embeds.device)
    return {"inputs_embeds": embeds[None], "attention_mask": mask}


def run(llm: VideoLLM, path: Path, repeats: int) -> Bench:
    """All rows."""
    bench, ask = Bench(llm, repeats), {"plan": PLAN, "max_new_tokens": NEW_TOKENS}
    video = llm.watch(path, frames=FRAMES, plan=PLAN)
    start = time.perf_counter()
    answer = video.ask(QUESTIONS[0], **ask)
    print(f"the very first question took {time.perf_counter() - start:.2f} s", flush=True)
    tokens = len(answer.visual_tokens)
    answer = video.ask(QUESTIONS[1], **ask)  # kernels are loaded with the first
    whole = bench.seconds(
        "first question, from the file to the answer",
        lambda: llm.watch(path, frames=FRAMES, plan=PLAN).ask(QUESTIONS[0], **ask),
        f"{FRAMES} frames, {tokens:,} visual tokens, {NEW_TOKENS} new ones",
    )
    for name, spent in answer.timings.as_dict().items():
        bench.rows.append((f"… of which {name}", spent, "one run"))
    video.memo.clear()
    nexts = iter(QUESTIONS * (repeats + 2))
    bench.seconds("next question on the same video", lambda: video.ask(next(nexts), **ask))
    pixels = read_frames(path, count=FRAMES, size=llm.towers.size).pixels
    bare = bench.seconds(
        "bare: transformers' tower over the frames and generate over the same tokens",
        lambda: bare_passes(llm, pixels, inputs_of(llm, video, answer)),
        "nothing decoded, no scoring model",
    )
    bench.rows.append(("first question ÷ bare", whole / bare, "a ratio"))
    overlapped = bench.seconds(
        "decode and encode, side by side", lambda: llm.watch(path, frames=FRAMES, plan=PLAN)
    )

    def in_turn() -> None:
        frames = read_frames(path, count=FRAMES, size=llm.towers.size)
        llm.watch(frames, frames=FRAMES, plan=PLAN)

    apart = bench.seconds("decode, then encode", in_turn)
    bench.rows.append(("decode, then encode ÷ side by side", apart / overlapped, "a ratio"))
    asked = [(video, question) for question in QUESTIONS]
    batch = {**ask, "max_new_tokens": 8}

    def one_by_one() -> None:
        for pair in asked:
            llm.ask([pair], **batch)

    video.memo.clear()
    together = bench.seconds(
        "25 questions at once", lambda: llm.ask(asked, **batch), "8 new tokens"
    )
    alone = bench.seconds("25 questions, one by one", one_by_one, "8 new tokens")
    bench.rows.append(("one by one ÷ at once", alone / together, "a ratio"))
    if bench.device.type == "cuda":
        held = torch.cuda.max_memory_allocated() / 1e9
        bench.rows.append(("peak GPU memory in GB, weights included", held, "25 at once"))
    return bench


def table(bench: Bench, where: str) -> str:
    """The rows as Markdown."""
    lines = [f"{where}", "", "| what | | note |", "|---|---|---|"]
    for what, value, note in bench.rows:
        unit = "×" if note == "a ratio" else "" if "GB" in what else " s"
        lines.append(f"| {what} | {value:.3g}{unit} | {'' if note == 'a ratio' else note} |")
    return "\n".join(lines) + "\n"


MODELS: dict[str, Callable[[str, torch.device, torch.dtype], VideoLLM]] = {
    "llava-1.6": lambda size, *where: random_llava(SIZES[size], *where),
    "llava-onevision": random_onevision,
    "qwen2.5-vl": random_qwen,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="llava-1.6")
    parser.add_argument("--size", choices=SIZES, default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    start = time.perf_counter()
    llm = MODELS[options.model](options.size, device, dtype)
    print(f"model of random weights made in {time.perf_counter() - start:.0f} s", flush=True)
    bench = run(llm, make_clip(options.out / "clip.mp4"), options.repeats)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    where = (
        f"{options.model}-{options.size} of random weights, {options.dtype}, {card}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, medians of "
        f"{options.repeats}"
    )
    text = table(bench, where)
    (options.out / "gpu.md").write_text(text)
    (options.out / "gpu.json").write_text(json.dumps({"where": where, "rows": bench.rows}))
    print(text)


if __name__ == "__main__":
    main()
