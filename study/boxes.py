"""Where regions lie: crops of fresh toy clips against the object that was asked about.

    python study/boxes.py --crops 300

For each rule, pooling and ratio: how often the most similar cell lies in the box, how often the
whole object does where it fits (to a third of a cell), and the share of the most frequent box.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from free_video_llm.pipeline import VideoLLM
from free_video_llm.plans.crop import Box, kept_cells
from free_video_llm.plans.plan import Crop, Pool
from free_video_llm.plans.pool import pool_grid
from free_video_llm.tiny.truth import is_about
from free_video_llm.tiny.videos import clip_questions, sample_clip, write_clip
from free_video_llm.tiny.world import extent
from run import SEED

#: By their names in a plan.
RULES = {"crop": "prompt", "mean-center": "mean-center", "center-crop": "center"}
#: Poolings of 12 × 12 patches by the grid that they make.
POOLS = {"12 × 12": "concat", "12 × 6": "spatial_1d_max_pool"}
#: Questions drawn about a clip; those about one object in sight count.
QUESTIONS = 8
RATIOS = (0.15, 0.3, 0.5, 0.8)
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """A frame's map of similarities by pooling, each [1,rows,columns], and where the object is."""

    maps: dict[str, torch.Tensor]
    edges: Edges


def looks(llm: VideoLLM, count: int, seed: int) -> Iterator[Look]:
    """The two frames nearest to questions about one object, of clips nobody has seen."""
    found, number = 0, 0
    while found < count:
        rng = np.random.default_rng([seed, 99, number])
        number += 1
        clip = sample_clip(rng)
        with tempfile.TemporaryDirectory() as folder:
            video = llm.watch(write_clip(clip, Path(folder) / "clip.mp4", rng))
        for question in clip_questions(clip, QUESTIONS, rng):
            prompt = llm.towers.encode_prompt(question.text).vector
            nearest = (video.features.frame_vectors @ prompt).topk(2).indices.tolist()
            for frame in nearest:
                scene = clip.scenes[int(video.frames.indices[frame])]
                things = [thing for thing in scene.things if is_about(question, thing)]
                if len(things) != 1 or found >= count:
                    continue
                wide, high = extent(things[0], clip.aspect)
                x, y = things[0].x, things[0].y
                joint = video.features.joint_patches([frame])
                yield Look(
                    {
                        pool: F.normalize(pool_grid(joint, Pool(kind=pool)), dim=-1) @ prompt
                        for pool in POOLS.values()
                    },
                    (
                        max(0.0, x - wide / 2),
                        max(0.0, y - high / 2),
                        min(1.0, x + wide / 2),
                        min(1.0, y + high / 2),
                    ),
                )
                found += 1


def holds(box: Box, edges: Edges, rows: int, columns: int) -> bool:
    """Whether the object lies in the box, to a third of a cell."""
    left, top, right, bottom = edges
    return (
        box.left <= left * columns + 0.34
        and box.right >= right * columns - 0.34
        and box.top <= top * rows + 0.34
        and box.bottom >= bottom * rows - 0.34
    )


def row(found: list[Look], rule: str, grid: str, ratio: float) -> str:
    """A line of the table."""
    crop, boxes, best, fits, whole = Crop(kind=RULES[rule], ratio=ratio), Counter[Box](), 0, 0, 0
    for look in found:
        similarity = look.maps[POOLS[grid]]
        _, rows, columns = similarity.shape
        high, wide = crop.box_size(rows, columns)
        box = kept_cells(similarity, crop)[1][0]
        boxes[box] += 1
        top, left = divmod(int(similarity.argmax()), columns)
        best += box.top <= top < box.bottom and box.left <= left < box.right
        left_edge, top_edge, right_edge, bottom_edge = look.edges
        # A window begins at a whole cell, so what is a cell smaller fits wherever it lies.
        if (right_edge - left_edge) * columns <= wide - 1 and (
            bottom_edge - top_edge
        ) * rows <= high - 1:
            fits += 1
            whole += holds(box, look.edges, rows, columns)
    n = len(found)
    inside = f"{100 * whole / fits:.1f} % of {fits}" if fits else "–"
    most = boxes.most_common(1)[0][1]
    return (
        f"| `{rule}` | {grid} | {ratio:g} | {100 * best / n:.1f} % | {inside} | "
        f"{100 * most / n:.0f} % |"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--crops", type=int, default=300)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    llm = VideoLLM.from_pretrained("tiny")
    with torch.inference_mode():
        bar = tqdm(looks(llm, options.crops, options.seed), total=options.crops, file=sys.stderr)
        found = list(bar)
        print("| rule | pooling | share | best cell inside | whole object inside | most frequent |")
        print("|---|---|---|---|---|---|")
        for grid in POOLS:
            for ratio in RATIOS:
                for rule in RULES:
                    print(row(found, rule, grid, ratio))


if __name__ == "__main__":
    main()
