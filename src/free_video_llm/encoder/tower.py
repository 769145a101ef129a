"""Towers: from pixels to `VideoFeatures`, and from a question to a vector in the same space.

One pass of each distinct tower over each frame, never more (METHOD §4.2 to §4.4). Knows nothing of
plans or language models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from free_video_llm.encoder.features import JointSpace, VideoFeatures
from free_video_llm.encoder.fingerprint import fingerprint
from free_video_llm.errors import NOT_NUMBERS, CheckpointError
from free_video_llm.profiling.memory import free_bytes

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPVisionModel


#: More frames per pass of a tower are no faster: the matrices are large enough by then.
MOST_FRAMES_AT_ONCE = 32
#: On a CPU more frames per pass are no faster once their values leave the cache, and hold more
#: memory (bench/savings.py).
CPU_BYTES_AT_ONCE = 64_000_000

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

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells these towers, and what is read of them, from any others."""
        parts = [("scorer", self.scorer.vision_model), ("joint", self.scorer.visual_projection)]
        if not self.shared:
            parts.append(("llm", self.llm_tower))
        reading = (self.feature_layer, self.normalisation, self.scorer_normalisation)
        return f"{fingerprint(parts)} {reading}"

    @property
    def device(self) -> torch.device:
        device: torch.device = self.llm_tower.device
        return device

    @torch.inference_mode()
    def encode(
        self, pixels: np.ndarray, *, batch: int | None = None, progress: Progress | None = None
    ) -> VideoFeatures:
        """Features of T frames, uint8 [T,size,size,3], `batch` of them per pass.

        Raises:
            ValueError: the frames have another size than the tower takes.
        """
        encoder = FrameEncoder(self, pixels)
        batch = batch or self.batch_size()
        for start in range(0, len(pixels), batch):
            encoder.advance(min(start + batch, len(pixels)))
            if progress is not None:
                progress(encoder.done, len(pixels))
        return encoder.features()

    def batch_size(self) -> int:
        """Frames per pass that fit well into the memory that is free now (on a CPU: the cache)."""
        tower = self.llm_tower
        tokens, width = 1 + self.side**2, int(tower.config.hidden_size)
        inner = int(tower.config.intermediate_size)
        # Of one layer: its input, its norm, query, key, value and result, the MLP before and after
        # its activation. No layer's values outlive it, but the allocator may keep as much again.
        frame = 2 * tokens * (6 * width + 2 * inner) * tower.dtype.itemsize
        room = free_bytes(self.device) // 4
        if self.device.type == "cpu":
            room = min(room, CPU_BYTES_AT_ONCE)
        return max(1, min(MOST_FRAMES_AT_ONCE, int(room // frame)))

    def states_of(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States of n frames, class token first: the LLM's [n,1+S²,C] at the layer that its
        projector reads, and the scorer's [n,1+S'²,C'] before its last layer. They are one and the
        same tensor where towers are shared and the projector reads hidden state −2."""
        wanted = self.feature_layer % (len(self.llm_tower.encoder.layers) + 1)
        before_last = len(self.scorer.vision_model.encoder.layers) - 1
        images = self.normalisation(pixels)
        if self.shared:
            states = _hidden_states(self.llm_tower, images, {wanted, before_last})
            return states[wanted], states[before_last]
        # The LLM never reads what its tower computes after this layer.
        return _hidden_states(self.llm_tower, images, {wanted})[wanted], self._score_pass(pixels)

    def frame_vectors(self, states: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n,P] of frames from their states before the scorer's last layer.

        Only the class token's part of that layer is computed.
        """
        tower = self.scorer.vision_model
        last = _class_token_after(tower.encoder.layers[-1], states.to(tower.device))
        vectors = self.scorer.visual_projection(tower.post_layernorm(last))
        return F.normalize(vectors, dim=-1).to(self.device)

    def _score_pass(self, pixels: torch.Tensor) -> torch.Tensor:
        tower = self.scorer.vision_model
        pixels = pixels.to(tower.device)
        size = int(tower.config.image_size)
        images = self.scorer_normalisation(pixels)
        if images.shape[-1] != size:
            images = F.interpolate(
                images, (size, size), mode="bicubic", antialias=True, align_corners=False
            )
        before_last = len(tower.encoder.layers) - 1
        return _hidden_states(tower, images, {before_last})[before_last].to(self.device)

    def joint_space(self) -> JointSpace:
        """The scorer's map from patches to the space shared with text."""
        tower = self.scorer.vision_model
        norm = tower.post_layernorm

        def last_layer(states: torch.Tensor) -> torch.Tensor:
            after: torch.Tensor = tower.encoder.layers[-1](
                states.to(tower.device), attention_mask=None
            )
            return after.to(self.device)

        return JointSpace(
            norm.weight.detach().to(self.device),
            norm.bias.detach().to(self.device),
            norm.eps,
            self.scorer.visual_projection.weight.detach().to(self.device),
            last_layer,
        )

    def made(self, features: VideoFeatures) -> bool:
        """Whether features have the shapes that these towers give, and hold numbers."""
        tower = self.scorer.vision_model.config
        patches = (int(tower.image_size) // int(tower.patch_size)) ** 2
        count, kept = len(features.frame_vectors), features
        shapes = (
            (count, 1 + self.side**2, int(self.llm_tower.config.hidden_size)),
            (count, 1 + patches, int(tower.hidden_size)),
            (count, int(self.scorer.visual_projection.out_features)),
        )
        tensors = (kept.llm_states, kept.scorer_states, kept.frame_vectors)
        return all(
            tensor.shape == shape and bool(tensor.isfinite().all())
            for tensor, shape in zip(tensors, shapes, strict=True)
        )

    @torch.inference_mode()
    def encode_prompts(self, texts: Sequence[str]) -> list[PromptVector]:
        """The questions' unit vectors. Text beyond the encoder's limit is cut, and said so."""
        limit = int(self.scorer.text_model.config.max_position_embeddings)
        whole = [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]
        tokens = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=limit
        )
        device = self.scorer.text_model.device
        pooled = self.scorer.text_model(
            input_ids=tokens["input_ids"].to(device),
            attention_mask=tokens["attention_mask"].to(device),
        ).pooler_output
        vectors = F.normalize(self.scorer.text_projection(pooled), dim=-1).to(self.device)
        check_finite("text encoder", vectors)
        return [PromptVector(v, truncated=n > limit) for v, n in zip(vectors, whole, strict=True)]

    def encode_prompt(self, text: str) -> PromptVector:
        """The same for one question."""
        return self.encode_prompts([text])[0]


def check_finite(part: str, *values: torch.Tensor) -> None:
    """Raise CheckpointError where a part of the model gives what is no number."""
    if not all(bool(value.isfinite().all()) for value in values):
        raise CheckpointError(NOT_NUMBERS.format(part=part))


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


def _class_token_after(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """The class token [n,C] after an encoder layer, from all states [n,N,C] before it.

    Of the layer's work only keys and values concern the other tokens: a sixth of it.
    """
    if any(parameter.is_meta for parameter in layer.parameters()):
        # Weights that wait in main memory are brought by the layer's own call.
        return layer(states, attention_mask=None)[:, 0]  # type: ignore[no-any-return]
    attention = layer.self_attn
    normed = layer.layer_norm1(states)
    heads = (-1, attention.head_dim)
    query, key, value = (
        projection(tokens).unflatten(-1, heads).transpose(1, 2)
        for projection, tokens in (
            (attention.q_proj, normed[:, :1]),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
    seen = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    state = states[:, 0] + attention.out_proj(seen.transpose(1, 2).flatten(2))[:, 0]
    result: torch.Tensor = state + layer.mlp(layer.layer_norm2(state))
    return result


class FrameEncoder:
    """Encodes frames as they come, into memory laid out once.

    Args:
        towers: that encode.
        pixels: uint8 [T,size,size,3]; a frame need be there only when it is encoded.

    Attributes:
        done: how many of the first frames are encoded.

    Raises:
        ValueError: there is no frame, or they have another size than the tower takes.
    """

    def __init__(self, towers: Towers, pixels: np.ndarray) -> None:
        size = towers.size
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3) or not len(pixels):
            raise ValueError(
                f"frames are uint8 [T,{size},{size},3] for this tower, not {list(pixels.shape)}"
            )
        self.towers, self.pixels, self.done = towers, pixels, 0
        self._states: list[torch.Tensor] = []
        self._vectors: list[torch.Tensor] = []

    @torch.inference_mode()
    def advance(self, stop: int) -> None:
        """Encode the frames up to `stop`, in one pass of each distinct tower.

        A pass that fails leaves everything as it was.
        """
        chunk = torch.from_numpy(self.pixels[self.done : stop]).to(self.towers.device)
        parts = self.towers.states_of(chunk)
        vectors = self.towers.frame_vectors(parts[1])
        # Not all of the states: a NaN in a layer reaches the class token in the next one.
        check_finite("vision encoder", vectors, parts[0][:, :1])
        distinct = parts[:1] if parts[0] is parts[1] else parts
        if not self._states:
            # Not collected and joined at the end, which would hold everything twice.
            self._states = [part.new_empty(len(self.pixels), *part.shape[1:]) for part in distinct]
        for states, part in zip(self._states, distinct, strict=True):
            states[self.done : stop] = part
        self._vectors.append(vectors)
        self.done = stop

    def features(self) -> VideoFeatures:
        """The features of all frames; ValueError if some are not encoded."""
        if self.done != len(self.pixels):
            raise ValueError(f"{self.done} of {len(self.pixels)} frames were encoded")
        return VideoFeatures(
            self._states[0], self._states[-1], torch.cat(self._vectors), self.towers.joint_space()
        )
