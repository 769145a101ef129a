"""The interface of a scoring model: a text–image encoder that scores frames and patches.

One file each, and one entry of `models/scorers.py` by the model type of its config.json. Knows
nothing of checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from free_video_llm.encoder.features import PatchSpace
from free_video_llm.encoder.layers import hidden_states
from free_video_llm.encoder.llm_tower import HiddenStateTower, Looking
from free_video_llm.encoder.pixels import Normalisation, scaled


@dataclass(frozen=True)
class PromptVector:
    """A question in the joint space: `vector` float [P] of unit length.

    `truncated` tells that the text encoder's limit (77 tokens for CLIP) cut the question; `text` is
    the question itself, where it is known.
    """

    vector: torch.Tensor
    truncated: bool = False
    text: str = ""


class Scorer(Looking, Protocol):
    """What scores frames and patches against a question. Frames of other sizes are scaled.

    Attributes:
        model: transformers' model, whose weights tell the scorer from others.
        tower: its vision encoder; where the LLM's own has the same weights, one pass serves both.
        before_last: the number of the hidden state that `states` gives.
        joined: numbers of its vectors.
        state_bytes: that a frame's states take.
    """

    model: Any
    tower: Any

    @property
    def before_last(self) -> int: ...
    @property
    def joined(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...

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


class VisionScorer(HiddenStateTower):
    """What scorers of transformers have in common: a vision encoder beside a text encoder, read
    before its last layer.

    Args:
        model: transformers', with `vision_model`.
        tokenizer: of its text encoder.
        normalisation: of the pixels; the kind's `usual` one where None.
    """

    usual: ClassVar[Normalisation]

    def __init__(
        self, model: Any, tokenizer: Any, normalisation: Normalisation | None = None
    ) -> None:
        layers = len(model.vision_model.encoder.layers)
        super().__init__(model.vision_model, layers - 1, normalisation or self.usual)
        self.model: Any = model.eval()
        self.tower: Any = model.vision_model
        self.tokenizer = tokenizer

    @property
    def before_last(self) -> int:
        """The number of the hidden state that `states` gives."""
        return self.wanted

    @property
    def state_bytes(self) -> int:
        """That a frame's states take."""
        return int(self.tokens * self.width * self.tower.dtype.itemsize)

    def states(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [n,H,W,3] to states [n,N,C] before the last layer. Other sizes are scaled."""
        images = scaled(self.normalisation(pixels.to(self.tower.device)), self.size)
        return hidden_states(self.tower, images, {self.wanted})[self.wanted]
