"""The baseline: what the paper's released code does before the language model, on our weights.

Our own code doing what METHOD says (§4.2, §4.3): full-size frames held and resized by PIL; LLaVA's
tower; the CLIP model again for every selection and every crop; all tokens projected; all of it for
each question. Gives the same visual tokens as the plan `paper@released`, which the bench checks.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from free_video_llm import VideoLLM
from free_video_llm.llm.generate import Decoding
from free_video_llm.llm.prompts import template_named
from free_video_llm.plans.crop import kept_cells
from free_video_llm.plans.plan import Plan
from free_video_llm.plans.pool import pool_grid
from free_video_llm.plans.select import most_similar, spread_released
from free_video_llm.video.read import released_indices


def read_full_frames(path: Path, count: int) -> list[np.ndarray]:
    """All frames decoded in order; the uniform ones held at full size, uint8 [H,W,3]."""
    with av.open(str(path)) as container:
        total = sum(1 for _ in container.decode(video=0))
    wanted = set(released_indices(total, count).tolist())
    with av.open(str(path)) as container:
        decoded = enumerate(container.decode(video=0))
        return [f.to_ndarray(format="rgb24") for i, f in decoded if i in wanted]


def resize(frames: list[np.ndarray], size: int) -> torch.Tensor:
    """PIL's bicubic, aspect ignored: uint8 [T,size,size,3]."""
    images = [
        np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BICUBIC))
        for f in frames
    ]
    return torch.from_numpy(np.stack(images))


@torch.inference_mode()
def visual_tokens(
    llm: VideoLLM, frames: list[np.ndarray], question: str, plan: Plan
) -> torch.Tensor:
    """The visual tokens of one question under a plan of the paper's form, [N,D].

    As in LLaVA, the frames of a call go through the tower in one batch, every layer's states kept.
    """
    towers, projector = llm.towers, llm.image_llm.projector
    images = towers.normalisation(resize(frames, towers.size))
    side = towers.side
    states = towers.llm_tower(images, output_hidden_states=True).hidden_states
    features = states[towers.own.layer]
    del states
    tokens = projector.out(projector.hidden(features[:, 1:])).unflatten(1, (side, side))
    prompt = towers.encode_prompt(question).vector
    scorer = towers.scorer.model

    def frame_vectors() -> torch.Tensor:
        pooled = scorer.vision_model(images).pooler_output
        return F.normalize(scorer.visual_projection(pooled), dim=-1)

    def cropped(which: list[int], pathway) -> torch.Tensor:
        last = scorer.vision_model(images[which]).last_hidden_state
        patches = scorer.visual_projection(last[:, 1:]).unflatten(1, (side, side))
        similarity = F.normalize(pool_grid(patches, pathway.pool), dim=-1) @ prompt
        similarity = similarity.reshape(len(which), side // 2, side)
        pooled = pool_grid(tokens[which], pathway.pool).reshape(len(which), side // 2, side, -1)
        kept = [
            grid[box.top : box.bottom, box.left : box.right].flatten(0, 1)
            for grid, box in zip(pooled, kept_cells(similarity, pathway.crop, rules="released")[1])
        ]
        return torch.cat(kept)

    slow, middle, *coarse = plan.pathways
    parts = [
        cropped(most_similar(frame_vectors() @ prompt, slow.select.count), slow),
        cropped(spread_released(len(frames), middle.select.count), middle),
        *(pool_grid(tokens, fast.pool).flatten(0, 2) for fast in coarse),
    ]
    return torch.cat(parts)


def answer(llm: VideoLLM, path: Path, count: int, question: str, plan: Plan, *, new: int) -> str:
    """A whole question, from the file to the text."""
    tokens = visual_tokens(llm, read_full_frames(path, count), question, plan)
    prompt = template_named(llm.conv_mode).fill(question)
    decoding = Decoding(max_new_tokens=new)
    return llm.image_llm.generate([prompt], [tokens], decoding=decoding)[0].text
