"""What an answer rests on, as plain data: which frames were kept, when, which box, how similar.

Turns visual tokens into values for people and JSON; draws nothing (see `picture.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from free_video_llm.plans.apply import Look, VisualTokens
from free_video_llm.plans.plan import Plan
from free_video_llm.video.read import Frames


@dataclass(frozen=True)
class KeptFrame:
    """One frame as one pathway kept it.

    Attributes:
        frame: index into the sampled frames.
        second: its time in the clip.
        score: cosine of the question with the whole frame.
        region: left, top, right, bottom of all kept tokens, as shares of the frame (0 to 1).
        cells: float [n,4], the same of every kept token.
        similarity: float [rows,columns], cosine of the question with each cell of the true grid,
            None where the pathway does not look at regions.
    """

    frame: int
    second: float
    score: float
    region: tuple[float, float, float, float]
    cells: np.ndarray = field(repr=False)
    similarity: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PathwayEvidence:
    """What one pathway gave the language model."""

    name: str
    tokens: int
    cropped: bool
    kept: tuple[KeptFrame, ...]


@dataclass(frozen=True)
class Evidence:
    """What an answer rests on.

    Attributes:
        frames: the sampled frames, with pixels and times.
        scores: float [T], cosine of the question with each sampled frame.
        pathways: in the order of their tokens.
        all_tokens: tokens of all sampled frames at full detail, what the plan saves from.
    """

    frames: Frames = field(repr=False)
    scores: np.ndarray = field(repr=False)
    pathways: tuple[PathwayEvidence, ...]
    all_tokens: int

    @property
    def tokens(self) -> int:
        """Visual tokens in all."""
        return sum(pathway.tokens for pathway in self.pathways)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without pixels."""

        def short(values: Any, digits: int = 4) -> Any:
            return np.round(np.asarray(values, dtype=float), digits).tolist()

        def grid(values: np.ndarray | None) -> Any:
            return None if values is None else short(values)

        return {
            "source": self.frames.source,
            "width": self.frames.width,
            "height": self.frames.height,
            "duration_seconds": self.frames.duration,
            "total_frames": self.frames.total,
            "sampled": {
                "indices": self.frames.indices.tolist(),
                "seconds": short(self.frames.seconds),
                "scores": short(self.scores),
            },
            "all_tokens": self.all_tokens,
            "pathways": [
                {
                    "name": pathway.name,
                    "tokens": pathway.tokens,
                    "cropped": pathway.cropped,
                    "frames": [
                        {
                            "sampled": kept.frame,
                            "second": round(kept.second, 4),
                            "score": round(kept.score, 4),
                            "region": short(kept.region),
                            "similarity": grid(kept.similarity),
                        }
                        for kept in pathway.kept
                    ],
                }
                for pathway in self.pathways
            ],
        }


def gather_evidence(frames: Frames, tokens: VisualTokens, plan: Plan, *, side: int) -> Evidence:
    """The evidence of one question's visual tokens; `side` is the tower's patches along a side."""
    scores = tokens.scores.float().cpu().numpy()
    region = tokens.region.numpy()
    pathway_of = tokens.pathway.numpy()
    parts = []
    for number, pathway in enumerate(plan.pathways):
        mine = region[pathway_of == number]
        looks = tokens.looks[pathway.name]
        if pathway.pool.over_time:
            cells_of = [mine] * len(looks)  # each token was made of every frame
        else:
            cells_of = np.array_split(mine, max(1, len(looks)))  # frame by frame, as many of each
        grid = pathway.pool.grid_of(side)
        kept = []
        for look, cells in zip(looks, cells_of, strict=False):
            left, top = cells[:, :2].min(0)
            right, bottom = cells[:, 2:].max(0)
            kept.append(
                KeptFrame(
                    look.frame,
                    float(frames.seconds[look.frame]),
                    float(scores[look.frame]),
                    (float(left), float(top), float(right), float(bottom)),
                    cells,
                    _true_grid(look, grid),
                )
            )
        parts.append(
            PathwayEvidence(pathway.name, len(mine), pathway.crop is not None, tuple(kept))
        )
    return Evidence(frames, scores, tuple(parts), len(frames) * side * side)


def _true_grid(look: Look, grid: tuple[int, int]) -> np.ndarray | None:
    """A look's similarities on the true grid (the released reading of it may be transposed)."""
    if look.similarity is None:
        return None
    return look.similarity.float().cpu().numpy().reshape(grid)
