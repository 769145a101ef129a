"""From a video's features and a question to a plan's visual tokens: select, crop, pool, project.

Knows nothing of decoding, towers or language models. Work is saved exactly: crops are taken before
projection, and averages between the projector's two linear layers, with which they commute.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from free_video_llm.plan import WINDOWS, Pathway, Plan
from free_video_llm.pooling import is_average, pool_grid, reduce_windows, window_table
from free_video_llm.region import Box, kept_cells
from free_video_llm.selection import select_frames

#: Patches projected at once: bounds memory, for a 7B model's width to about a quarter gigabyte.
PATCHES_AT_ONCE = 16_384


class Projector(Protocol):
    """From tower patches to LLM tokens, in two steps of which the second is linear."""

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        """[...,C] to [...,D']: everything up to the last linear layer."""
        ...

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        """[...,D'] to [...,D]: the last linear layer."""
        ...


@dataclass(frozen=True)
class JointSpace:
    """What maps the scorer's patches into the space that they share with the question.

    `weight` [C], `bias` [C] and `eps` are the tower's post_layernorm, `projection` [P,C].
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float
    projection: torch.Tensor

    def project(self, patches: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """[...,C] to [...,P]. The released code leaves the layer norm out (METHOD §4.4)."""
        if normalised:
            patches = F.layer_norm(patches, (patches.shape[-1],), self.weight, self.bias, self.eps)
        return patches @ self.projection.T


@dataclass(frozen=True)
class VideoFeatures:
    """What the towers say of T frames; nothing in it depends on a question.

    Attributes:
        patches: [T,S,S,C], the LLM's tower at the layer that the projector reads.
        scorer_patches: [T,S',S',C'], the scoring tower's last layer before its layer norm.
        frame_vectors: [T,P], unit vectors of the frames in the joint space.
        joint: maps `scorer_patches` into the joint space.
    """

    patches: torch.Tensor
    scorer_patches: torch.Tensor
    frame_vectors: torch.Tensor
    joint: JointSpace

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def side(self) -> int:
        """Patches along one side of a frame."""
        return int(self.patches.shape[1])

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.nbytes for t in (self.patches, self.scorer_patches, self.frame_vectors))


@dataclass(frozen=True)
class Look:
    """What a pathway kept of one frame.

    `box` is in cells of the grid as read (`rows` × `columns`), None where nothing was cropped;
    `similarity` [rows,columns] is the map that the box came from. In the released geometry that
    reading is not the true grid.
    """

    frame: int
    rows: int
    columns: int
    box: Box | None = None
    similarity: torch.Tensor | None = None


@dataclass(frozen=True)
class VisualTokens:
    """The tokens that stand for a video in the prompt, and where each came from.

    Attributes:
        embeds: [N,D].
        pathway: int64 [N], index into `names`.
        frame: int64 [N], index into the sampled frames, -1 where a token spans several.
        region: float [N,4], left, top, right, bottom of the patches a token was made of, as
            shares of the frame's width and height.
        names: the pathways' names.
        looks: by pathway, what was kept of each frame.
        scores: [T], similarity of every sampled frame with the question.
    """

    embeds: torch.Tensor
    pathway: torch.Tensor
    frame: torch.Tensor
    region: torch.Tensor
    names: tuple[str, ...]
    looks: dict[str, tuple[Look, ...]]
    scores: torch.Tensor

    def __len__(self) -> int:
        return len(self.embeds)

    def count_by_pathway(self) -> dict[str, int]:
        """Tokens of each pathway."""
        return {name: int((self.pathway == i).sum()) for i, name in enumerate(self.names)}


@torch.inference_mode()
def perceive(
    features: VideoFeatures,
    prompt: torch.Tensor,
    plan: Plan,
    projector: Projector,
    *,
    memo: MutableMapping[object, torch.Tensor] | None = None,
) -> VisualTokens:
    """Select frames, crop regions, pool and project (paper §3; METHOD §1.5 to §1.8).

    Args:
        features: of T frames.
        prompt: [P], the question's unit vector in the joint space.
        plan: what to keep.
        projector: of the language model.
        memo: kept between questions on one video, so that an overview of all frames is
            projected once.

    Raises:
        PlanError: the plan cannot be applied to this clip.
    """
    scores = features.frame_vectors @ prompt
    frames = select_frames(plan, scores, features.frame_vectors)
    memo = {} if memo is None else memo
    embeds, frame_of, region, looks = [], [], [], {}
    for pathway in plan.pathways:
        chosen = frames[pathway.name]
        if pathway.pool.kind in WINDOWS:
            part = _detail(features, chosen, pathway, prompt, plan, projector)
        else:
            part = _overview(features, chosen, pathway, projector, memo)
        embeds.append(part[0])
        frame_of.append(part[1])
        region.append(part[2])
        looks[pathway.name] = part[3]
    sizes = torch.tensor([len(e) for e in embeds])
    return VisualTokens(
        embeds=torch.cat(embeds),
        pathway=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        frame=torch.cat(frame_of),
        region=torch.cat(region),
        names=tuple(p.name for p in plan.pathways),
        looks=looks,
        scores=scores,
    )


_Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[Look, ...]]


def _detail(
    features: VideoFeatures,
    frames: list[int],
    pathway: Pathway,
    prompt: torch.Tensor,
    plan: Plan,
    projector: Projector,
) -> _Part:
    """Frames pooled by small windows, cropped before they are projected."""
    side, pool, crop = features.side, pathway.pool, pathway.crop
    rows, columns = plan.read_grid(pathway, side)
    table = window_table(side, pool)
    cells = torch.arange(rows * columns).expand(len(frames), -1)
    looks = tuple(Look(frame, rows, columns) for frame in frames)
    if crop is not None and frames:
        similarity = region_similarity(features, frames, pathway, prompt, plan)
        similarity = similarity.reshape(len(frames), rows, columns)
        cells, boxes = kept_cells(similarity, crop)
        looks = tuple(
            Look(frame, rows, columns, box, heat)
            for frame, box, heat in zip(frames, boxes, similarity.cpu(), strict=True)
        )
    patches = features.patches.flatten(1, 2)
    kept = []
    step = max(1, PATCHES_AT_ONCE // max(1, cells.shape[1] * table.shape[1]))
    for start in range(0, len(frames) or 1, step):  # once even for no frame: [0,k,D]
        which = torch.tensor(frames[start : start + step], dtype=torch.long)
        windows = table[cells[start : start + step]]  # [n,k,window]
        hidden = projector.hidden(patches[which[:, None, None], windows])
        if is_average(pool):
            kept.append(projector.out(reduce_windows(hidden, pool)))
        else:
            kept.append(reduce_windows(projector.out(hidden), pool))
    bounds = _cell_bounds(side, table)[cells]
    frame_of = torch.tensor(frames, dtype=torch.long).repeat_interleave(cells.shape[1])
    return torch.cat(kept).flatten(0, 1), frame_of, bounds.flatten(0, 1), looks


def region_similarity(
    features: VideoFeatures,
    frames: list[int],
    pathway: Pathway,
    prompt: torch.Tensor,
    plan: Plan,
) -> torch.Tensor:
    """Cosine of the question with each cell of the pooled grid: [n, rows, columns].

    Where the scoring model's grid differs from the LLM tower's, its map is interpolated.
    """
    joint = features.joint.project(
        features.scorer_patches[frames], normalised=plan.geometry == "true"
    )
    rows, columns = pathway.pool.grid_of(features.side)
    if joint.shape[1] == features.side:
        pooled = pool_grid(joint, pathway.pool)
        return F.normalize(pooled, dim=-1) @ prompt
    similarity = F.normalize(joint, dim=-1) @ prompt
    return F.interpolate(
        similarity[:, None], (rows, columns), mode="bilinear", align_corners=False
    )[:, 0]


def _overview(
    features: VideoFeatures,
    frames: list[int],
    pathway: Pathway,
    projector: Projector,
    memo: MutableMapping[object, torch.Tensor],
) -> _Part:
    """Frames averaged to a coarse grid between the projector's two layers."""
    pool, total = pathway.pool, len(features)
    key = (pool, tuple(frames) if pool.over_time else None)
    if key not in memo:
        if pool.over_time:
            tokens = projector.out(pool_grid(projector.hidden(features.patches[frames]), pool))
        else:
            step = max(1, PATCHES_AT_ONCE // features.side**2)
            chunks = [
                projector.out(pool_grid(projector.hidden(features.patches[i : i + step]), pool))
                for i in range(0, total, step)
            ]
            tokens = torch.cat(chunks)
        memo[key] = tokens
    tokens = memo[key] if pool.over_time else memo[key][frames]
    count, rows, columns = tokens.shape[:3]
    frame_of = torch.tensor([-1] * count if pool.over_time else frames, dtype=torch.long)
    region = _adaptive_bounds(features.side, rows, columns).repeat(count, 1)
    looks = tuple(Look(frame, rows, columns) for frame in frames)
    return tokens.flatten(0, 2), frame_of.repeat_interleave(rows * columns), region, looks


def _cell_bounds(side: int, table: torch.Tensor) -> torch.Tensor:
    """Left, top, right, bottom of each pooled cell as shares of the frame: float [cells,4]."""
    y, x = table // side, table % side
    edges = (x.amin(1), y.amin(1), x.amax(1) + 1, y.amax(1) + 1)
    return torch.stack(edges, 1).float() / side


def _adaptive_bounds(side: int, rows: int, columns: int) -> torch.Tensor:
    """The same for adaptive pooling, whose windows run from floor(i·S/n) to ceil((i+1)·S/n)."""

    def edges(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        i = torch.arange(count)
        return i * side // count, ((i + 1) * side + count - 1) // count

    (top, bottom), (left, right) = edges(rows), edges(columns)
    grid = torch.stack(
        [
            left.expand(rows, -1),
            top[:, None].expand(-1, columns),
            right.expand(rows, -1),
            bottom[:, None].expand(-1, columns),
        ],
        -1,
    )
    return grid.reshape(rows * columns, 4).float() / side
