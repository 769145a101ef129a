"""From a video's features and a question to a plan's visual tokens: select, crop, pool, project.

Knows nothing of decoding, towers or language models. Work is saved exactly: crops are taken before
projection, and averages between the projector's two linear layers, with which they commute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F

from free_video_llm.encoder.features import Memo, VideoFeatures, square
from free_video_llm.plans.choose import select_frames
from free_video_llm.plans.crop import Box, kept_cells
from free_video_llm.plans.pick import pick, windows
from free_video_llm.plans.plan import Pathway, Plan, Pool
from free_video_llm.plans.pool import pool_grid, reduce_windows, window_table
from free_video_llm.profiling.stopwatch import Stopwatch

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


class NoTokens:
    """Stands for a projector where no language model of ours reads tokens: what is kept is chosen
    and counted all the same, and every token is a single number that nobody reads."""

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        """[...,C] to [...,1]."""
        return patches[..., :1]

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        """As it is."""
        return hidden


NO_TOKENS = NoTokens()


@dataclass(frozen=True, eq=False)
class Look:
    """What a pathway kept of one frame.

    `box` is in cells of the grid as read (`rows` × `columns`), None where nothing was cropped;
    `similarity` [rows,columns] is the map that the box came from. In the released rules that
    reading is not the true grid.
    """

    frame: int
    rows: int
    columns: int
    box: Box | None = None
    similarity: torch.Tensor | None = None


#: What words are worth beside pictures: a frame with which all of the question's words are said is
#: as good as any of which none is.
SPOKEN = 1.0


@dataclass(frozen=True, eq=False, repr=False)
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
        places: int64 [N], which of its frame's tokens it is, row by row; -1 where it was made of
            several.
    """

    embeds: torch.Tensor
    pathway: torch.Tensor
    frame: torch.Tensor
    region: torch.Tensor
    names: tuple[str, ...]
    looks: dict[str, tuple[Look, ...]]
    scores: torch.Tensor
    places: torch.Tensor

    def __len__(self) -> int:
        return len(self.embeds)

    def __repr__(self) -> str:
        return f"VisualTokens({len(self):,} of width {self.embeds.shape[-1]}, {self.names})"

    def without(self) -> VisualTokens:
        """None of them: what a model is given that is asked blind."""
        return replace(
            self,
            embeds=self.embeds[:0],
            pathway=self.pathway[:0],
            frame=self.frame[:0],
            region=self.region[:0],
            looks=dict.fromkeys(self.looks, ()),
            places=self.places[:0],
        )

    def count_by_pathway(self) -> dict[str, int]:
        """Tokens of each pathway."""
        return {name: int((self.pathway == i).sum()) for i, name in enumerate(self.names)}


@torch.inference_mode()
def perceive(
    features: VideoFeatures,
    prompt: torch.Tensor,
    plan: Plan,
    projector: Projector | None,
    *,
    said: torch.Tensor | None = None,
    memo: Memo | None = None,
    stopwatch: Stopwatch | None = None,
) -> VisualTokens:
    """Select frames, crop regions, pool and project (paper §3; METHOD §1.5 to §1.8).

    Args:
        features: of T frames.
        prompt: [P], the question's unit vector in the joint space.
        plan: what to keep.
        projector: of the language model; None where the states are its tokens already, of which
            some are kept as they are (`pick.py`).
        said: [T], from 0 to 1, how near what is said with each frame is to the question; it raises
            a frame's score by up to `SPOKEN` of the scores' range when frames are selected.
        memo: kept between questions on one video, so that what is worked out for one (a frame's
            overview, a frame's patches in the joint space) is not for the next.
        stopwatch: gets the seconds of "select" (frames and regions), of "encode" (kept frames that
            the LLM's tower had not seen) and of "project".

    Raises:
        PlanError: the plan cannot be applied to this clip.
    """
    memo = {} if memo is None else memo
    work = _Work(features, prompt, plan, projector, memo, stopwatch or Stopwatch())
    with work.stopwatch.step("select"):
        scores = features.frame_vectors @ prompt
        sought = scores
        if said is not None:
            sought = scores + SPOKEN * (scores.max() - scores.min()) * said.to(scores)
        frames = select_frames(plan, sought, features.frame_vectors)
    unseen = features.unseen(sorted({frame for kept in frames.values() for frame in kept}))
    if unseen:
        with work.stopwatch.step("encode"):
            features.ensure(unseen)
    parts = [
        _way(pathway, projector)(work, pathway, frames[pathway.name]) for pathway in plan.pathways
    ]
    sizes = torch.tensor([len(part.embeds) for part in parts])
    names = tuple(p.name for p in plan.pathways)
    return VisualTokens(
        embeds=torch.cat([part.embeds for part in parts]),
        pathway=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        frame=torch.cat([part.frame for part in parts]),
        region=torch.cat([part.region for part in parts]),
        names=names,
        looks={name: part.looks for name, part in zip(names, parts, strict=True)},
        scores=scores,
        places=torch.cat([part.places for part in parts]),
    )


