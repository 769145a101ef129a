"""Scenes seen several times each, as tower features: what the image LLM is trained on.

Draws, encodes and labels; knows nothing of language.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from transformers import CLIPModel

from free_video_llm.tiny.world import Scene, Thing, degrade, draw, extent, sample_scene
from train_clip import SIDE, SIZE, labels, normalise, patch_owners


@dataclass
class Library:
    """Scenes seen several times each, as tower features: a stand-in for short image sequences."""

    patches: torch.Tensor  # float16 [scenes,views,S,S,C]
    owner: torch.Tensor  # int8 [scenes,views,S²]
    shape: torch.Tensor  # int64 [scenes,views,3]
    color: torch.Tensor
    place: torch.Tensor
    things: list[list[tuple[Thing, ...]]]


def drift(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene a little later: objects have moved, now and then one is gone."""
    things = []
    for thing in scene.things:
        if len(scene.things) > 1 and rng.random() < 0.1:
            continue
        w, h = extent(thing, scene.aspect)
        x = float(np.clip(thing.x + rng.normal(0, 0.08), min(w / 3, 0.5), max(1 - w / 3, 0.5)))
        y = float(np.clip(thing.y + rng.normal(0, 0.08), min(h / 3, 0.5), max(1 - h / 3, 0.5)))
        things.append(thing.at(x, y))
    return Scene(scene.background, tuple(things), scene.aspect)


def shape_views(values: torch.Tensor, scenes: int) -> torch.Tensor:
    """[scenes*views,…] to [scenes,views,…]."""
    return values.unflatten(0, (scenes, -1))


@torch.inference_mode()
def build_library(clip: CLIPModel, scenes: int, views: int, rng: np.random.Generator) -> Library:
    """Draw, encode and label `scenes` × `views` images."""
    parts: dict[str, list[torch.Tensor]] = defaultdict(list)
    things: list[list[tuple[Thing, ...]]] = []
    per_batch = 32
    for start in range(0, scenes, per_batch):
        first = [sample_scene(rng) for _ in range(min(per_batch, scenes - start))]
        seen = [scene for s in first for scene in (s, *(drift(s, rng) for _ in range(views - 1)))]
        images, covers = draw(seen, SIZE, SIZE)
        pixels = (degrade(images, rng) * 255).round().byte()
        states = clip.vision_model(normalise(pixels), output_hidden_states=True).hidden_states
        _, shape, color, place = labels(seen)
        rows = len(first)
        parts["patches"].append(
            shape_views(states[-2][:, 1:].half().unflatten(1, (SIDE, SIDE)), rows)
        )
        parts["owner"].append(shape_views(patch_owners(covers).to(torch.int8), rows))
        for name, value in (("shape", shape), ("color", color), ("place", place)):
            parts[name].append(shape_views(value, rows))
        tuples = [scene.things for scene in seen]
        things += [tuples[i : i + views] for i in range(0, len(tuples), views)]
    return Library(**{k: torch.cat(v) for k, v in parts.items()}, things=things)
