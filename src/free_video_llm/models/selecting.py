"""What families have in common whose visual tokens are selected: transformers loads them, their own
encoder makes the tokens, and their own chat template the prompt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from free_video_llm.encoder.llm_tower import TokenTower
from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError, ConfigError
from free_video_llm.llm.chat import stamp
from free_video_llm.llm.prompts import CHAT
from free_video_llm.llm.selected_tokens import SelectedTokensLLM, Wiring
from free_video_llm.llm.tokenizer import load_tokenizer
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.family import Level
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.pretrained import chat_template_of, pretrained_config, pretrained_model
from free_video_llm.models.scorers import build_scorer, scorer_beside


@dataclass(frozen=True, kw_only=True)
class OpenedToSelect(Opened):
    """Opened, with the tokenizer and the chat template in Jinja."""

    tokenizer: Any
    chat_template: str


class SelectingFamily(ABC):
    """A family whose visual tokens are selected; see `Family`. What differs is `tower` and
    `wiring`."""

    name: str
    reads_words: str
    level: Level = "tokens"
    model_types: tuple[str, ...]
    #: Whether `max_pixels` says how large its frames are; else they have one size.
    sized = False
    #: The first transformers whose code takes this family's tokens as they are given to it.
    since: tuple[int, int] = (5, 18)

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        return config.get("model_type") in self.model_types

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> OpenedToSelect:
        """Read and check a checkpoint without building it. Raises CheckpointError."""
        built = pretrained_config(folder, config)
        tokenizer = load_tokenizer(folder)
        template = chat_template_of(folder, tokenizer)
        if template is None:
            raise CheckpointError(f"{folder} has no chat template, by which its model is asked")
        return OpenedToSelect(
            folder=folder,
            layout="transformers",
            config=built,
            scorer=scorer_beside(folder, scorer),
            conv_mode=CHAT,
            tokenizer=tokenizer,
            chat_template=template,
        )

    def build(
        self, opened: OpenedToSelect, options: LoadOptions
    ) -> tuple[Towers, SelectedTokensLLM]:
        """The towers and the language model. Raises CheckpointError or ConfigError."""
        if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < self.since:
            raise ConfigError(
                f"{self.name}'s tokens are selected with transformers "
                f"{'.'.join(map(str, self.since))} or newer, this is {transformers.__version__}: "
                "upgrade it, or take level=pictures"
            )
        if options.conv_mode not in (None, CHAT) or options.rope_scaling_factor != 1:
            raise ConfigError(
                "this model has a prompt and positions of its own: no conv_mode, no RoPE scaling"
            )
        if options.max_pixels is not None and not self.sized:
            raise ConfigError("this model's frames have one size: no max_pixels, or level=pictures")
        model = pretrained_model(opened.folder, opened.config, options)
        tower = self.tower(model, opened, options)
        towers = Towers(scorer=build_scorer(opened.scorer, options), llm_tower=tower)
        wiring = self.wiring(model, tower, opened.tokenizer)
        return towers, SelectedTokensLLM(model, opened.tokenizer, opened.chat_template, wiring)

    @abstractmethod
    def tower(self, model: Any, opened: OpenedToSelect, options: LoadOptions) -> TokenTower:
        """The encoder of a model that is built, which makes the tokens."""

    @abstractmethod
    def wiring(self, model: Any, tower: TokenTower, tokenizer: Any) -> Wiring:
        """How its tokens and its prompt go together."""


def as_one(tokens: Sequence[torch.Tensor]) -> Any:
    """The given tokens of all frames as one tensor [1,L,D], for models that take images of equal
    size; how many are of which frame, the prompt says."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=torch.cat(list(tokens))[None])


def one_by_one(tokens: Sequence[torch.Tensor]) -> Any:
    """The same as a list of [k,D], for models that take images of any size."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=list(tokens))


def frame_at(second: float) -> str:
    """What is written before a frame, where a family has no words of its own.

    Examples:
        >>> frame_at(7.26)
        'Frame at 7.3 s:'
    """
    return f"Frame at {stamp(second)}:"


def grid_side(tokens: int, folder: Path) -> int:
    """The side of a square grid. Raises CheckpointError where it is none."""
    side = math.isqrt(tokens)
    if side < 1 or side * side != tokens:
        raise CheckpointError(f"{folder / 'config.json'}: {tokens} tokens of a frame are no square")
    return side