@dataclass(frozen=True)
class _Part:
    """What one pathway gives, see `VisualTokens`."""

    embeds: torch.Tensor
    frame: torch.Tensor
    region: torch.Tensor
    looks: tuple[Look, ...]
    chosen: torch.Tensor | None = None

    @property
    def places(self) -> torch.Tensor:
        return torch.full((len(self.embeds),), -1) if self.chosen is None else self.chosen


def _way(pathway: Pathway, projector: Projector | None) -> Callable[..., _Part]:
    if pathway.pool.method.keep is not None:
        return _reduced
    if projector is None:
        return _selected
    return _overview if pathway.pool.method.window is None else _detail


@dataclass(frozen=True)
class _Work:
    """What all pathways of one question have in common."""

    features: VideoFeatures
    prompt: torch.Tensor
    plan: Plan
    projector: Projector | None
    memo: Memo
    stopwatch: Stopwatch


def _selected(work: _Work, pathway: Pathway, frames: list[int]) -> _Part:
    """Tokens of the model's own, chosen from windows and kept as they are."""
    features = work.features
    table, real = windows(features.side, pathway.pool)
    cells, looks = _kept(work, pathway, frames)
    with work.stopwatch.step("project"):
        embeds, places = _picked_tokens(features, frames, cells, table, real)
    frame_of = torch.tensor(frames, dtype=torch.long).repeat_interleave(cells.shape[1])
    region = _cell_bounds(features.side, places.flatten()[:, None])
    return _Part(embeds.flatten(0, 1), frame_of, region, looks, places.flatten())


