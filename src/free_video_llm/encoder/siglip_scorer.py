"""SigLIP and SigLIP 2 (of fixed resolution) as the scorer: vectors of frames, patches, questions.

There is no class token: a head looks at all patches with one learnt query (Zhai et al., arXiv
2303.15343; Tschannen et al., arXiv 2502.14786). A patch's vector is what the head makes of that
patch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from free_video_llm.encoder.features import PatchSpace
from free_video_llm.encoder.finite import check_finite
from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.encoder.scorer import PromptVector, VisionScorer

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Patches that the head looks at in one go: bounds memory.
_AT_ONCE = 8_192


class SiglipScorer(VisionScorer):
    """A whole SigLIP model with its tokenizer; see `Scorer`."""

    usual = HALF

    @property
    def joined(self) -> int:
        """Of its vectors."""
        return self.width

    def parts(self) -> list[tuple[str, torch.nn.Module]]:
        """What decides the vectors of frames and patches."""
        return [("scorer", self.tower)]

    def frames(self, states: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n,P] of frames from their states before the last layer."""
        return F.normalize(self.tower.head(_finished(self.tower, states)), dim=-1)

    def joint(self, device: torch.device) -> PatchSpace:
        """The map from patches to the space shared with text, on `device`."""
        return HeadSpace(self.tower, device)

    @torch.inference_mode()
    def texts(self, questions: Sequence[str]) -> list[PromptVector]:
        """The questions' unit vectors. Text beyond the encoder's limit (64 tokens) is cut."""
        limit = int(self.model.text_model.config.max_position_embeddings)
        whole = [len(ids) for ids in self.tokenizer(list(questions))["input_ids"]]
        # Padded to the full length without a mask, as the model was trained.
        tokens = self.tokenizer(
            list(questions),
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=limit,
        )
        device = self.model.text_model.device
        pooled = self.model.text_model(input_ids=tokens["input_ids"].to(device)).pooler_output
        vectors = F.normalize(pooled, dim=-1)
        check_finite("text encoder", vectors)
        return [PromptVector(v, truncated=n > limit) for v, n in zip(vectors, whole, strict=True)]


def _finished(tower: Any, states: torch.Tensor) -> torch.Tensor:
    """States after the last layer and its norm: what the head looks at."""
    after = tower.encoder.layers[-1](states.to(tower.device), attention_mask=None)
    normed: torch.Tensor = tower.post_layernorm(after)
    return normed


@dataclass(frozen=True)
class HeadSpace:
    """Patches by the pooling head, one at a time; see `PatchSpace`."""

    tower: Any
    device: torch.device

    def patches(self, states: torch.Tensor, *, normalised: bool = True) -> torch.Tensor:
        """States [n,S²,C] before the last layer to patch vectors [n,S²,P], not of unit length.

        The layer norm stays, whatever the rules: the released code knows CLIP alone.
        """
        alone = _finished(self.tower, states).flatten(0, 1)[:, None]
        some = torch.split(alone, _AT_ONCE)  # type: ignore[no-untyped-call]
        vectors = torch.cat([self.tower.head(part) for part in some])
        return vectors.reshape(*states.shape[:2], -1).to(self.device)
