r"""Train `tiny`'s CLIP on single images of the toy world: a vision tower and its text encoder.

    python training/train_clip.py --out build/clip1 --steps 2500 --stop 1500
    python training/train_clip.py --out build/clip2 --steps 1150 --resume build/clip1 \
        --shape-weight 3 --rate 1.1e-3 --seed 11

Every text of the world either is true of an image or is not, and we know which; so the loss is a
sigmoid over all image-text pairs, with true and false pairs weighing the same. That alone learns
colour and not shape; so each object's patches must also pick their shape, their colour and the
pair out of all texts, and linear probes on the layer that the LLM reads (hidden state -2) must
find shape, colour and place there. The probes are thrown away. A long video is searched for the
one frame nearest to a text, where the worst of hundreds of wrong frames decides and not their
mean; so each true pair must at last also stand above all images of the batch of which the text is
not true.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from free_video_llm.tiny.questions import phrase, prompts_for, prompts_for_either, vary
from free_video_llm.tiny.world import COLORS, SHAPES, Scene, degrade, draw, sample_scene
from vocabularies import write_clip_tokenizer

SIZE, PATCH, WIDTH = 96, 8, 128
SIDE = SIZE // PATCH
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)
#: All that a text can be about: 8 shapes, 8 colours, 64 pairs (shape-major).
CONCEPTS = [(s, None) for s in SHAPES] + [(None, c) for c in COLORS]
CONCEPTS += [(s, c) for s in SHAPES for c in COLORS]
GROUPS = (slice(0, 8), slice(8, 16), slice(16, 80))
#: Texts about either of two shapes in each step, with `--either`; one more is about any object.
EITHER = 11

log = logging.getLogger("train_clip")


@dataclass(frozen=True)
class Batch:
    """Images with what is true of them."""

    pixels: torch.Tensor  # uint8 [B,3,96,96]
    present: torch.Tensor  # bool [B,80]: is this concept in the image
    owner: torch.Tensor  # int64 [B,144]: object slot of a patch; -1 background, -2 undecided
    shape: torch.Tensor  # int64 [B,3] by slot
    color: torch.Tensor  # int64 [B,3]
    place: torch.Tensor  # int64 [B,3]: quadrant of the object's centre, -1 near a midline


def patch_owners(covers: torch.Tensor) -> torch.Tensor:
    """Which object a patch shows: its slot, -1 for background, -2 for mere touches. [B,side²]"""
    share = F.avg_pool2d(covers, PATCH).flatten(2)
    most, slot = share.max(1)
    fullest = share.amax(2).gather(1, slot)
    owner = torch.where((most > 0.5 * fullest) & (most > 0.08), slot, torch.tensor(-2))
    return torch.where(share.sum(1) < 0.01, torch.tensor(-1), owner)


def labels(scenes: list[Scene]) -> tuple[torch.Tensor, ...]:
    """present [B,80], shape [B,3], color [B,3], place [B,3]."""
    n = len(scenes)
    present = torch.zeros(n, len(CONCEPTS), dtype=torch.bool)
    shape, color = torch.zeros(n, 3, dtype=torch.long), torch.zeros(n, 3, dtype=torch.long)
    place = torch.full((n, 3), -1)
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.things):
            s, c = SHAPES.index(thing.shape), COLORS.index(thing.color)
            shape[i, k], color[i, k] = s, c
            present[i, [s, 8 + c, 16 + 8 * s + c]] = True
            if thing.distance_to_midlines() > 0.03:
                place[i, k] = (thing.y >= 0.5) * 2 + (thing.x >= 0.5)
    return present, shape, color, place


def make_batch(size: int, rng: np.random.Generator) -> Batch:
    """Draw a batch."""
    scenes = [sample_scene(rng) for _ in range(size)]
    images, covers = draw(scenes, SIZE, SIZE)
    present, shape, color, place = labels(scenes)
    pixels = (degrade(images, rng) * 255).round().byte()
    return Batch(pixels, present, patch_owners(covers), shape, color, place)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [B,3,H,W] to CLIP's normalised float32."""
    return (pixels.float() / 255 - MEAN) / STD


def build_model(tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """A randomly initialised CLIP of the tiny size."""
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "projection_dim": WIDTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "hidden_act": "gelu",
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": PATCH,
            "projection_dim": WIDTH,
        },
        projection_dim=WIDTH,
    )
    return CLIPModel(config)


