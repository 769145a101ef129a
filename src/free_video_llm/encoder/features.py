"""What the towers say of a video's frames, kept for any number of questions.

Knows nothing of plans, files or language models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F

#: What was worked out for one question on a video and serves the next.
Memo = MutableMapping[object, torch.Tensor]


def _unchanged(states: torch.Tensor) -> torch.Tensor:
    return states


class PatchSpace(Protocol):
    """What maps a scorer's states to vectors of patches, in the space shared with the question."""

    def patches(self, states: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """States [n,N,C] before the scorer's last layer to patch vectors [n,S²,P], not of unit
        length. `normalised` is False for the released code's reading (METHOD §4.4)."""
        ...


@dataclass(frozen=True)
class JointSpace:
    """CLIP's: the last layer, the norm of the class token, the projection (METHOD §1.4).

    `last_layer` is the tower's last layer, [n,N,C] to [n,N,C]; `weight` [C], `bias` [C] and `eps`
    are its post_layernorm, `projection` [P,C].
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float
    projection: torch.Tensor
    last_layer: Callable[[torch.Tensor], torch.Tensor] = _unchanged

    def patches(self, states: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """See `PatchSpace`."""
        return self.project(patches_of(self.last_layer(states)), normalised=normalised)

    def project(self, patches: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """[...,C] after the last layer to [...,P]. The released code leaves the layer norm out
        (METHOD §4.4)."""
        if normalised:
            patches = F.layer_norm(patches, (patches.shape[-1],), self.weight, self.bias, self.eps)
        return patches @ self.projection.T


@dataclass
class LateStates:
    """States of the LLM's tower, worked out for a frame when a plan first keeps it.

    Attributes:
        encode: some of the video's frames to their states [n,N,C]; None where features were
            unpickled and have no model yet.
        tokens, width: N and C.
        known: what was worked out, by frame.
    """

    encode: Callable[[Sequence[int]], torch.Tensor] | None
    tokens: int
    width: int
    known: dict[int, torch.Tensor] = field(default_factory=dict)

    def missing(self, frames: Sequence[int]) -> list[int]:
        """Those of some frames that are not known, each once."""
        return [frame for frame in dict.fromkeys(frames) if frame not in self.known]

    def ensure(self, frames: Sequence[int]) -> None:
        """Work out what is not known of some frames, each once."""
        if missing := self.missing(frames):
            assert self.encode is not None, "features without a model: VideoLLM.attach"
            states = self.encode(missing)
            self.known.update((frame, s) for frame, s in zip(missing, states, strict=True))

    def of(self, frames: Sequence[int]) -> torch.Tensor:
        """[n,N,C] of some frames."""
        self.ensure(frames)
        return torch.stack([self.known[frame] for frame in frames])


@dataclass(frozen=True)
class VideoFeatures:
    """What the towers say of T frames; nothing in it depends on a question.

    Attributes:
        llm_states: [T,N,C], the LLM's tower at the layer that the projector reads: S·S patches, in
            CLIP after a class token. None where they are `late`: only frames that a plan keeps pass
            that tower.
        scorer_states: [T,N',C'], the scoring tower's states *before* its last layer. That layer is
            run over whole frames only where a region is looked for, so for the few frames that a
            question picks. Where the towers are shared and the projector reads hidden state −2, as
            in LLaVA, this is `llm_states` itself.
        frame_vectors: [T,P], unit vectors of the frames in the joint space.
        joint: maps `scorer_states` into the joint space.
            None where they are `late_scored`: of very many frames only vectors are held.
        late: the LLM's states where they are worked out when they are needed.
        late_scored: the scorer's, likewise; the same object as `late` where one tower gives both.
    """

    llm_states: torch.Tensor | None
    scorer_states: torch.Tensor | None
    frame_vectors: torch.Tensor
    joint: PatchSpace | None
    late: LateStates | None = None
    late_scored: LateStates | None = None

    def __len__(self) -> int:
        return len(self.frame_vectors)

    def unseen(self, frames: Sequence[int]) -> list[int]:
        """Those of some frames that the LLM's tower has not looked at."""
        return [] if self.late is None else self.late.missing(frames)

    def ensure(self, frames: Sequence[int]) -> None:
        """Have the LLM's tower look at some frames, if it has not."""
        if self.late is not None:
            self.late.ensure(frames)

    def patches_in(self, frames: Sequence[int]) -> torch.Tensor:
        """[n,S²,C], the LLM's patches of some frames, without the class token."""
        if self.late is not None:
            return patches_of(self.late.of(frames))
        assert self.llm_states is not None
        return patches_of(self.llm_states)[list(frames)]

    @property
    def patches(self) -> torch.Tensor:
        """[T,S,S,C] of all frames."""
        if self.late is not None:
            return square(self.patches_in(range(len(self))))
        assert self.llm_states is not None
        return square(patches_of(self.llm_states))

    @property
    def width(self) -> int:
        """Of the LLM's states."""
        if self.late is not None:
            return self.late.width
        assert self.llm_states is not None
        return int(self.llm_states.shape[2])

    @property
    def side(self) -> int:
        """Patches along one side of a frame."""
        if self.late is not None:
            return math.isqrt(self.late.tokens)
        assert self.llm_states is not None
        return math.isqrt(self.llm_states.shape[1])

    def nbytes(self) -> int:
        """Bytes held; states that serve both towers count once."""
        own = (self.llm_states, self.scorer_states, self.frame_vectors)
        late = [
            states
            for some in (self.late, self.late_scored)
            for states in (some.known.values() if some is not None else ())
        ]
        tensors = {id(t): t for t in (*own, *late) if t is not None}
        return sum(tensor.nbytes for tensor in tensors.values())

    def joint_patches(
        self, frames: Sequence[int], *, normalised: bool = True, memo: Memo | None = None
    ) -> torch.Tensor:
        """The scorer's patches of some frames in the joint space: [n,S',S',P], not unit vectors.

        Frames in `memo` are not worked out again.
        """
        memo = {} if memo is None else memo
        keys = {frame: ("joint", normalised, frame) for frame in frames}
        missing = [frame for frame, key in keys.items() if key not in memo]
        if missing:
            assert self.joint is not None, "features without a model: VideoLLM.attach"
            states = self._scored(missing)
            grids = square(self.joint.patches(states, normalised=normalised))
            memo.update((keys[frame], grid) for frame, grid in zip(missing, grids, strict=True))
        return torch.stack([memo[keys[frame]] for frame in frames])

    def without_model(self) -> VideoFeatures:
        """What can be pickled: values, and nothing that computes."""
        late, scored = (
            None if some is None else replace(some, encode=None)
            for some in (self.late, self.late_scored)
        )
        return replace(self, joint=None, late=late, late_scored=scored)

    def _scored(self, frames: Sequence[int]) -> torch.Tensor:
        """The scorer's states [n,N',C'] of some frames."""
        if self.scorer_states is not None:
            return self.scorer_states[list(frames)]
        assert self.late_scored is not None
        return self.late_scored.of(frames)


def patches_of(states: torch.Tensor) -> torch.Tensor:
    """[T,N,C] to [T,S²,C], a view: without what stands before the patches, a class token or none.

    Examples:
        >>> [patches_of(torch.zeros(1, n, 2)).shape[1] for n in (577, 729)]
        [576, 729]
    """
    return states[:, states.shape[1] - math.isqrt(states.shape[1]) ** 2 :]


def square(patches: torch.Tensor) -> torch.Tensor:
    """[T,S²,C] to [T,S,S,C], a view."""
    side = round(patches.shape[1] ** 0.5)
    return patches.reshape(len(patches), side, side, patches.shape[-1])
