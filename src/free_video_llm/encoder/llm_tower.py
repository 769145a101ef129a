"""What the language model's own vision encoder gives of a frame: one state for each patch.

In LLaVA that is a hidden state, which a projector reads. In families whose encoder ends in visual
tokens (merged, shuffled or averaged by the family itself), the tokens are the states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from free_video_llm.encoder.layers import hidden_states
from free_video_llm.encoder.pixels import Normalisation


class Looking(Protocol):
    """A vision encoder that gives states of frames.

    Attributes:
        normalisation: of the pixels.
        size: height and width in pixels of the frames that it takes.
        side: states along one side of a frame.
        tokens: states of a frame, those before the patches (CLIP's class token) included.
        width: numbers of a state.
    """

    normalisation: Normalisation

    @property
    def size(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def width(self) -> int: ...

    def states(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [n,size,size,3] to [n,tokens,width]."""
        ...


class LLMTower(Looking, Protocol):
    """The vision encoder that the language model was trained with; frames are on its device.

    Attributes:
        module: its weights, which tell it from others.
        frame_bytes: memory that a frame takes on its way through, at most.
    """

    module: Any

    @property
    def frame_bytes(self) -> int: ...


class HiddenStateTower:
    """CLIP's or SigLIP's vision encoder, read at one layer; see `LLMTower`.

    Args:
        module: transformers' vision model.
        layer: which hidden state the LLM's projector reads (−2 in LLaVA).
        normalisation: of the pixels.
    """

    def __init__(self, module: Any, layer: int, normalisation: Normalisation) -> None:
        self.module = module.eval()
        self.layer = layer
        self.normalisation = normalisation

    @property
    def size(self) -> int:
        """Height and width in pixels of the frames that it takes."""
        return int(self.module.config.image_size)

    @property
    def side(self) -> int:
        """Patches along one side of a frame."""
        return self.size // int(self.module.config.patch_size)

    @property
    def tokens(self) -> int:
        """States of a frame: its patches, in CLIP after a class token."""
        return self.side**2 + hasattr(self.module.embeddings, "class_embedding")

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return int(self.module.config.hidden_size)

    @property
    def wanted(self) -> int:
        """The number of the hidden state that is read; 0 is the embeddings."""
        return int(self.layer % (len(self.module.encoder.layers) + 1))

    @property
    def frame_bytes(self) -> int:
        """Of one layer: its input, its norm, query, key, value and result, the MLP before and after
        its activation. No layer's values outlive it, but the allocator may keep as much again."""
        inner = int(self.module.config.intermediate_size)
        return int(2 * self.tokens * (6 * self.width + 2 * inner) * self.module.dtype.itemsize)

    def states(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `LLMTower`. No layer behind the one that is read is run."""
        return hidden_states(self.module, self.normalisation(pixels), {self.wanted})[self.wanted]


@dataclass(frozen=True)
class TokenTower:
    """A vision encoder that ends in the language model's own visual tokens; see `LLMTower`.

    Attributes:
        module: transformers' vision encoder.
        look: normalised images [n,3,size,size] to tokens [n,side²,width], row by row.
        normalisation: of the pixels.
        size, side, width: of frames, of their grid of tokens, and of a token.
        patches: that a frame has before the family makes fewer of them, and `inner` the width of
            its encoder's MLP: the most that a frame takes on its way.
    """

    module: Any
    look: Callable[[torch.Tensor], torch.Tensor]
    normalisation: Normalisation
    size: int
    side: int
    width: int
    patches: int
    inner: int

    @property
    def tokens(self) -> int:
        """States of a frame: its visual tokens."""
        return self.side**2

    @property
    def frame_bytes(self) -> int:
        """As much as its patches take in one layer, twice; see `HiddenStateTower.frame_bytes`."""
        itemsize = next(self.module.parameters()).dtype.itemsize
        return int(2 * self.patches * 4 * self.inner * itemsize)

    def states(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `LLMTower`."""
        return self.look(self.normalisation(pixels))