def balanced_sigmoid(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None):
    """Binary cross-entropy in which true and false pairs weigh the same."""
    loss = F.softplus(torch.where(truth, -logits, logits))
    weight = torch.ones_like(loss) if weight is None else weight.expand_as(loss)
    parts = []
    for side in (truth, ~truth):
        w = weight * side
        parts.append((loss * w).sum() / w.sum().clamp_min(1e-6))
    return sum(parts) / 2


def above_all_false(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How far a text's true images [B,T] stand above all its false ones together: a softmax of each
    against them, the mean over true pairs."""
    false = torch.where(truth, -torch.inf, logits).logsumexp(0, keepdim=True)
    return F.softplus(false - logits)[truth].mean()


class Trainer(nn.Module):
    """The model, the probes and the sum of losses."""

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: CLIPTokenizer,
        *,
        bfloat16: bool = False,
        either: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.bfloat16, self.either = bfloat16, either
        self.bias = nn.Parameter(torch.tensor([-4.0, -4.0]))
        self.probe = nn.Linear(WIDTH, 8 + 8 + 4)

    def text_vectors(self, rng: np.random.Generator) -> torch.Tensor:
        """One random text about each concept, encoded: [80,P], unit length."""
        return self.encoded([prompts_for(shape, color, rng) for shape, color in CONCEPTS])

    def encoded(self, texts: list[str]) -> torch.Tensor:
        """Texts as unit vectors [T,P]."""
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        with self.products():
            pooled = self.model.text_model(**tokens).pooler_output.float()
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def of_several(
        self, rng: np.random.Generator, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts that are true of any of several concepts, encoded [T,P], and of which images
        [B,T]: the questions about time."""
        texts, truths = [vary(phrase("how many"), rng)], [present[:, GROUPS[0]].any(1)]
        for _ in range(EITHER):
            first, second = (int(i) for i in rng.permutation(len(SHAPES))[:2])
            texts.append(prompts_for_either(SHAPES[first], SHAPES[second], rng))
            truths.append(present[:, first] | present[:, second])
        return self.encoded(texts), torch.stack(truths, dim=1)

    def products(self) -> torch.autocast:
        """Matrix products of the two towers in bfloat16, or as they are."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)

    def forward(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        text = self.text_vectors(rng)
        with self.products():
            out = self.model.vision_model(normalise(batch.pixels), output_hidden_states=True)
        project, norm = self.model.visual_projection, self.model.vision_model.post_layernorm
        image = F.normalize(project(out.pooler_output.float()), dim=-1)
        scale = self.model.logit_scale.exp()
        logits = scale * image @ text.T + self.bias[0]
        losses = {
            f"loss image {name}": balanced_sigmoid(logits[:, g], batch.present[:, g])
            for name, g in zip(("shape", "color", "pair"), GROUPS)
        }
        for name, g in zip(("shape", "color", "pair"), GROUPS):
            losses[f"rank {name}"] = above_all_false(logits[:, g], batch.present[:, g])
        if self.either:
            several, true = self.of_several(rng, batch.present)
            logits = scale * image @ several.T + self.bias[0]
            losses["loss image either"] = balanced_sigmoid(logits, true)
            losses["rank either"] = above_all_false(logits, true)
        mine = batch.owner >= 0
        row, slot = mine.nonzero()[:, 0], batch.owner[mine]
        # Every object weighs the same, however many patches it covers.
        counts = torch.zeros(len(batch.shape), 3).index_put((row, slot), torch.ones(len(row)), True)
        weight = 1 / counts[row, slot]
        weight = weight / weight.sum()
        shape, color = batch.shape[row, slot], batch.color[row, slot]
        patches = F.normalize(project(norm(out.last_hidden_state[:, 1:].float())), dim=-1)
        p = scale * patches[mine] @ text.T
        targets = (shape, color, shape * 8 + color)
        for name, g, target in zip(("shape", "color", "pair"), GROUPS, targets):
            loss = F.cross_entropy(p[:, g], target, reduction="none")
            losses[f"loss patch {name}"] = (loss * weight).sum() * 0.5
        ground = scale * patches[batch.owner == -1] @ text.T
        truth = torch.zeros(len(p), 80, dtype=torch.bool)
        for g, target in zip(GROUPS, targets):
            truth[:, g].scatter_(1, target[:, None], True)
        both = torch.cat([p, ground]) + self.bias[1]
        truth = torch.cat([truth, torch.zeros(len(ground), 80, dtype=torch.bool)])
        w = torch.cat([weight, torch.full((len(ground),), 1.0 / max(len(ground), 1))])[:, None]
        losses["loss patch any"] = balanced_sigmoid(both, truth, w)
        seen = self.probe(out.hidden_states[-2][:, 1:][mine].float())
        place = batch.place[row, slot]
        for name, part, target in (
            ("probe shape", seen[:, :8], shape),
            ("probe color", seen[:, 8:16], color),
            ("probe place", seen[:, 16:], place),
        ):
            loss = F.cross_entropy(part, target, reduction="none", ignore_index=-1)
            losses[f"loss {name}"] = (loss * weight).sum() * 0.5
        return losses

    @torch.no_grad()
    def measure(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Shares right: each object's patches voting for shape, colour, place; image-text AUC."""
        text = self.text_vectors(rng)
        out = self.model.vision_model(normalise(batch.pixels), output_hidden_states=True)
        image = F.normalize(self.model.visual_projection(out.pooler_output), dim=-1)
        scores = image @ text.T
        result = {}
        for name, g in zip(("shape", "color", "pair"), GROUPS):
            true, false = scores[:, g][batch.present[:, g]], scores[:, g][~batch.present[:, g]]
            result[f"auc {name}"] = (true[:, None] > false[None]).float().mean().item()
        seen = self.probe(out.hidden_states[-2][:, 1:])
        votes: dict[str, list[bool]] = {"shape": [], "color": [], "place": []}
        for i in range(len(image)):
            for k in range(3):
                at = batch.owner[i] == k
                if at.any():
                    mean = seen[i, at].mean(0)
                    votes["shape"].append(bool(mean[:8].argmax() == batch.shape[i, k]))
                    votes["color"].append(bool(mean[8:16].argmax() == batch.color[i, k]))
                    if batch.place[i, k] >= 0:
                        votes["place"].append(bool(mean[16:].argmax() == batch.place[i, k]))
        return result | {f"probe {k}": float(np.mean(v)) for k, v in votes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--stop", type=int, help="end before the schedule does")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--reuse", type=int, default=3, help="times each drawn batch is seen")
    parser.add_argument("--resume", type=Path, help="begin with the weights in this folder")
    parser.add_argument("--shape-weight", type=float, default=1.0,
                        help="of the shape losses: colour is learnt long before shape")  # fmt: skip
    parser.add_argument("--rank-weight", type=float, default=0.0,
                        help="of a text's true images standing above all false ones")  # fmt: skip
    parser.add_argument("--either", action="store_true", help="texts of questions about time too")
    parser.add_argument("--bfloat16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    rng = np.random.default_rng([args.seed, 1])
    tokenizer = write_clip_tokenizer(args.out)
    model = (
        CLIPModel.from_pretrained(args.resume) if args.resume else build_model(tokenizer, args.seed)
    )
    trainer = Trainer(model.train(), tokenizer, bfloat16=args.bfloat16, either=args.either)
    decay = [p for p in trainer.parameters() if p.ndim > 1]
    rest = [p for p in trainer.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=args.rate,
        betas=(0.9, 0.98),
    )
    warm = 150
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda i: min(1, (i + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * min(1, i / args.steps))),
    )
    held_out = make_batch(256, np.random.default_rng([args.seed, 2]))
    pool: list[Batch] = []
    started = time.time()
    last = min(args.steps, args.stop or args.steps) - 1
    for step in range(last + 1):
        if step % args.reuse == 0 or len(pool) < 40:
            pool.append(make_batch(args.batch, rng))
            batch = pool[-1]
            if len(pool) > 400:
                pool.pop(0)
        else:
            batch = pool[rng.integers(len(pool))]
        losses = trainer(batch, rng)
        optimiser.zero_grad()
        weights = {
            k: (args.shape_weight if "shape" in k else 1.0)
            * (args.rank_weight if "rank" in k else 1.0)
            for k in losses
        }
        sum(weights[k] * loss for k, loss in losses.items()).backward()
        nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            trainer.model.logit_scale.clamp_(max=math.log(50))
        if step % 100 == 99 or step == 9:
            scores = trainer.measure(held_out, np.random.default_rng(3)) | {
                k: v.item() for k, v in losses.items()
            }
            pace = (time.time() - started) / (step + 1)
            log.info(
                "%d %.2fs %s", step + 1, pace, " ".join(f"{k}={v:.3f}" for k, v in scores.items())
            )
        if step % 500 == 499 or step == last:
            trainer.model.save_pretrained(args.out)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    ).save_pretrained(args.out)


if __name__ == "__main__":
    main()
