"""CLIP as the scorer: one vector a frame, one a patch, one a question (METHOD §1.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from free_video_llm.encoder.features import JointSpace, PatchSpace
from free_video_llm.encoder.finite import check_finite
from free_video_llm.encoder.layers import class_token_after
from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.encoder.scorer import PromptVector, VisionScorer


class ClipScorer(VisionScorer):
    """A whole CLIP model with its tokenizer; see `Scorer`."""

    usual = Normalisation()

    @property
    def joined(self) -> int:
        """Of its vectors."""
        return int(self.model.visual_projection.out_features)

    def parts(self) -> list[tuple[str, torch.nn.Module]]:
        """What decides the vectors of frames and patches."""
        return [("scorer", self.tower), ("joint", self.model.visual_projection)]

    def frames(self, states: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n,P] of frames from their states before the last layer.

        Only the class token's part of that layer is computed.
        """
        last = class_token_after(self.tower.encoder.layers[-1], states.to(self.tower.device))
        vectors = self.model.visual_projection(self.tower.post_layernorm(last))
        return F.normalize(vectors, dim=-1)

    def joint(self, device: torch.device) -> PatchSpace:
        """The map from patches to the space shared with text, on `device`."""
        norm = self.tower.post_layernorm

        def last_layer(states: torch.Tensor) -> torch.Tensor:
            after: torch.Tensor = self.tower.encoder.layers[-1](
                states.to(self.tower.device), attention_mask=None
            )
            return after.to(device)

        return JointSpace(
            norm.weight.detach().to(device),
            norm.bias.detach().to(device),
            norm.eps,
            self.model.visual_projection.weight.detach().to(device),
            last_layer,
        )

    @torch.inference_mode()
    def texts(self, questions: Sequence[str]) -> list[PromptVector]:
        """The questions' unit vectors. Text beyond the encoder's limit is cut, and said so."""
        limit = int(self.model.text_model.config.max_position_embeddings)
        whole = [len(ids) for ids in self.tokenizer(list(questions))["input_ids"]]
        tokens = self.tokenizer(
            list(questions), return_tensors="pt", padding=True, truncation=True, max_length=limit
        )
        device = self.model.text_model.device
        pooled = self.model.text_model(
            input_ids=tokens["input_ids"].to(device),
            attention_mask=tokens["attention_mask"].to(device),
        ).pooler_output
        vectors = F.normalize(self.model.text_projection(pooled), dim=-1)
        check_finite("text encoder", vectors)
        return [PromptVector(v, truncated=n > limit) for v, n in zip(vectors, whole, strict=True)]
