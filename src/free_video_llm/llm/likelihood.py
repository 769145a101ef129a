"""How likely a language model holds each of some endings of a prompt: the prompt is computed once.

So a multiple-choice question has an answer whatever the model would have said, and probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from free_video_llm.errors import NOT_NUMBERS, CheckpointError, ConfigError
from free_video_llm.llm.generate import ImageLLM, attention_kernels
from free_video_llm.profiling.stopwatch import now


@dataclass(frozen=True)
class Likelihoods:
    """Of each ending its log-likelihood, the natural logarithm of its probability after the prompt,
    and its token ids; and what it took."""

    log: tuple[float, ...]
    token_ids: tuple[tuple[int, ...], ...]
    prompt_tokens: int
    seconds: float

    @property
    def best(self) -> int:
        """The most likely one; of equals the first."""
        return max(range(len(self.log)), key=self.log.__getitem__)

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of the endings among one another: they sum to 1."""
        return tuple(torch.tensor(self.log, dtype=torch.float64).softmax(0).tolist())


@torch.inference_mode()
def likelihoods(
    llm: ImageLLM, prompt: str, visual: torch.Tensor, endings: Sequence[str]
) -> Likelihoods:
    """The log-likelihoods of endings of a prompt with visual tokens [N,D].

    Each ending is tokenised with the prompt, since words may join at the seam: what the token ids
    of all have in common is computed once, and the sum is over the rest.

    Raises:
        ConfigError: fewer than two endings, two that are the same tokens, or a prompt that does not
            fit into the model's positions.
        CheckpointError: the model's values are no numbers.
    """
    ids = [llm.tokenize(prompt + ending) for ending in endings]
    if len(set(map(tuple, ids))) < max(2, len(ids)):
        raise ConfigError("the choices are two or more, and no two are the same tokens")
    alike = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*ids, strict=False))
    shared = min(sum(1 for _ in alike), min(map(len, ids)) - 1)
    rests = [one[shared:] for one in ids]
    longest = max(map(len, rests))
    start = now(llm.device)
    begin = llm.embed(ids[0][:shared], visual)
    if len(begin) + longest > llm.max_positions:
        raise ConfigError(
            f"prompt and choices need {len(begin) + longest} tokens, this model holds "
            f"{llm.max_positions}: take a plan with fewer tokens"
        )
    with attention_kernels(llm.device):
        out = llm.model(inputs_embeds=begin[None], use_cache=longest > 1, logits_to_keep=1)
        scores = _log_softmax(out.logits[:, -1]).expand(len(rests), -1)
        totals = scores.gather(1, _column(rests, 0, llm.device)[:, None])[:, 0].double()
        if longest > 1:
            out.past_key_values.batch_repeat_interleave(len(rests))
            fed = torch.stack(
                [_column(rests, place, llm.device) for place in range(longest - 1)], 1
            )
            more = llm.model(
                inputs_embeds=llm.model.get_input_embeddings()(fed),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            scores = _log_softmax(more.logits)
            for place in range(1, longest):  # a shorter ending is padded on its right, unseen
                part = scores[:, place - 1].gather(1, _column(rests, place, llm.device)[:, None])
                there = torch.tensor([len(rest) > place for rest in rests], device=part.device)
                totals += torch.where(there, part[:, 0].double(), 0.0)
    return Likelihoods(
        tuple(totals.tolist()), tuple(map(tuple, rests)), len(begin), now(llm.device) - start
    )


def _column(rests: Sequence[Sequence[int]], place: int, device: torch.device) -> torch.Tensor:
    """The token of each ending at a place, its last one behind its end: int64 [n]."""
    return torch.tensor([rest[min(place, len(rest) - 1)] for rest in rests], device=device)


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    if not logits.isfinite().any(-1).all() or logits.isnan().any():
        raise CheckpointError(NOT_NUMBERS.format(part="language model"))
    return logits.float().log_softmax(-1)
