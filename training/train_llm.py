"""Train `tiny`'s image LLM on the frozen CLIP tower: images and short image sequences only.

    python training/train_llm.py --clip build/clip2 --out build/tiny2
    python training/train_llm.py --clip build/clip3 --out build/tiny --resume build/tiny2 \
        --steps 2400 --rate 1e-3 --scenes 8000 --time --seed 3 --bfloat16

A small Llama learns to read visual tokens as the plans make them (whole grids, pooled, cropped,
coarse overviews) and to answer the world's questions. What made it learn to bind colour to shape
instead of only naming what is there: patches are aligned with the words for them; each sequence
carries several questions, each seeing the images and itself only (so every one is a first turn);
the answer is already asked for at the question's last content word (see `sequences.assemble`);
query and key matrices begin alike, so that a word attends to its own likeness (arXiv 2305.09828).
Positions are stretched at random, so that longer prompts than the trained ones hold no surprise.
A model that goes on from another on a sharper tower learns its projector anew for the words that it
has, and then all of it on the longer forms; questions about time come with `--time`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    CLIPModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from free_video_llm.llm.tokenizer import SentencePieceTokenizer
from free_video_llm.tiny.questions import KINDS, TIME_KINDS
from free_video_llm.tiny.world import COLORS, SHAPES
from library import Library, build_library
from sequences import CONV_MODE, Form, Maker, assemble, forward, pooled_tokens, sample_form
from vocabularies import write_llm_tokenizer

#: How far on a training is that begins with another's weights: the longest forms come from here.
RESUMED = 0.61

log = logging.getLogger("train_llm")


def build_model(clip: CLIPModel, tokenizer: SentencePieceTokenizer, seed: int):
    """A LLaVA of the tiny size on the trained tower."""
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=clip.config.vision_config.to_dict(),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer) + 1,  # the last is transformers' image token
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            # Slow rotations: a word must recognise its likeness hundreds of tokens away.
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=len(tokenizer),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    with torch.no_grad():
        nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
        for linear in (
            model.model.multi_modal_projector.linear_1,
            model.model.multi_modal_projector.linear_2,
        ):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        for layer in model.model.language_model.layers:
            attention = layer.self_attn
            heads, width, inner = 5, 160, 32
            for head in range(heads):
                span = slice(head * inner, (head + 1) * inner)
                alike = torch.linalg.qr(torch.randn(width, inner))[0].T * 0.7
                attention.q_proj.weight[span] = alike + torch.randn(inner, width) * 0.02
                attention.k_proj.weight[span] = alike + torch.randn(inner, width) * 0.02
                copy = torch.linalg.qr(torch.randn(width, inner))[0].T
                attention.v_proj.weight[span] = copy * 0.5 + torch.randn(inner, width) * 0.02
                attention.o_proj.weight[:, span] = copy.T * 0.5 + torch.randn(width, inner) * 0.02
    return model


def resume(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Take the projector and the language model of another checkpoint; the tower stays."""
    earlier = LlavaForConditionalGeneration.from_pretrained(folder)
    model.model.multi_modal_projector.load_state_dict(
        earlier.model.multi_modal_projector.state_dict()
    )
    model.model.language_model.load_state_dict(earlier.model.language_model.state_dict())