def _picked_tokens(
    features: VideoFeatures,
    frames: list[int],
    cells: torch.Tensor,
    table: torch.Tensor,
    real: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [n,k,C] and their places [n,k], a few frames at a time."""
    tokens, places = [], []
    step = max(1, PATCHES_AT_ONCE // max(1, cells.shape[1] * table.shape[1]))
    for start in range(0, len(frames), step):
        patches = features.patches_in(frames[start : start + step])
        chosen = pick(patches, cells[start : start + step], table, real)
        tokens.append(patches[torch.arange(len(patches))[:, None], chosen])
        places.append(chosen)
    if not frames:
        blank = features.frame_vectors.new_zeros(0, cells.shape[1], features.width)
        return blank, torch.zeros(0, cells.shape[1], dtype=torch.long)
    return torch.cat(tokens), torch.cat(places)


def _reduced(work: _Work, pathway: Pathway, frames: list[int]) -> _Part:
    """Some tokens of all frames together, as many of each as the reducer finds worth it."""
    features, projector, side = work.features, work.projector, work.features.side
    method = pathway.pool.method
    assert method.keep is not None
    states = features.patches_in(frames)
    relevance = None
    with work.stopwatch.step("select"):
        if method.guided:
            relevance = region_similarity(
                features, frames, pathway, work.prompt, work.plan, memo=work.memo
            ).flatten(1)
        places = method.keep(states, pathway.pool.count_kept(len(frames), side), relevance)
    with work.stopwatch.step("project"):
        chosen = [
            frame[which.to(frame.device)] for frame, which in zip(states, places, strict=True)
        ]
        embeds = torch.cat(chosen)
        if projector is not None:
            parts = embeds.split(PATCHES_AT_ONCE)  # type: ignore[no-untyped-call]
            embeds = torch.cat([projector.out(projector.hidden(part)) for part in parts])
    counts = torch.tensor([len(which) for which in places])
    where = torch.cat(places).cpu()
    return _Part(
        embeds,
        torch.tensor(frames, dtype=torch.long).repeat_interleave(counts),
        _cell_bounds(side, where[:, None]),
        tuple(Look(frame, side, side) for frame in frames),
        where if projector is None else None,
    )


def _kept(
    work: _Work, pathway: Pathway, frames: list[int]
) -> tuple[torch.Tensor, tuple[Look, ...]]:
    """The cells [n,k] that are kept of each frame's pooled grid, all without a crop."""
    rows, columns = work.plan.read_grid(pathway, work.features.side)
    if pathway.crop is None or not frames:
        cells = torch.arange(rows * columns).expand(len(frames), -1)
        return cells, tuple(Look(frame, rows, columns) for frame in frames)
    with work.stopwatch.step("select"):
        similarity = region_similarity(
            work.features, frames, pathway, work.prompt, work.plan, memo=work.memo
        ).reshape(len(frames), rows, columns)
        cells, boxes = kept_cells(similarity, pathway.crop, rules=work.plan.rules)
    return cells, tuple(
        Look(frame, rows, columns, box, heat)
        for frame, box, heat in zip(frames, boxes, similarity.cpu(), strict=True)
    )


def _detail(work: _Work, pathway: Pathway, frames: list[int]) -> _Part:
    """Frames pooled by small windows, cropped before they are projected."""
    side = work.features.side
    cells, looks = _kept(work, pathway, frames)
    table = window_table(side, pathway.pool)
    with work.stopwatch.step("project"):
        tokens = _project_cells(work, pathway.pool, frames, table, cells)
    bounds = _cell_bounds(side, table)[cells]
    frame_of = torch.tensor(frames, dtype=torch.long).repeat_interleave(cells.shape[1])
    return _Part(tokens.flatten(0, 1), frame_of, bounds.flatten(0, 1), looks)


def _project_cells(
    work: _Work, pool: Pool, frames: list[int], table: torch.Tensor, cells: torch.Tensor
) -> torch.Tensor:
    """The pooled tokens [n,k,D] of `cells` [n,k], of which `table` [·,window] names the patches."""
    features, projector = work.features, work.projector
    assert projector is not None
    kept = []
    step = max(1, PATCHES_AT_ONCE // max(1, cells.shape[1] * table.shape[1]))
    for start in range(0, len(frames) or 1, step):  # once even for no frame: [0,k,D]
        some = frames[start : start + step]
        windows = table[cells[start : start + step]]  # [n,k,window]
        if some:
            patches = features.patches_in(some)
            kept_patches = patches[torch.arange(len(some))[:, None, None], windows]
        else:
            kept_patches = features.frame_vectors.new_zeros(*windows.shape, features.width)
        hidden = projector.hidden(kept_patches)
        if pool.method.average:
            kept.append(projector.out(reduce_windows(hidden, pool)))
        else:
            kept.append(reduce_windows(projector.out(hidden), pool))
    return torch.cat(kept)


def region_similarity(
    features: VideoFeatures,
    frames: list[int],
    pathway: Pathway,
    prompt: torch.Tensor,
    plan: Plan,
    *,
    memo: Memo | None = None,
) -> torch.Tensor:
    """Cosine of the question with each cell of the pooled grid: [n, rows, columns].

    Where the scoring model's grid differs from the LLM tower's, its map is interpolated.
    """
    joint = features.joint_patches(frames, normalised=plan.rules == "corrected", memo=memo)
    rows, columns = pathway.pool.grid_of(features.side)
    if joint.shape[1] == features.side:
        pooled = pool_grid(joint, pathway.pool)
        return F.normalize(pooled, dim=-1) @ prompt
    similarity = F.normalize(joint, dim=-1) @ prompt
    return F.interpolate(
        similarity[:, None], (rows, columns), mode="bilinear", align_corners=False
    )[:, 0]


def _overview(work: _Work, pathway: Pathway, frames: list[int]) -> _Part:
    """Frames averaged to a coarse grid."""
    pool, features = pathway.pool, work.features
    with work.stopwatch.step("project"):
        tokens = _project_overview(work, pool, frames)
    count, rows, columns = tokens.shape[:3]
    frame_of = torch.tensor([-1] * count if pool.over_time else frames, dtype=torch.long)
    edges = _bilinear_edges if pool.method.stride is not None else _adaptive_edges
    region = _grid_bounds(features.side, rows, columns, edges).repeat(count, 1)
    looks = tuple(Look(frame, rows, columns) for frame in frames)
    return _Part(tokens.flatten(0, 2), frame_of.repeat_interleave(rows * columns), region, looks)


def _project_overview(work: _Work, pool: Pool, frames: list[int]) -> torch.Tensor:
    """[T',rows,columns,D], averaged between the projector's two layers."""
    features, projector, memo = work.features, work.projector, work.memo
    assert projector is not None
    if not frames:
        blank = features.frame_vectors.new_zeros(1, features.side, features.side, features.width)
        return projector.out(pool_grid(projector.hidden(blank), pool))[:0]
    if pool.over_time:
        key = (pool, tuple(frames))
        if key not in memo:
            memo[key] = projector.out(_pooled_over_time(features, frames, pool, projector))
        return memo[key]
    keys = {frame: (pool, frame) for frame in frames}
    missing = [frame for frame, key in keys.items() if key not in memo]
    for some, pooled in _pooled_frames(features, missing, pool, projector):
        grids = projector.out(pooled)
        memo.update((keys[frame], grid) for frame, grid in zip(some, grids, strict=True))
    return torch.stack([memo[keys[frame]] for frame in frames])


def _pooled_frames(
    features: VideoFeatures, frames: list[int], pool: Pool, projector: Projector
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Some frames at a time, and [n,rows,columns,D'] of them after the projector's first layer."""
    step = max(1, PATCHES_AT_ONCE // features.side**2)
    for start in range(0, len(frames), step):
        some = frames[start : start + step]
        yield some, pool_grid(projector.hidden(square(features.patches_in(some))), pool)


def _pooled_over_time(
    features: VideoFeatures, frames: list[int], pool: Pool, projector: Projector
) -> torch.Tensor:
    """[T',rows,columns,D'], holding a few frames' patches at a time: means over space and over time
    may be taken one after the other."""
    if pool.method.times == 1:
        whole = Pool(kind="concat")
        sums = (grids.sum(0) for _, grids in _pooled_frames(features, frames, whole, projector))
        return (functools.reduce(torch.add, sums) / len(frames))[None]
    times, (rows, columns) = pool.method.times or 1, pool.grid_of(features.side)
    coarse = Pool(kind="adaptive_2d_pool", grid=(rows, columns))
    grids = torch.cat([g for _, g in _pooled_frames(features, frames, coarse, projector)])
    by_cell = grids.flatten(1).T  # [rows*columns*D', T]
    return F.adaptive_avg_pool1d(by_cell, times).T.reshape(times, *grids.shape[1:])


def _cell_bounds(side: int, table: torch.Tensor) -> torch.Tensor:
    """Left, top, right, bottom of each pooled cell as shares of the frame: float [cells,4]."""
    y, x = table // side, table % side
    edges = (x.amin(1), y.amin(1), x.amax(1) + 1, y.amax(1) + 1)
    return torch.stack(edges, 1).float() / side


_Edges = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


def _adaptive_edges(side: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First patch and the one behind the last of `count` windows of adaptive pooling, which run
    from floor(i·S/n) to ceil((i+1)·S/n)."""
    i = torch.arange(count)
    return i * side // count, ((i + 1) * side + count - 1) // count


def _bilinear_edges(side: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of the two patches between which bilinear interpolation reads a place."""
    place = (torch.arange(count) + 0.5) * side / count - 0.5
    return place.floor().long().clamp_min(0), (place.ceil().long() + 1).clamp_max(side)


def _grid_bounds(side: int, rows: int, columns: int, edges: _Edges) -> torch.Tensor:
    """Left, top, right, bottom of each cell as shares of the frame: float [rows*columns,4]."""
    (top, bottom), (left, right) = edges(side, rows), edges(side, columns)
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
