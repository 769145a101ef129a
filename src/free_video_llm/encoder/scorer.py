"""The interface of a scoring model: a text–image encoder that scores frames and patches.

One file each, and one entry of `models/scorers.py` by the model type of its config.json. Knows
nothing of checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from free_video_llm.encoder.features import PatchSpace
from free_video_llm.encoder.pixels import Normalisation


@dataclass(frozen=True)
class PromptVector:
    """A question in the joint space: `vector` float [P] of unit length.

    `truncated` tells that the text encoder's limit (77 tokens for CLIP) cut the question.
    """

    vector: torch.Tensor
    truncated: bool = False


class Scorer(Protocol):
    """What scores frames and patches against a question.

    Attributes:
        model: transformers' model, whose weights tell the scorer from others.
        tower: its vision encoder; where the LLM's own has the same weights, one pass serves both.
        normalisation: of the pixels.
        before_last: the number of the hidden state that `states` gives.
        tokens: states of a frame.
        size: height and width in pixels of the frames that it takes.
        side: patches along one side of a frame.
        width: of its states; `joined` of its vectors.
    """

    model: Any
    tower: Any
    normalisation: Normalisation

    @property
    def size(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def before_last(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def joined(self) -> int: ...

    def states(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [n,H,W,3] to states [n,N,C] from which `frames` and `joint` go on."""
        ...

    def frames(self, states: torch.Tensor) -> torch.Tensor:
        """States to unit vectors [n,P] of whole frames."""
        ...

    def parts(self) -> list[tuple[str, torch.nn.Module]]:
        """The modules that decide the vectors of frames and patches, by name."""
        ...

    def joint(self, device: torch.device) -> PatchSpace:
        """The map from states to patch vectors in the same space."""
        ...

    def texts(self, questions: Sequence[str]) -> list[PromptVector]:
        """The questions' vectors. A text beyond the encoder's limit is cut, and said so."""
        ...
