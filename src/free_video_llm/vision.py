"""Towers: from pixels to `VideoFeatures`, and from a question to a vector in the same space.

One pass of each distinct tower over each frame, never more (METHOD §4.2 to §4.4). Knows nothing of
plans or language models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from free_video_llm.perception import JointSpace, VideoFeatures

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPVisionModel

log = logging.getLogger(__name__)

#: Called with how much is done and how much there is.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PromptVector:
    """A question in the joint space: `vector` float [P] of unit length.

    `truncated` tells that the text encoder's limit (77 tokens for CLIP) cut the question.
    """

    vector: torch.Tensor
    truncated: bool = False


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel, for pixels scaled to 0..1."""

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B,H,W,3] to float32 [B,3,H,W]."""
        images = pixels.permute(0, 3, 1, 2).float().mul_(1 / 255)
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        return images.sub_(mean).div_(std)


class Towers:
    """The LLM's vision tower and the CLIP model that scores frames and patches.

    Args:
        scorer: the whole CLIP model, with its text encoder.
        tokenizer: the text encoder's.
        llm_tower: the LLM's own tower; None where it is, bit for bit, the scorer's, so that one
            pass serves both.
        feature_layer: which hidden state the LLM's projector reads (−2 in LLaVA).
    """

    def __init__(
        self,
        *,
        scorer: CLIPModel,
        tokenizer: Any,
        llm_tower: CLIPVisionModel | None = None,
        feature_layer: int = -2,
        normalisation: Normalisation | None = None,
        scorer_normalisation: Normalisation | None = None,
    ) -> None:
        self.scorer = scorer.eval()
        self.tokenizer = tokenizer
        self.llm_tower = scorer.vision_model if llm_tower is None else llm_tower.eval()
        self.shared = self.llm_tower is scorer.vision_model
        self.feature_layer = feature_layer
        self.normalisation = normalisation or Normalisation()
        self.scorer_normalisation = scorer_normalisation or self.normalisation

    @property
    def size(self) -> int:
        """Height and width in pixels of the frames that the LLM's tower takes."""
        return int(self.llm_tower.config.image_size)

    @property
    def side(self) -> int:
        """Patches along one side of a frame."""
        return self.size // int(self.llm_tower.config.patch_size)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.llm_tower.device
        return device

    @torch.inference_mode()
    def encode(
        self, pixels: np.ndarray, *, batch: int = 8, progress: Progress | None = None
    ) -> VideoFeatures:
        """Features of T frames, uint8 [T,size,size,3].

        Raises:
            ValueError: the frames have another size than the tower takes.
        """
        if pixels.ndim != 4 or pixels.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"frames are uint8 [T,{self.size},{self.size},3] for this tower, "
                f"not {list(pixels.shape)}"
            )
        chunks = (pixels[i : i + batch] for i in range(0, len(pixels), batch))
        return self.encode_stream(chunks, total=len(pixels), progress=progress)

    @torch.inference_mode()
    def encode_stream(
        self, chunks: Iterable[np.ndarray], *, total: int, progress: Progress | None = None
    ) -> VideoFeatures:
        """The same from an iterable of uint8 [n,size,size,3], as a decoder gives them."""
        parts = []
        done = 0
        for chunk in chunks:
            parts.append(self._encode_chunk(torch.from_numpy(chunk).to(self.device)))
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        patches, scorer_patches, vectors = (torch.cat(p) for p in zip(*parts, strict=True))
        return VideoFeatures(patches, scorer_patches, vectors, self.joint_space())

    def _encode_chunk(
        self, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layers = len(self.llm_tower.encoder.layers)
        wanted = self.feature_layer % (layers + 1)
        if self.shared:
            states = _hidden_states(self.llm_tower, self.normalisation(pixels), {wanted, layers})
            features, last = states[wanted], states[layers]
        else:
            # The LLM never reads what its tower computes after this layer.
            images = self.normalisation(pixels)
            features = _hidden_states(self.llm_tower, images, {wanted})[wanted]
            last = self._score_pass(pixels)
        norm, project = self.scorer.vision_model.post_layernorm, self.scorer.visual_projection
        vectors = F.normalize(project(norm(last[:, 0])), dim=-1)
        return _grid(features[:, 1:]), _grid(last[:, 1:]), vectors

    def _score_pass(self, pixels: torch.Tensor) -> torch.Tensor:
        tower = self.scorer.vision_model
        pixels = pixels.to(tower.device)
        size = int(tower.config.image_size)
        images = self.scorer_normalisation(pixels)
        if images.shape[-1] != size:
            images = F.interpolate(
                images, (size, size), mode="bicubic", antialias=True, align_corners=False
            )
        layers = len(tower.encoder.layers)
        return _hidden_states(tower, images, {layers})[layers].to(self.device)

    def joint_space(self) -> JointSpace:
        """The scorer's map from patches to the space shared with text."""
        norm = self.scorer.vision_model.post_layernorm
        return JointSpace(
            norm.weight.detach().to(self.device),
            norm.bias.detach().to(self.device),
            norm.eps,
            self.scorer.visual_projection.weight.detach().to(self.device),
        )

    @torch.inference_mode()
    def encode_prompt(self, text: str) -> PromptVector:
        """The question's unit vector. Text beyond the encoder's limit is cut, and said so."""
        limit = int(self.scorer.text_model.config.max_position_embeddings)
        tokens = self.tokenizer([text], return_tensors="pt", truncation=True, max_length=limit)
        whole = len(self.tokenizer([text])["input_ids"][0])
        device = self.scorer.text_model.device
        pooled = self.scorer.text_model(
            input_ids=tokens["input_ids"].to(device),
            attention_mask=tokens["attention_mask"].to(device),
        ).pooler_output
        vector = F.normalize(self.scorer.text_projection(pooled), dim=-1)[0]
        return PromptVector(vector.to(self.device), truncated=whole > limit)


def _hidden_states(
    tower: CLIPVisionModel, images: torch.Tensor, wanted: set[int]
) -> dict[int, torch.Tensor]:
    """The hidden states named in `wanted` (0 is the embeddings), and no layer beyond the last."""
    images = images.to(tower.dtype)
    state = tower.pre_layrnorm(tower.embeddings(images))
    states = {0: state} if 0 in wanted else {}
    for number, layer in enumerate(_first(tower.encoder.layers, max(wanted)), start=1):
        state = layer(state, attention_mask=None)
        if number in wanted:
            states[number] = state
    return states


def _first(layers: Any, count: int) -> Iterator[Any]:
    return (layer for _, layer in zip(range(count), layers, strict=False))


def _grid(patches: torch.Tensor) -> torch.Tensor:
    """[T,S²,C] to [T,S,S,C]."""
    side = round(patches.shape[1] ** 0.5)
    return patches.reshape(len(patches), side, side, -1)
