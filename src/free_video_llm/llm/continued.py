"""A prompt that goes on: what an earlier one began with is not computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from free_video_llm.errors import ConfigError
from free_video_llm.llm.generate import Clock, Decoding, Generation, ImageLLM, attention_kernels
from free_video_llm.llm.kv_cache import KeyValues
from free_video_llm.profiling.stopwatch import now

#: Called with the text of an answer so far, as it grows; True ends it.
Heard = Callable[[str], bool]


class Continued:
    """The keys and values of one conversation, kept from turn to turn.

    Args:
        llm: whose they are.

    Attributes:
        computed: positions of the latest prompt that had to be computed.
    """

    def __init__(self, llm: ImageLLM) -> None:
        self.llm = llm
        self.computed = 0
        self._store: KeyValues | None = None
        self._written: torch.Tensor | None = None

    def forget(self) -> None:
        """Compute the next prompt from its beginning."""
        self._store = self._written = None

    @torch.inference_mode()
    def generate(
        self,
        token_ids: Sequence[int],
        visual: torch.Tensor,
        *,
        decoding: Decoding,
        stop: Sequence[str] = (),
        heard: Heard | None = None,
    ) -> Generation:
        """Answer a prompt of token ids, the visual tokens [N,D] in the image's place.

        Raises:
            ConfigError: it does not fit into the model's positions.
        """
        llm = self.llm
        embeds = llm.embed(token_ids, visual)
        length, most = len(embeds), llm.max_positions
        if length + decoding.max_new_tokens > most:
            raise ConfigError(
                f"the conversation needs {length + decoding.max_new_tokens} tokens, this model "
                f"holds {most}: begin a new one, or take a plan with fewer tokens"
            )
        past = self._common(embeds)
        if self._store is None:
            self._store = llm.key_values(1, length, decoding)
        extra: dict[str, Any] = {"stopping_criteria": []}
        if self._store is None:  # transformers keeps this model's in a way of its own
            past = 0
        else:
            extra["past_key_values"] = self._store.cache(slice(0, 1), past)
        if stop:
            extra["stopping_criteria"].append(llm.stopper(stop))
        if heard is not None:
            extra["stopping_criteria"].append(self._listener(heard, stop))
        self.computed = length - past
        self._written = None  # should this be stopped half way, nothing is known
        clock = Clock(llm.device)
        with attention_kernels(llm.device):
            output = llm.model.generate(
                inputs_embeds=embeds[None],
                attention_mask=torch.ones(1, length, dtype=torch.long, device=embeds.device),
                pad_token_id=llm.pad_id(),
                logits_processor=[clock],
                **decoding.arguments(),
                **extra,
            )
        made = output[0].tolist()
        generation = llm.generation(made, stop, length, clock, now(llm.device))
        fed = torch.tensor(made[:-1], dtype=torch.long, device=llm.device)  # the last was not
        table = llm.model.get_input_embeddings()
        self._written = torch.cat([embeds, table(fed).to(embeds.dtype)])
        return generation

    def _common(self, embeds: torch.Tensor) -> int:
        """Positions at the beginning whose keys and values are there; never all of a prompt."""
        if self._written is None or self._store is None:
            return 0
        count = min(len(embeds) - 1, len(self._written))
        same = (embeds[:count] == self._written[:count]).all(1)
        return int(same.long().cumprod(0).sum())

    def _listener(self, heard: Heard, stop: Sequence[str]) -> Callable[..., torch.Tensor]:
        llm = self.llm

        def listen(token_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            text = llm.decode(token_ids[0].tolist())
            for word in stop:
                text = text.split(word)[0]
            return torch.tensor([bool(heard(text))], device=token_ids.device)

        return listen
