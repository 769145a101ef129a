"""Towers: from pixels to `VideoFeatures`, and from a question to a vector in the same space.

One pass of each distinct tower over each frame, never more (METHOD §4.2 to §4.4). Knows nothing of
plans or language models.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from free_video_llm.encoder.features import LateStates, PatchSpace, VideoFeatures
from free_video_llm.encoder.fingerprint import fingerprint
from free_video_llm.encoder.finite import check_finite
from free_video_llm.encoder.layers import hidden_states
from free_video_llm.encoder.llm_tower import HiddenStateTower, LLMTower, Looking
from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.encoder.scorer import PromptVector, Scorer
from free_video_llm.profiling.memory import free_bytes
from free_video_llm.video.late_pixels import LatePixels

if TYPE_CHECKING:
    from transformers import CLIPVisionModel, SiglipVisionModel


#: More frames per pass of a tower are no faster: the matrices are large enough by then.
MOST_FRAMES_AT_ONCE = 32
#: On a CPU more frames per pass are no faster once their values leave the cache, and hold more
#: memory (bench/savings.py).
CPU_BYTES_AT_ONCE = 64_000_000

#: Of all frames together, or what decodes those that are looked at.
AnyPixels = np.ndarray | LatePixels

#: Called with how much is done and how much there is.
Progress = Callable[[int, int], None]


class Towers:
    """The LLM's vision encoder, and the scorer beside it.

    Args:
        scorer: what scores frames and patches.
        llm_tower: the LLM's own, a vision model of transformers or any `LLMTower`; None where it
            is, bit for bit, the scorer's, so that one pass serves both.
        feature_layer: which hidden state of a vision model the LLM's projector reads (−2 in LLaVA).
        normalisation: of a vision model's pixels; the scorer's where None.
    """

    def __init__(
        self,
        *,
        scorer: Scorer,
        llm_tower: CLIPVisionModel | SiglipVisionModel | LLMTower | None = None,
        feature_layer: int = -2,
        normalisation: Normalisation | None = None,
    ) -> None:
        self.scorer = scorer
        module = scorer.tower if llm_tower is None else llm_tower
        self.own: LLMTower = (
            module
            if hasattr(module, "states")
            else HiddenStateTower(module, feature_layer, normalisation or scorer.normalisation)
        )
        self.shared = self.llm_tower is scorer.tower
        # A tokenizer of transformers is set up anew for every call, and borrowed by one at a time.
        self._tokenizing = threading.Lock()

    @property
    def llm_tower(self) -> Any:
        """The weights of the LLM's tower."""
        return self.own.module

    @property
    def normalisation(self) -> Normalisation:
        """Of the pixels that the LLM's tower takes."""
        return self.own.normalisation

    @property
    def size(self) -> int:
        """Height and width in pixels of the frames that the LLM's tower takes."""
        return self.own.size

    @property
    def side(self) -> int:
        """Patches along one side of a frame."""
        return self.own.side

    @property
    def tokens(self) -> int:
        """States of a frame: its patches, in CLIP after a class token."""
        return self.own.tokens

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells these towers, and what is read of them, from any others."""
        scorer = self.scorer
        parts = scorer.parts()
        if not self.shared:
            parts.append(("llm", self.llm_tower))
        layer = getattr(self.own, "layer", None)
        reading = (layer, self.own.normalisation, scorer.normalisation)
        return f"{fingerprint(parts)} {reading}"

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.llm_tower.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of the states."""
        dtype: torch.dtype = next(self.llm_tower.parameters()).dtype
        return dtype

    @torch.inference_mode()
    def encode(
        self,
        pixels: AnyPixels,
        *,
        batch: int | None = None,
        late: bool = False,
        progress: Progress | None = None,
    ) -> VideoFeatures:
        """Features of T frames, uint8 [T,size,size,3], `batch` of them per pass.

        With `late`, frames pass the LLM's tower when a plan first keeps them; where both towers are
        one, they have passed it then anyway.

        Raises:
            ValueError: the frames have another size than the tower takes.
        """
        encoder = FrameEncoder(self, np.asarray(pixels), late=late)
        batch = batch or self.batch_size()
        for start in range(0, len(pixels), batch):
            encoder.advance(min(start + batch, len(pixels)))
            if progress is not None:
                progress(encoder.done, len(pixels))
        return encoder.features()

    def batch_size(self) -> int:
        """Frames per pass that fit well into the memory that is free now (on a CPU: the cache)."""
        room = free_bytes(self.device) // 4
        if self.device.type == "cpu":
            room = min(room, CPU_BYTES_AT_ONCE)
        return max(1, min(MOST_FRAMES_AT_ONCE, int(room // self.own.frame_bytes)))

    def states_of(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States of n frames: the LLM's [n,N,C] at the layer that its projector reads, and the
        scorer's [n,N',C'] before its last layer. They are one and the
        same tensor where towers are shared and the projector reads hidden state −2."""
        if self.shared and isinstance(self.own, HiddenStateTower):
            wanted, before_last = self.own.wanted, self.scorer.before_last
            images = self.own.normalisation(pixels)
            states = hidden_states(self.llm_tower, images, {wanted, before_last})
            return states[wanted], states[before_last]
        return self.own.states(pixels), self.scorer.states(pixels).to(self.device)

    def late_states(self, pixels: AnyPixels) -> LateStates:
        """States of frames that pass the LLM's tower when they are kept."""
        return LateStates(functools.partial(self.look_at, pixels), self.tokens, self.own.width)

    def look_at(self, pixels: AnyPixels, frames: Sequence[int]) -> torch.Tensor:
        """States [n,N,C] of some frames at the layer that the LLM's projector reads."""
        return self._again(self.own, pixels, frames)

    def score_at(self, pixels: AnyPixels, frames: Sequence[int]) -> torch.Tensor:
        """States [n,N',C'] of some frames before the scorer's last layer."""
        return self._again(self.scorer, pixels, frames)

    @torch.inference_mode()
    def _again(self, tower: Looking, pixels: AnyPixels, frames: Sequence[int]) -> torch.Tensor:
        """States of some frames, a few of them at a time, on the LLM tower's device."""
        batch, found = self.batch_size(), []
        for start in range(0, len(frames), batch):
            some = torch.from_numpy(pixels[list(frames[start : start + batch])]).to(self.device)
            found.append(tower.states(some).to(self.device))
        states = torch.cat(found)
        check_finite("vision encoder", states[:, :1])
        return states

    def light_features(self, vectors: torch.Tensor, pixels: AnyPixels) -> VideoFeatures:
        """Features of frames of which only the vectors [T,P] are held; what else is needed of a
        frame passes its tower again."""
        late, scorer = self.late_states(pixels), self.scorer
        one = isinstance(self.own, HiddenStateTower) and self.own.wanted == scorer.before_last
        if self.shared and one:
            scored = late
        else:
            scored = LateStates(
                functools.partial(self.score_at, pixels), scorer.tokens, scorer.width
            )
        return VideoFeatures(None, None, vectors, self.joint_space(), late, scored)

    def adopt(self, features: VideoFeatures, pixels: AnyPixels) -> VideoFeatures:
        """Features that were unpickled, with these towers to work out what is missing."""
        ours = self.light_features(features.frame_vectors, pixels)
        late, scored = features.late, features.late_scored
        if late is not None and ours.late is not None:
            late = replace(ours.late, known=late.known)
        if scored is not None and ours.late_scored is not None:
            same = ours.late_scored is ours.late
            scored = late if same else replace(ours.late_scored, known=scored.known)
        return replace(features, joint=ours.joint, late=late, late_scored=scored)

    def frame_vectors(self, states: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n,P] of frames from their scorer's states."""
        return self.scorer.frames(states).to(self.device)

    def joint_space(self) -> PatchSpace:
        """The scorer's map from patches to the space shared with text."""
        return self.scorer.joint(self.device)

    def made(self, features: VideoFeatures) -> bool:
        """Whether features have the shapes that these towers give, and hold numbers."""
        count, kept, scorer = len(features.frame_vectors), features, self.scorer
        own = (self.tokens, self.own.width)
        shapes: list[tuple[int, ...]] = [(count, scorer.joined)]
        tensors = [kept.frame_vectors]
        if kept.scorer_states is not None:
            shapes.append((count, scorer.tokens, scorer.width))
            tensors.append(kept.scorer_states)
        elif kept.late_scored is None or (kept.late_scored.tokens, kept.late_scored.width) != (
            scorer.tokens,
            scorer.width,
        ):
            return False
        if kept.llm_states is not None:
            shapes.append((count, *own))
            tensors.append(kept.llm_states)
        elif kept.late is None or (kept.late.tokens, kept.late.width) != own:
            return False
        return all(
            tensor.shape == shape and bool(tensor.isfinite().all())
            for tensor, shape in zip(tensors, shapes, strict=True)
        )

    def encode_prompts(self, texts: Sequence[str]) -> list[PromptVector]:
        """The questions' unit vectors, on the LLM tower's device."""
        with self._tokenizing:
            prompts = self.scorer.texts(texts)
        return [
            replace(p, vector=p.vector.to(self.device), text=text)
            for p, text in zip(prompts, texts, strict=True)
        ]

    def encode_prompt(self, text: str) -> PromptVector:
        """The same for one question."""
        return self.encode_prompts([text])[0]


class FrameEncoder:
    """Encodes frames as they come, into memory laid out once.

    Args:
        towers: that encode.
        pixels: uint8 [T,size,size,3]; a frame need be there only when it is encoded.
        late: whether the LLM's own tower is left for later; see `Towers.encode`.
        held: whether states are kept; else the vectors alone.

    Attributes:
        done: how many of the first frames are encoded.

    Raises:
        ValueError: there is no frame, or they have another size than the tower takes.
    """

    def __init__(
        self, towers: Towers, pixels: np.ndarray, *, late: bool = False, held: bool = True
    ) -> None:
        size = towers.size
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3) or not len(pixels):
            raise ValueError(
                f"frames are uint8 [T,{size},{size},3] for this tower, not {list(pixels.shape)}"
            )
        self.towers, self.pixels, self.done = towers, pixels, 0
        self.late = late and (not held or not towers.shared)
        self.held = held
        self._states: list[torch.Tensor] = []
        self._vectors: list[torch.Tensor] = []

    @torch.inference_mode()
    def advance(self, stop: int) -> None:
        """Encode the frames up to `stop`, in one pass of each distinct tower.

        A pass that fails leaves everything as it was.
        """
        chunk = torch.from_numpy(self.pixels[self.done : stop]).to(self.towers.device)
        if self.late:
            scored = self.towers.scorer.states(chunk).to(self.towers.device)
            parts = (scored, scored)
        else:
            parts = self.towers.states_of(chunk)
        vectors = self.towers.frame_vectors(parts[1])
        # Not all of the states: a NaN in a layer reaches every token in the next one.
        check_finite("vision encoder", vectors, parts[0][:, :1])
        if self.held:
            self._keep(parts[:1] if parts[0] is parts[1] else parts, stop)
        self._vectors.append(vectors)
        self.done = stop

    def _keep(self, distinct: Sequence[torch.Tensor], stop: int) -> None:
        if not self._states:
            # Not collected and joined at the end, which would hold everything twice.
            self._states = [part.new_empty(len(self.pixels), *part.shape[1:]) for part in distinct]
        for states, part in zip(self._states, distinct, strict=True):
            states[self.done : stop] = part

    def vectors(self) -> torch.Tensor:
        """[T,P] of all frames; ValueError if some are not encoded."""
        if self.done != len(self.pixels):
            raise ValueError(f"{self.done} of {len(self.pixels)} frames were encoded")
        return torch.cat(self._vectors)

    def features(self) -> VideoFeatures:
        """The features of all frames, if states are held; ValueError if some are not encoded."""
        vectors = self.vectors()
        own = None if self.late else self._states[0]
        joint = self.towers.joint_space()
        late = self.towers.late_states(self.pixels) if self.late else None
        return VideoFeatures(own, self._states[-1], vectors, joint, late)
