"""A language model that reads frames as images of its own chat, of each only some tokens.

For families that make their visual tokens themselves: their chat template writes the prompt, every
frame stands in it after its time, and of its tokens those that were selected are given, with the
positions that they have among all. What differs by family is a `Wiring`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.errors import CheckpointError, ConfigError, first_line
from free_video_llm.llm.generate import Decoding, Generation
from free_video_llm.llm.one_answer import generate_one, room_of, special_tokens_missing
from free_video_llm.profiling.stopwatch import now

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame as the model reads it.

    Attributes:
        second: its time in the clip.
        places: int64 [k], which of its tokens are given, row by row, in ascending order.
        tokens: [k,C], those.
    """

    second: float
    places: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True, eq=False)
class SeenFrames:
    """A question about frames, asked at their end."""

    frames: tuple[SeenFrame, ...]
    text: str


@dataclass(frozen=True, eq=False)
class Whole:
    """A prompt in which every frame has all of its tokens, and which of its positions are given.

    Attributes:
        token_ids: int64 [1,L].
        visual: bool [1,L], where visual tokens stand.
        given: bool [L], the positions that the model gets.
        frames: how many.
    """

    token_ids: torch.Tensor
    visual: torch.Tensor
    given: torch.Tensor
    frames: int


def _nothing_more(whole: Whole) -> dict[str, torch.Tensor]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """How a family puts a frame into its prompt, and its tokens into its model.

    Attributes:
        image_id: the token that stands in a prompt for one visual token.
        placeholder: what the chat template writes for an image.
        opening, closing: what its processor writes around a frame's tokens, if the chat template
            has not.
        tokens: of a whole frame.
        words: says a frame's time, before it.
        encoded: the given tokens of each frame to what the model takes as its encoder's output.
        arguments: other inputs, for a prompt of which not all is given; none for most.
    """

    image_id: int
    placeholder: str
    opening: str = ""
    closing: str = ""
    tokens: int
    words: Callable[[float], str]
    encoded: Callable[[Sequence[torch.Tensor]], Any]
    arguments: Callable[[Whole], dict[str, torch.Tensor]] = _nothing_more


class SelectedTokensLLM:
    """A model of transformers with its tokenizer.

    Args:
        model: an image-text-to-text model that takes `mm_encoder_outputs`.
        tokenizer: the model's.
        chat_template: in Jinja, with images as parts of a message.
        wiring: of its family.

    Attributes:
        projector: None, the tower's states being the model's tokens.
    """

    projector = None

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, chat_template: str, wiring: Wiring
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.wiring = wiring

    @property
    def max_positions(self) -> int:
        """Tokens that the language model can hold, prompt and answer together."""
        return room_of(self.model) or 1_000_000_000

    def generate(self, requests: Sequence[SeenFrames], decoding: Decoding) -> list[Generation]:
        """Answers in the order of the requests, one after another.

        Raises:
            ConfigError: the chat template cannot be used, or the prompt is longer than the model
                holds.
            CheckpointError: the tokenizer is another model's, or the model's values are no numbers.
        """
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        return [self._ask(request, decoding) for request in requests]

    def prompt_of(self, request: SeenFrames) -> str:
        """The prompt, with all tokens of every frame."""
        content: list[dict[str, str]] = []
        for frame in request.frames:
            content += [{"type": "text", "text": self.wiring.words(frame.second)}]
            content += [{"type": "image"}]
        content.append({"type": "text", "text": self._harmless(request.text)})
        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=self.chat_template,
                tokenize=False,
                add_generation_prompt=True,
            )
        except Exception as error:  # a stranger's Jinja can fail in any way
            raise ConfigError(f"the chat template cannot be used: {first_line(error)}") from None
        pieces = text.split(self.wiring.placeholder)
        if len(pieces) != len(request.frames) + 1:
            raise ConfigError(
                f"the chat template writes {len(pieces) - 1} images for {len(request.frames)} "
                f"frames ({self.wiring.placeholder!r} is expected for each)"
            )
        return (self.wiring.opening + self._token * self.wiring.tokens + self.wiring.closing).join(
            pieces
        )

    def inputs_of(self, request: SeenFrames) -> dict[str, Any]:
        """The model's inputs: the prompt's given positions, and the tokens that stand there."""
        whole = self.whole(request)
        ids = whole.token_ids[:, whole.given]
        tokens = [frame.tokens.to(self.model.device, self.model.dtype) for frame in request.frames]
        inputs: dict[str, Any] = {
            "input_ids": ids.to(self.model.device),
            "attention_mask": torch.ones_like(ids).to(self.model.device),
            **{k: v.to(self.model.device) for k, v in self.wiring.arguments(whole).items()},
        }
        if tokens:
            inputs["mm_encoder_outputs"] = {"image": self.wiring.encoded(tokens)}
        return inputs

    def whole(self, request: SeenFrames) -> Whole:
        """The prompt with all tokens of every frame, and what is given of it."""
        text = self.prompt_of(request)
        ids = torch.tensor([
            self.tokenizer(
                text, add_special_tokens=special_tokens_missing(self.tokenizer, text)
            )["input_ids"]
        ])  # fmt: skip
        visual = ids == self.wiring.image_id
        expected = len(request.frames) * self.wiring.tokens
        if int(visual.sum()) != expected:
            raise CheckpointError(
                f"the tokenizer makes {int(visual.sum()):,} visual places of {expected:,}: it is "
                "another model's"
            )
        given = ~visual[0]
        at = visual[0].nonzero()[:, 0].reshape(len(request.frames), -1)
        for places, frame in zip(at, request.frames, strict=True):
            given[places[frame.places]] = True
        return Whole(ids, visual, given, len(request.frames))

    @functools.cached_property
    def _token(self) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(self.wiring.image_id))

    def _harmless(self, text: str) -> str:
        """A question without the marks that stand for images."""
        for mark in (self.wiring.placeholder, self._token):
            text = text.replace(mark, "")
        return text

    def _ask(self, request: SeenFrames, decoding: Decoding) -> Generation:
        begun = now(self.model.device)
        return generate_one(
            self.model,
            self.inputs_of(request),
            decoding,
            functools.partial(self.tokenizer.decode, skip_special_tokens=True),
            begun=begun,
            too_long="take a plan with fewer tokens or fewer frames",
        )