class Alignment:
    """Cross-entropy of projected object patches against the words for what they show."""

    def __init__(self, tokenizer: SentencePieceTokenizer) -> None:
        word = lambda text: tokenizer.encode(text)[-1]  # noqa: E731
        self.groups = [
            [word(w) for w in SHAPES],
            [word(w) for w in COLORS],
            [word("top"), word("bottom")],
            [word("left"), word("right")],
        ]

    def __call__(self, model, library: Library, images: list[tuple[int, int]]) -> torch.Tensor:
        scene, view = (torch.tensor(v) for v in zip(*images, strict=True))
        owner = library.owner[scene, view].long()
        mine = owner >= 0
        row, slot = mine.nonzero()[:, 0], owner[mine]
        patches = library.patches[scene, view].float().flatten(1, 2)[mine]
        tokens = F.normalize(model.model.multi_modal_projector(patches), dim=-1)
        place = library.place[scene, view][row, slot]
        targets = (
            library.shape[scene, view][row, slot],
            library.color[scene, view][row, slot],
            torch.where(place < 0, -1, place // 2),
            torch.where(place < 0, -1, place % 2),
        )
        weight = torch.zeros(len(images), 3).index_put((row, slot), torch.ones(len(row)), True)
        weight = 1 / weight[row, slot]
        total = torch.zeros(())
        for ids, target in zip(self.groups, targets, strict=True):
            words = F.normalize(model.get_input_embeddings().weight[ids], dim=-1)
            loss = F.cross_entropy(12 * tokens @ words.T, target, reduction="none", ignore_index=-1)
            total = total + (loss * weight).sum() / weight.sum()
        return total


def align_first(
    model,
    align: Alignment,
    library: Library,
    steps: int,
    rng: np.random.Generator,
    *,
    words: bool,
) -> None:
    """Teach the projector the words for what patches show, before the language model reads them;
    with `words` the words' embeddings move too."""
    taught = list(model.model.multi_modal_projector.parameters())
    taught += [model.get_input_embeddings().weight] if words else []
    optimiser = torch.optim.AdamW(taught, lr=2e-3, weight_decay=0.0)
    for step in range(steps):
        scenes = rng.integers(len(library.things), size=48)
        views = rng.integers(library.patches.shape[1], size=48)
        loss = align(model, library, list(zip(scenes.tolist(), views.tolist(), strict=True)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 99:
            log.info("aligned %d: %.3f", step + 1, loss.item())


@torch.no_grad()
def measure(model, maker: Maker, form: Form, rounds: int, size: int) -> dict[str, float]:
    """Share of wholly right answers by kind of question."""
    right: dict[str, list[bool]] = defaultdict(list)
    for _ in range(rounds):
        detail, overview, asked, _ = maker.batch(form, size, 6)
        rows = maker.pack(asked)
        visual = pooled_tokens(model, detail, overview, form.pool)
        embeds, mask, positions, targets, _ = assemble(
            model, maker.tokenizer, maker.head, visual, rows, np.random.default_rng(0)
        )
        best = model.lm_head(forward(model, embeds, mask, positions)).argmax(-1)
        wrong = (best != targets) & (targets != -100)
        prefix = embeds.shape[1] - max(sum(len(p) + len(a) for p, a in r) for r in rows)
        for i, (blocks, questions) in enumerate(zip(rows, asked, strict=True)):
            at = prefix
            for (p, a), q in zip(blocks, questions, strict=True):
                right[q.kind].append(not bool(wrong[i, at : at + len(p) + len(a)].any()))
                at += len(p) + len(a)
    return {k: float(np.mean(right[k])) for k in (*KINDS, *TIME_KINDS) if right[k]}


def save(model, tokenizer_folder: Path, clip_folder: Path, out: Path) -> None:
    """Write the checkpoint in transformers' layout, its CLIP model in `clip/`."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    shutil.copy(tokenizer_folder / "tokenizer.model", out)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (out / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        **special,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    settings = {"conv_mode": CONV_MODE, "scorer": "clip"}
    (out / "free_video_llm.json").write_text(json.dumps(settings, indent=1))
    if clip_folder.resolve() != (out / "clip").resolve():
        shutil.copytree(clip_folder, out / "clip", dirs_exist_ok=True)
    shutil.copy(clip_folder / "preprocessor_config.json", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--scenes", type=int, default=6_000)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--align-steps", type=int, default=400)
    parser.add_argument("--library", type=Path, help="a file that keeps the encoded images")
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument(
        "--tokens", type=int, default=8000, help="visual and text tokens in a batch"
    )
    parser.add_argument("--resume", type=Path, help="begin with the LLM in this folder")
    parser.add_argument("--bfloat16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--time", action="store_true", help="ask about order and number too")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    clip = CLIPModel.from_pretrained(args.clip).eval()
    vocabulary = args.out / "vocabulary"
    write_llm_tokenizer(vocabulary)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = SentencePieceTokenizer(vocabulary, named=names)
    model = build_model(clip, tokenizer, args.seed)
    if args.resume:
        resume(model, args.resume)
    held_out = build_library(clip, 300, args.views, np.random.default_rng([args.seed, 9]))
    if args.library and args.library.is_file():
        library = torch.load(args.library, weights_only=False)  # our own file of the run before
    else:
        draws = np.random.default_rng([args.seed, 1])
        library = build_library(clip, args.scenes, args.views, draws)
        if args.library:
            torch.save(library, args.library)
    log.info("library of %d images", library.patches.shape[0] * args.views)
    maker = Maker(library, tokenizer, args.seed, time=args.time)
    align = Alignment(tokenizer)
    trained = [p for p in model.parameters() if p.requires_grad]
    log.info("%.2f million parameters trained", sum(p.numel() for p in trained) / 1e6)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=args.rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda i: min(1, (i + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * i / args.steps))),
    )
    forms = {
        "image": Form(1, "spatial_1d_max_pool", 1.0, 0, 1),
        "small": Form(6, "spatial_1d_max_pool", 0.6, 0, 3),
        "long": Form(8, "spatial_1d_max_pool", 0.8, 24, 3),
        "lean": Form(4, "spatial_2d_max_pool", 1.0, 0, 4),
    }
    rng = np.random.default_rng([args.seed, 5])
    begin = RESUMED if args.resume else 0.0
    started, running = time.time(), defaultdict(list)
    align_first(model, align, library, args.align_steps, rng, words=not args.resume)
    for step in range(args.steps):
        progress = begin + (1 - begin) * step / args.steps
        form = sample_form(progress, rng)
        per_frame = {"concat": 144, "spatial_2d_avg_pool": 36}.get(form.pool, 72) * form.ratio
        length = form.frames * per_frame + 16 * form.overview + 17 * args.questions
        size = int(np.clip(args.tokens / length, 6, 48))
        most = 2 if progress < 0.1 else int(rng.integers(2, 8 if args.time else 6))
        detail, overview, asked, labelled = maker.batch(form, size, args.questions, most)
        rows = maker.pack(asked)
        visual = pooled_tokens(model, detail, overview, form.pool)
        packed = assemble(model, tokenizer, maker.head, visual, rows, rng)
        embeds, mask, positions, targets, early = packed
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            hidden = forward(model, embeds, mask, positions).float()
        answers = targets != -100
        loss = F.cross_entropy(model.lm_head(hidden[answers]), targets[answers])
        hinted = early != -100
        hint = F.cross_entropy(model.lm_head(hidden[hinted]), early[hinted])
        aligned = align(model, library, labelled)
        weight = 0.3 * max(0.1, 1 - 1.5 * progress)
        optimiser.zero_grad()
        (loss + 0.5 * hint + weight * aligned).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        running["loss"].append(loss.item())
        running["align"].append(aligned.item())
        running["hint"].append(hint.item())
        if step % 50 == 49:
            means = {k: np.mean(v) for k, v in running.items()}
            running.clear()
            pace = (time.time() - started) / (step + 1)
            shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
            log.info("%d %.2fs %s", step + 1, pace, shown)
            for name, f in forms.items():
                if name == "image" or (progress > 0.4 and step % 300 == 299):
                    scores = measure(
                        model,
                        Maker(held_out, tokenizer, 7, time=args.time),
                        f,
                        4,
                        24 if name != "long" else 8,
                    )
                    log.info(
                        "    %s: %s", name, " ".join(f"{k} {v:.3f};" for k, v in scores.items())
                    )
        if step % 500 == 499 or step == args.steps - 1:
            save(model, vocabulary, args.clip, args.out)
    shutil.rmtree(vocabulary)


if __name__ == "__main__":
    main()
