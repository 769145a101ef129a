"""The image LLM: visual tokens and a prompt go in, text comes out. Batches of different lengths.

Knows nothing of videos, frames or plans.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from free_video_llm.errors import NOT_NUMBERS, CheckpointError, ConfigError, shown
from free_video_llm.llm.prefill import prefill
from free_video_llm.llm.prefix_tree import pair_cost, tree
from free_video_llm.llm.prompts import IMAGE
from free_video_llm.profiling.stopwatch import now

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from free_video_llm.llm.kv_cache import KeyValues

#: What stands for the image in a list of token ids, as in LLaVA.
IMAGE_ID = -200


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the answer is decoded; greedy unless `temperature` is above 0.

    `num_beams`, `top_p`, `top_k`, `repetition_penalty` mean what they mean in transformers.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    num_beams: int = 1
    repetition_penalty: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("num_beams", 1), ("top_k", 1), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole and value >= least) and not (value is None and name in ("top_k", "seed")):
                raise ConfigError(f"{name} is a whole number, at least {least}, not {shown(value)}")
        if not _is_finite(self.temperature) or self.temperature < 0:
            raise ConfigError(f"temperature is 0 (greedy) or more, not {shown(self.temperature)}")
        if self.top_p is not None and not (_is_finite(self.top_p) and 0 < self.top_p <= 1):
            raise ConfigError(f"top_p is above 0 and at most 1, not {shown(self.top_p)}")
        penalty = self.repetition_penalty
        if penalty is not None and not (_is_finite(penalty) and penalty > 0):
            raise ConfigError(f"repetition_penalty is above 0, not {shown(penalty)}")
        if self.temperature == 0 and (self.top_p is not None or self.top_k is not None):
            raise ConfigError("top_p and top_k need a temperature above 0")

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for `generate`."""
        sampling = self.temperature > 0
        named: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": sampling,
            "num_beams": self.num_beams,
            "temperature": self.temperature if sampling else None,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
        }
        return {
            k: v
            for k, v in named.items()
            if v is not None or k in ("temperature", "top_p", "top_k")
        }


def _is_finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Generation:
    """One answer: its text, its token ids (as generated, end token included; none from a server)
    and the seconds of the pre-fill, of all that followed, and of each token after the first (of its
    whole batch). `new_tokens` counts the answer's; `cost` is what a server says that it cost, in
    its own money."""

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    prefill_seconds: float
    decode_seconds: float
    token_seconds: tuple[float, ...] = ()
    new_tokens: int = 0
    cost: float | None = None


