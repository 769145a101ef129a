"""Batches for the image LLM: frames become tokens as the plans make them, with questions on them.

Draws from a `Library`; knows nothing of how the model is built or trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration

from free_video_llm.llm.prompts import IMAGE, TEMPLATES
from free_video_llm.llm.tokenizer import SentencePieceTokenizer
from free_video_llm.plans.plan import Pool
from free_video_llm.plans.pool import pool_grid
from free_video_llm.tiny.questions import Question, draw_questions, time_questions, vary
from free_video_llm.tiny.world import COLORS, SHAPES, Thing
from library import Library
from train_clip import SIDE

CONV_MODE = "plain"
#: Questions about time in a sequence that its objects do not all begin at once, at most.
ABOUT_TIME = 3


@dataclass(frozen=True)
class Form:
    """How the frames of a sequence become tokens."""

    frames: int  # looked at in detail
    pool: str
    ratio: float  # of the crop; 1 is none
    overview: int  # frames seen only in 4×4
    scenes: int


def sample_form(progress: float, rng: np.random.Generator) -> Form:
    """A form, longer ones as training goes on (`progress` 0 to 1)."""
    pools = ["spatial_1d_max_pool"] * 5 + ["concat", "concat", "spatial_1d_avg_pool"]
    pools += ["vertical_1d_max_pool", "spatial_2d_avg_pool"]
    if progress > 0.6 and rng.random() < 0.4:  # lean, long, moment: few frames, of any scenes
        frames = int(rng.integers(1, 9))
        pool = "concat" if frames == 1 else "spatial_2d_max_pool"
        return Form(frames, pool, 1.0, 0, int(rng.integers(1, 5)))
    pool = str(rng.choice(pools[:7] if progress < 0.3 else pools))
    if progress < 0.2 or rng.random() < 0.3:
        return Form(1, pool, float(rng.choice([1.0, 1.0, 0.8, 0.6])), 0, 1)
    if progress < 0.45 or rng.random() < 0.5:
        frames = int(rng.integers(1, 5))
        overview = int(rng.choice([0, 0, 4, 8]))
        return Form(
            frames, pool, float(rng.choice([1.0, 0.8, 0.6])), overview, int(rng.integers(1, 3))
        )
    kind = rng.random()
    scenes = int(rng.integers(1, 5))
    if kind < 0.35:  # paper-small, diverse
        return Form(int(rng.integers(5, 9)), pool, float(rng.choice([0.8, 0.6])), 0, scenes)
    if kind < 0.5:
        return Form(int(rng.integers(4, 8)), pool, 1.0, 0, scenes)
    frames = int(rng.integers(6, 11)) if progress > 0.6 else 4
    overview = int(rng.integers(16, 51)) if progress > 0.6 else 12
    return Form(frames, "spatial_1d_max_pool", float(rng.choice([1.0, 0.8])), overview, scenes)


class Maker:
    """Makes batches of visual embeddings and questions out of a library."""

    def __init__(
        self, library: Library, tokenizer: SentencePieceTokenizer, seed: int, *, time: bool = False
    ) -> None:
        self.library, self.tokenizer, self.time = library, tokenizer, time
        self.rng = np.random.default_rng(seed)
        counts = [
            len({t for view in views for t in ((x.shape, x.color) for x in view)})
            for views in library.things
        ]
        self.counts = np.array(counts)
        template = TEMPLATES[CONV_MODE].text
        self.head, self.tail = template.split(IMAGE)

    def pick_frames(self, form: Form, most_objects: int) -> list[tuple[int, int]]:
        """(scene, view) for every frame of a sequence: cuts between a few scenes."""
        rng, library = self.rng, self.library
        chosen: list[int] = []
        budget = most_objects
        for _ in range(form.scenes * 4):
            scene = int(rng.integers(len(library.things)))
            if self.counts[scene] <= budget or not chosen:
                chosen.append(scene)
                budget -= self.counts[scene]
            if len(chosen) == form.scenes:
                break
        total = max(form.frames, form.overview)
        cuts = np.sort(rng.integers(0, total + 1, len(chosen) - 1))
        which = np.searchsorted(cuts, np.arange(total), side="right")
        views = library.patches.shape[1]
        return [(chosen[w], int(rng.integers(views))) for w in which]

    def crop(self, scene: int, view: int, ratio: float) -> tuple[slice, slice, tuple[Thing, ...]]:
        """Rows and columns of patches that are kept, and the objects that are seen in them.

        The box is near a random object, as a prompt-guided one would be; one that would cut
        through an object is drawn again a few times.
        """
        rng, library = self.rng, self.library
        things = library.things[scene][view]
        if ratio == 1:
            return slice(0, SIDE), slice(0, SIDE), things
        size = round(SIDE * math.sqrt(ratio) / 2) * 2  # whole pooled cells in both directions
        owner = library.owner[scene, view].reshape(SIDE, SIDE)
        for _ in range(6):
            if things and rng.random() < 0.8:
                thing = things[rng.integers(len(things))]
                y, x = thing.y * SIDE - size / 2, thing.x * SIDE - size / 2
            else:
                y, x = rng.uniform(0, SIDE - size, 2)
            top, left = (
                int(np.clip(round(v / 2 + rng.normal(0, 0.3)) * 2, 0, SIDE - size)) for v in (y, x)
            )
            rows, columns = slice(top, top + size), slice(left, left + size)
            inside = owner[rows, columns]
            shares = [
                float((inside == k).sum()) / max(1, int((owner == k).sum()))
                for k in range(len(things))
            ]
            if all(share < 0.02 or share > 0.6 for share in shares):
                break
        seen = tuple(t for t, share in zip(things, shares, strict=True) if share > 0.4)
        return rows, columns, seen

    def batch(self, form: Form, size: int, questions: int, most_objects: int = 5):
        """Patches per pathway, the questions, and labels for the alignment of patches and words."""
        library = self.library
        detail, overview, asked, labelled = [], [], [], []
        for _ in range(size):
            frames = self.pick_frames(form, most_objects)
            order = np.sort(self.rng.permutation(len(frames))[: form.frames])
            seen: list[tuple[Thing, ...]] = []
            rows_of = []
            for i in order:
                scene, view = frames[i]
                rows, columns, things = self.crop(scene, view, form.ratio)
                rows_of.append(library.patches[scene, view][rows, columns])
                if form.overview == 0:
                    seen.append(things)
            detail.append(torch.stack(rows_of))
            if form.overview:
                several = [library.patches[s, v] for s, v in frames[: form.overview]]
                overview.append(torch.stack(several))
                seen = [library.things[s][v] for s, v in frames]
            labelled.append(frames[int(order[0])])
            about_time = draw_time_questions(seen, ABOUT_TIME, self.rng) if self.time else []
            asked.append(about_time + draw_questions(seen, questions - len(about_time), self.rng))
        return (
            torch.stack(detail).float(),
            torch.stack(overview).float() if overview else None,
            asked,
            labelled,
        )

    def pack(self, asked: list[list[Question]]):
        """Token ids of the questions with answers, a block for each, and where the answers are."""
        rows = []
        for questions in asked:
            blocks = []
            for q in questions:
                text = self.tail.replace("{question}", vary(q.text, self.rng))
                prompt = self.tokenizer.encode(text)
                answer = [*self.tokenizer.encode(q.answer), self.tokenizer.eos_token_id]
                blocks.append((prompt, answer))
            rows.append(blocks)
        return rows


def draw_time_questions(
    frames: list[tuple[Thing, ...]], count: int, rng: np.random.Generator
) -> list[Question]:
    """Questions about time, of several frames only: one of how many, the others of which comes
    first."""
    if len(frames) == 1:
        return []
    found = time_questions(frames)
    order = [q for q in found if q.kind == "first"]
    rng.shuffle(order)  # type: ignore[arg-type]
    return [q for q in found if q.kind == "how many"] + order[: count - 1]


def pooled_tokens(
    model: LlavaForConditionalGeneration, detail, overview, pool: str
) -> torch.Tensor:
    """Visual tokens [B,N,D], made as `perception.perceive` makes them."""
    projector = model.model.multi_modal_projector
    b, _n = detail.shape[:2]
    projected = projector(detail.flatten(0, 1))
    tokens = _pool_any(projected, pool).reshape(b, -1, projected.shape[-1])
    if overview is None:
        return tokens
    hidden = projector.act(projector.linear_1(overview.flatten(0, 1)))
    coarse = pool_grid(hidden, Pool(kind="adaptive_2d_pool", grid=(4, 4)))
    coarse = projector.linear_2(coarse).reshape(b, -1, projected.shape[-1])
    return torch.cat([tokens, coarse], 1)


def _pool_any(tokens: torch.Tensor, pool: str) -> torch.Tensor:
    planes = tokens.permute(0, 3, 1, 2)
    window = {"spatial_1d": (1, 2), "vertical_1d": (2, 1), "spatial_2d": (2, 2)}.get(pool[:-9])
    if window is not None:
        reduce = F.max_pool2d if "max" in pool else F.avg_pool2d
        planes = reduce(planes, window)
    return planes.flatten(2).transpose(1, 2)


def last_content_word(prompt: list[int], words: set[int]) -> int:
    """Where in a prompt the last shape or colour is named; its last token where none is."""
    return max((i for i, token in enumerate(prompt) if token in words), default=len(prompt) - 1)


def assemble(model, tokenizer, head: str, visual: torch.Tensor, rows, rng: np.random.Generator):
    """Embeddings, mask, positions, targets: each question block sees the images and itself only.

    `early` asks for the answer's first token already at the question's last content word. There it
    takes one step to find it, from the word to the patches like it; at the end of the prompt it
    takes two, of which neither pays without the other, and a model stays for thousands of steps
    with naming what is there.
    """
    words = {tokenizer.encode(word)[-1] for word in (*SHAPES, *COLORS)}
    table = model.get_input_embeddings()
    start = tokenizer(head)["input_ids"]
    b, n, width = visual.shape
    prefix = len(start) + n
    longest = max(sum(len(p) + len(a) for p, a in blocks) for blocks in rows)
    length = prefix + longest
    ids = torch.zeros(b, longest, dtype=torch.long)
    targets = torch.full((b, length), -100)
    early = torch.full((b, length), -100)
    block = torch.full((b, length), -1)
    block[:, :prefix] = 0
    positions = torch.zeros(b, length, dtype=torch.long)
    for i, blocks in enumerate(rows):
        stretch = 1.0 if rng.random() < 0.5 else float(rng.uniform(1, max(1.0, min(8.0, 1800 / n))))
        places = np.arange(n) * stretch + (0 if stretch == 1 else rng.uniform(0, 200))
        positions[i, : len(start)] = torch.arange(len(start))
        positions[i, len(start) : prefix] = len(start) + torch.from_numpy(places.astype(np.int64))
        after = int(positions[i, prefix - 1]) + 1
        at = 0
        for k, (prompt, answer) in enumerate(blocks, start=1):
            tokens = prompt + answer
            span = slice(prefix + at, prefix + at + len(tokens))
            ids[i, at : at + len(tokens)] = torch.tensor(tokens)
            block[i, span] = k
            positions[i, span] = after + torch.arange(len(tokens))
            begin = prefix + at + len(prompt) - 1  # the token before an answer predicts it
            targets[i, begin : begin + len(answer)] = torch.tensor(answer)
            early[i, prefix + at + last_content_word(prompt, words) : begin] = answer[0]
            at += len(tokens)
    embeds = torch.cat([table(torch.tensor(start)).expand(b, -1, width), visual, table(ids)], dim=1)
    causal = torch.ones(length, length).tril().bool()
    allowed = (block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None])
    allowed = allowed & causal & (block[:, None, :] >= 0)
    allowed |= torch.eye(length, dtype=torch.bool)
    mask = torch.zeros(b, 1, length, length).masked_fill_(~allowed[:, None], -1e9)
    return embeds, mask, positions, targets, early


def forward(model, embeds, mask, positions) -> torch.Tensor:
    """Hidden states after the last norm, [B,L,D]."""
    out = model.model.language_model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
    )
    return out.last_hidden_state
