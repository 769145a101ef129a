"""Pre-fills a batch of prompts of different lengths without a mask, and what they share only once.

A padded batch needs a mask over every pair of positions, which costs more than it saves: measured
on a CPU, eight prompts of 1,240 tokens take 1.7 times as long in one masked batch as one by one.
Padded on the *right*, causal attention never looks at the padding, so no mask is needed. What was
computed for the padding stays between a prompt and its answer, where decoding masks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

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
        shared: positions that all of them begin with.
        single: rows of the batch that share no more than that, short ones first.
        branches: the others.
    """

    shared: int
    single: tuple[int, ...]
    branches: tuple[Branch, ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows, those that begin alike side by side."""
        return (*self.single, *(row for branch in self.branches for row in branch.rows))


def tree(prompts: Mapping[int, torch.Tensor], shared: int = 0) -> Branch:
    """Prompts [L_i,D] by row, divided by their beginnings; the first `shared` are known alike."""
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
    single = [members[0] for _, members in found if len(members) == 1]
    return Branch(
        shared,
        tuple(sorted(single, key=lambda row: len(prompts[row]))),
        tuple(
            tree({row: prompts[row] for row in members}, common)
            for common, members in found
            if len(members) > 1
        ),
    )


def _in_common(a: torch.Tensor, b: torch.Tensor) -> int:
    """How many positions of two prompts are the same from the beginning on."""
    length = min(len(a), len(b))
    differ = (a[:length] != b[:length]).any(-1).nonzero()
    return int(differ[0]) if len(differ) else length


@torch.inference_mode()
def prefill(language_model: Any, prompts: Sequence[torch.Tensor], branch: Branch,
            store: KeyValues) -> None:  # fmt: skip
    """Write the keys and values of all prompts into `store`, in the order of `branch.rows`.

    A row's are its first positions; what is behind them up to the longest prompt is padding.

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
        cache = store.cache(slice(at, at + len(inputs)), written)
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
