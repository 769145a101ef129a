"""Pre-fills a batch of prompts of different lengths without a mask, and what they share only once.

A padded batch needs a mask over every pair of positions, which costs more than it saves: measured
on a CPU, eight prompts of 1,240 tokens take 1.7 times as long in one masked batch as one by one.
Padded on the *right*, causal attention never looks at the padding, so no mask is needed. What was
computed for the padding stays between a prompt and its answer, where decoding masks it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from free_video_llm.key_values import AllWritten

if TYPE_CHECKING:
    from free_video_llm.key_values import KeyValues

#: Positions pre-filled together: short prompts share the cost of a call, long ones fill it alone.
POSITIONS_AT_ONCE = 4096
#: A beginning that prompts have in common is worth a pass of its own from so many positions on.
SHARED_AT_LEAST = 64


@dataclass(frozen=True)
class Branch:
    """Prompts that begin alike, and which of them are alike for longer.

    Attributes:
        shared: positions that all of them begin with, computed once.
        single: rows of the batch whose rest is their own, short ones first.
        branches: the others.
    """

    shared: int
    single: tuple[int, ...]
    branches: tuple[Branch, ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows, those that begin alike side by side."""
        return (*self.single, *(row for branch in self.branches for row in branch.rows))


def pair_cost(language_model: Any) -> float:
    """What attention between two positions costs, if all else that one position costs is 1.

    Counted from the sizes of a decoder of transformers, and twice that: on a CPU attention runs at
    about half the rate of matrix products.
    """
    config = language_model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pair = 2 * config.num_attention_heads * head_dim
    weights = language_model.num_parameters(exclude_embeddings=True) / config.num_hidden_layers
    return float(2 * pair / weights)


def tree(prompts: Mapping[int, torch.Tensor], *, pair: float, shared: int = 0) -> Branch:
    """Divide prompts by their beginnings, as far as it pays to compute those only once.

    Args:
        prompts: [L_i,D] by row.
        pair: the model's `pair_cost`.
        shared: positions that all are known to begin with.
    """
    single: list[int] = []
    branches: list[Branch] = []

    def add(branch: Branch) -> None:
        if _pays(branch, prompts, shared, pair):
            branches.append(branch)
            return
        single.extend(branch.single)
        for longer in branch.branches:  # what is alike for longer may pay all the same
            add(longer)

    for common, rows in _alike(prompts, shared):
        if len(rows) == 1:
            single += rows
        else:
            add(tree({row: prompts[row] for row in rows}, pair=pair, shared=common))
    single.sort(key=lambda row: len(prompts[row]))
    return Branch(shared, tuple(single), tuple(branches))


def _alike(prompts: Mapping[int, torch.Tensor], shared: int) -> list[tuple[int, list[int]]]:
    """Rows that are alike beyond the positions `shared` by all; before them, up to where."""
    found: list[tuple[int, list[int]]] = []
    worth = slice(shared, shared + SHARED_AT_LEAST)
    for row, prompt in prompts.items():
        for place, (common, members) in enumerate(found):
            first = prompts[members[0]]
            # Most differ early, and a whole comparison is dear.
            if torch.equal(first[worth], prompt[worth]):
                common = min(common, _in_common(first, prompt))
                if common >= worth.stop:
                    found[place] = (common, [*members, row])
                    break
        else:
            found.append((len(prompt), [row]))
    return found


def _pays(branch: Branch, prompts: Mapping[int, torch.Tensor], before: int, pair: float) -> bool:
    """Whether one pass over what a branch shares saves more than it costs.

    Causal attention from the first position on needs no mask and half of the pairs; behind a
    shared beginning it computes them all.
    """
    rests = [len(prompts[row]) - branch.shared for row in branch.single]
    rests += [longer.shared - branch.shared for longer in branch.branches]
    saved = (len(rests) - 1) * (branch.shared - before)
    masked = 0 if before else sum(rest**2 for rest in rests) / 2
    return saved > pair * masked


def _in_common(a: torch.Tensor, b: torch.Tensor) -> int:
    """How many positions of two prompts are the same from the beginning on."""
    length = min(len(a), len(b))
    differ = (a[:length] != b[:length]).any(-1).nonzero()
    return int(differ[0]) if len(differ) else length


@torch.inference_mode()
def prefill(language_model: Any, prompts: Sequence[torch.Tensor], branch: Branch,
            store: KeyValues) -> None:  # fmt: skip
    """Write the keys and values of all prompts into `store`, in the order of `branch.rows`.

    A row's are its first positions; what is behind them up to the longest prompt is padding. No
    pass goes further than the last layer's keys and values: nothing of it would be looked at.

    Args:
        language_model: a decoder of transformers, without its head.
        prompts: [L_i,D].
        branch: their `tree`.
        store: with a row for each prompt, and room for the longest.
    """
    _fill(language_model, prompts, branch, store, 0, 0)


def _fill(
    model: Any, prompts: Sequence[torch.Tensor], branch: Branch, store: KeyValues,
    place: int, past: int,
) -> None:  # fmt: skip
    """One branch whose rows begin at `place`, with `past` positions of each already written."""

    def compute(inputs: torch.Tensor, at: int, written: int) -> None:
        cache = store.cache(slice(at, at + len(inputs)), written, only_write=True)
        with contextlib.suppress(AllWritten):
            model(inputs_embeds=inputs, past_key_values=cache, use_cache=True)

    rows = branch.rows
    if branch.shared > past:
        compute(prompts[rows[0]][None, past : branch.shared], place, past)
        store.repeat(place, range(place + 1, place + len(rows)), past, branch.shared)
    rests = {row: prompts[row][branch.shared :] for row in branch.single}
    for group in _groups({row: len(rest) for row, rest in rests.items()}):
        width = max(len(rests[row]) for row in group)
        if width:
            padded = [F.pad(rests[row], (0, 0, 0, width - len(rests[row]))) for row in group]
            compute(torch.stack(padded), place, branch.shared)
        place += len(group)
    for longer in branch.branches:
        _fill(model, prompts, longer, store, place, branch.shared)
        place += len(longer.rows)


def _groups(lengths: Mapping[int, int]) -> Iterator[list[int]]:
    """Rows that are pre-filled together: in their order, short ones first, so that little is
    padding."""
    group: list[int] = []
    for row, length in lengths.items():
        if group and length * (len(group) + 1) > POSITIONS_AT_ONCE:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