class TwoLayerProjector:
    """LLaVA's `mlp2x_gelu` (or one linear layer) as two steps; see `perception.Projector`."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def _cast(self, values: torch.Tensor) -> torch.Tensor:
        weight = self.module.linear_1.weight
        dtype = weight.dtype if weight.dtype.is_floating_point else values.dtype
        return values.to(weight.device, dtype)

    def hidden(self, patches: torch.Tensor) -> torch.Tensor:
        """[...,C] to [...,D], after the GELU."""
        result: torch.Tensor = self.module.act(self.module.linear_1(self._cast(patches)))
        return result

    def out(self, hidden: torch.Tensor) -> torch.Tensor:
        """[...,D] to [...,D]."""
        result: torch.Tensor = self.module.linear_2(hidden)
        return result


class Clock:
    """A logits processor that changes nothing, refuses scores that are no numbers, and notes when
    those of each token came."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = now(device)
        self.times: list[float] = []

    def __call__(self, token_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.times.append(now(self.device))
        if not scores.isfinite().any(-1).all():  # some are masked by minus infinity on purpose
            raise CheckpointError(NOT_NUMBERS.format(part="language model"))
        if scores.isnan().any():
            raise CheckpointError(NOT_NUMBERS.format(part="language model"))
        return scores


@contextlib.contextmanager
def attention_kernels(device: torch.device) -> Iterator[None]:
    """Attention on a GPU without cuDNN's kernels.

    cuDNN plans anew for every length of prompt and answer, which costs more than all else: on an
    H200 a question of a new length took 2.1 s, of which 1.2 were planning (bench/gpu.py).
    """
    if device.type != "cuda":
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield


class ImageLLM:
    """A projector and a language model, of a transformers LLaVA.

    Args:
        model: `LlavaForConditionalGeneration`, `LlavaNextForConditionalGeneration` or
            `LlavaOnevisionForConditionalGeneration`.
        tokenizer: the language model's.
        after_image: [D], what the model reads after the visual tokens, if anything.

    Attributes:
        local: whether it is decoded here, so that keys and values can be kept and likelihoods told.
        fewer: what makes a prompt shorter, for whoever is told that it is too long.
    """

    local = True
    fewer = "a plan with fewer tokens, fewer frames, or rope_scaling_factor=2"

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, *, after_image: torch.Tensor | None = None
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.after_image = after_image
        self.projector = TwoLayerProjector(model.model.multi_modal_projector)
        self._tokenizing = (
            threading.Lock()
        )  # one at a time: questions may come from several threads

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def max_positions(self) -> int:
        """Tokens that the language model can hold, prompt and answer together.

        Dynamic NTK scaling stretches it by its factor (METHOD §1.9).
        """
        config = self.model.config.text_config
        rope = getattr(config, "rope_parameters", None) or {}
        factor = rope.get("factor") or 1.0
        return int(config.max_position_embeddings * factor)

    def _is_stretched(self, tokens: int) -> bool:
        """Whether so many tokens need positions scaled by dynamic NTK."""
        config = self.model.config.text_config
        kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
        return kind == "dynamic" and tokens > config.max_position_embeddings

    def tokenize(self, prompt: str) -> list[int]:
        """Token ids of a prompt, `IMAGE_ID` where `<image>` stands, as LLaVA does it.

        Raises:
            ConfigError: not exactly one `<image>`.
        """
        pieces = prompt.split(IMAGE)
        if len(pieces) != 2:
            raise ConfigError(f"a prompt has exactly one {IMAGE}, this one has {len(pieces) - 1}")
        with self._tokenizing:
            before, after = (list(self.tokenizer(piece)["input_ids"]) for piece in pieces)
        bos = self.tokenizer.bos_token_id
        if after and bos is not None and after[0] == bos:
            after = after[1:]
        return [*before, IMAGE_ID, *after]

    def tokenize_more(self, text: str) -> list[int]:
        """Token ids of a text that goes on with a prompt."""
        with self._tokenizing:
            ids = list(self.tokenizer(text)["input_ids"])
        bos = self.tokenizer.bos_token_id
        return ids[1:] if ids and bos is not None and ids[0] == bos else ids

    def without_end(self, token_ids: Sequence[int]) -> list[int]:
        """An answer's ids without the end of its turn."""
        ends = set(self._end_ids())
        return [number for number in token_ids if number not in ends]

    def embed(self, token_ids: Sequence[int], visual: torch.Tensor) -> torch.Tensor:
        """Embeddings [L,D] of a prompt with the visual tokens [N,D] in the image's place."""
        at = list(token_ids).index(IMAGE_ID)
        table = self.model.get_input_embeddings()

        def look_up(ids: Sequence[int]) -> torch.Tensor:
            result: torch.Tensor = table(torch.tensor(ids, dtype=torch.long, device=self.device))
            return result

        if max(token_ids) >= len(table.weight):
            raise CheckpointError(
                f"the tokenizer gives token {max(token_ids):,}, but the language model has "
                f"{len(table.weight):,}: the checkpoint's tokenizer is another model's"
            )
        head, tail = look_up(token_ids[:at]), look_up(token_ids[at + 1 :])
        seen = [visual] if self.after_image is None else [visual, self.after_image[None]]
        return torch.cat([head, *(part.to(self.device, head.dtype) for part in seen), tail])

    def embedded(
        self, prompts: Sequence[str], visual: Sequence[torch.Tensor], decoding: Decoding
    ) -> list[torch.Tensor]:
        """Embeddings [L_i,D] of prompts, each with its own visual tokens [N_i,D]. Raises
        ConfigError where one does not fit into the model's positions with its answer."""
        embeds = [self.embed(self.tokenize(p), v) for p, v in zip(prompts, visual, strict=True)]
        needed = max(len(e) for e in embeds) + decoding.max_new_tokens
        if needed > self.max_positions:
            raise ConfigError(
                f"prompt and answer need {needed} tokens, this model holds {self.max_positions}: "
                f"take {self.fewer}"
            )
        return embeds

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        visual: Sequence[torch.Tensor],
        *,
        decoding: Decoding | None = None,
        stop: Sequence[str] = (),
    ) -> list[Generation]:
        """Answer a batch of prompts, each with its own visual tokens [N_i,D].

        Raises:
            ConfigError: a prompt does not fit into the model's positions.
        """
        decoding = decoding or Decoding()
        embeds = self.embedded(prompts, visual, decoding)
        longest = max(len(e) for e in embeds)
        if len(embeds) > 1 and self._is_stretched(longest + decoding.max_new_tokens):
            # Positions are then scaled by the longest prompt of a pass: each has one of its own.
            return [
                self.generate([p], [v], decoding=decoding, stop=stop)[0]
                for p, v in zip(prompts, visual, strict=True)
            ]
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        extra: dict[str, Any] = {}
        if stop:
            extra["stopping_criteria"] = [self.stopper(stop)]
        clock = Clock(self.device)
        order: Sequence[int] = range(len(embeds))
        store = self.key_values(len(embeds), longest, decoding)
        if store is not None:
            written = 0
            if len(embeds) > 1:
                with attention_kernels(self.device):
                    order, written = self._prefill(embeds, store), longest - 1
            extra["past_key_values"] = store.cache(slice(0, len(embeds)), written)
        embeds = [embeds[row] for row in order]
        inputs = embeds[0].new_zeros(len(embeds), longest, embeds[0].shape[1])
        mask = torch.zeros(len(embeds), longest, dtype=torch.long, device=inputs.device)
        for row, e in enumerate(embeds):  # so that all answers begin together
            inputs[row, longest - len(e) :] = e
            if store is None:
                mask[row, longest - len(e) :] = 1
            else:  # pre-filled from the left
                mask[row, : len(e) - 1] = 1
                mask[row, -1] = 1
        with attention_kernels(self.device):
            output = self.model.generate(
                inputs_embeds=inputs,
                attention_mask=mask,
                pad_token_id=self.pad_id(),
                logits_processor=[clock],
                **decoding.arguments(),
                **extra,
            )
        end = now(self.device)
        answers = {
            number: self.generation(row, stop, len(e), clock, end)
            for number, row, e in zip(order, output.tolist(), embeds, strict=True)
        }
        return [answers[number] for number in range(len(answers))]

    def key_values(self, rows: int, longest: int, decoding: Decoding) -> KeyValues | None:
        """Room for prompts and answers; None where transformers has to keep them in its own way:
        for beams, and for models that do not attend to all that went before."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        from free_video_llm.llm.kv_cache import GROWTH, KeyValues

        layers = DynamicCache(config=self.model.config).layers
        if decoding.num_beams > 1 or any(type(layer) is not DynamicLayer for layer in layers):
            return None
        room = longest + min(decoding.max_new_tokens, GROWTH)
        return KeyValues(layers=len(layers), rows=rows, room=room)

    def _prefill(self, embeds: Sequence[torch.Tensor], store: KeyValues) -> Sequence[int]:
        """All prompts but for their last positions; returns the order they are stored in."""
        prompts = [e[:-1] for e in embeds]
        model = self.model.model.language_model
        branches = tree(dict(enumerate(prompts)), pair=pair_cost(model))
        prefill(model, prompts, branches, store)
        return branches.rows

    def pad_id(self) -> int:
        """The token that pads a row."""
        pad = self.tokenizer.pad_token_id
        return int((self._end_ids() or [0])[0] if pad is None else pad)

    def _end_ids(self) -> list[int]:
        end = self.model.generation_config.eos_token_id
        if end is None:
            end = self.tokenizer.eos_token_id
        if end is None:
            return []
        return list(end) if isinstance(end, list | tuple) else [end]

    def stopper(self, stop: Sequence[str]) -> Callable[..., torch.Tensor]:
        """Says of every answer [B,L] whether it holds one of the texts: bool [B]."""
        recent = max(len(text) for text in stop) + 8  # a token is one byte or more

        def stopped(token_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            texts = [self.decode(row, special=True) for row in token_ids[:, -recent:].tolist()]
            found = [any(text in answer for text in stop) for answer in texts]
            return torch.tensor(found, device=token_ids.device)

        return stopped

    def decode(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """Token ids as text."""
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=not special)
        return text

    def generation(
        self, row: list[int], stop: Sequence[str], prompt: int, clock: Clock, end: float
    ) -> Generation:
        """An answer from a row of ids as generated, and when they came."""
        ids = self._cut(row, stop)
        first = clock.times[0]
        each = tuple(later - t for t, later in itertools.pairwise(clock.times[: len(ids)]))
        text = self.decode(ids)
        for word in stop:  # where its tokens are no special ones, and so not left out
            text = text.split(word)[0]
        return Generation(text.strip(), tuple(ids), prompt, first - clock.start, end - first, each)

    def _cut(self, row: list[int], stop: Sequence[str]) -> list[int]:
        """The ids up to the one that ended the answer (a batch is padded after it)."""
        ends = set(self._end_ids())
        whole = self.decode(row, special=True)
        stops = any(text in whole for text in stop)
        for count, number in enumerate(row, start=1):
            if number in ends:
                return row[:count]
            if stops and any(text in self.decode(row[:count], special=True) for text in stop):
                return row[:count]
        return row


def is_local(llm: object) -> TypeGuard[ImageLLM]:
    """Whether a language model is given visual tokens of ours, and decodes them here."""
    return isinstance(llm, ImageLLM) and llm.local
