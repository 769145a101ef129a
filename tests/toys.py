"""Features and projectors for tests: a few numbers each, in place of towers and language models."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from free_video_llm.encoder.features import JointSpace, VideoFeatures

torch.set_num_threads(1)  # tensors of a few numbers: threads would only wait for each other

#: Two numbers a patch, of which the first is the question's; its layer norm gives (1, -1).
JOINT = JointSpace(torch.ones(2), torch.zeros(2), 0.0, torch.eye(2))
QUESTION = torch.tensor([1.0, 0.0])
HOT, COLD = (1.0, 0.0), (0.0, 1.0)


class Identity:
    """A projector that changes nothing and counts the patches that it is given."""

    def __init__(self) -> None:
        self.patches = 0

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        self.patches += patches.shape[:-1].numel()
        return patches

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


class TwoLayers(Identity):
    """Linear, GELU, linear, with random weights, as LLaVA's `mlp2x_gelu`."""

    def __init__(self, width: int, hidden: int = 6, out: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(width, hidden, generator=generator)
        self.last = torch.randn(hidden, out, generator=generator)

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        return F.gelu(super().hidden(patches) @ self.first + 0.1)

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.last - 0.2


def with_class_token(grid: torch.Tensor) -> torch.Tensor:
    """[T,S,S,C] to [T,1+S²,C], a class token of zeros first."""
    return F.pad(grid.flatten(1, 2), (0, 0, 1, 0))


def random_features(
    frames: int, side: int, *, scorer_side: int | None = None, width: int = 3, seed: int = 0
) -> VideoFeatures:
    """Random features whose frames have different similarities with `QUESTION`."""
    generator = torch.Generator().manual_seed(seed)
    scorer_side = scorer_side or side
    vectors = torch.randn(frames, 2, generator=generator)
    joint = JointSpace(
        torch.rand(5, generator=generator) + 0.5,
        torch.randn(5, generator=generator),
        1e-5,
        torch.randn(2, 5, generator=generator),
    )
    return VideoFeatures(
        with_class_token(torch.randn(frames, side, side, width, generator=generator)),
        with_class_token(torch.randn(frames, scorer_side, scorer_side, 5, generator=generator)),
        F.normalize(vectors, dim=-1),
        joint,
    )


def placed_features(
    scores: list[float], hot: list[list[tuple[int, int]]], side: int, *, scorer_side: int = 0
) -> VideoFeatures:
    """Features made by hand: patch (y, x) of frame t is the vector (t, y, x).

    `scores` are the frames' similarities with `QUESTION`; `hot` lists for each frame the
    (row, column) of the scorer's patches that show what the question asks about.
    """
    frames, scorer_side = len(scores), scorer_side or side
    axes = [torch.arange(n, dtype=torch.float32) for n in (frames, side, side)]
    patches = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    scorer = torch.tensor(COLD).repeat(frames, scorer_side, scorer_side, 1)
    for frame, cells in enumerate(hot):
        for row, column in cells:
            scorer[frame, row, column] = torch.tensor(HOT)
    cosine = torch.tensor(scores)
    vectors = torch.stack([cosine, (1 - cosine**2).sqrt()], -1)
    return VideoFeatures(with_class_token(patches), with_class_token(scorer), vectors, JOINT)
