"""Keys and values of a batch, in memory that is laid out once for the prompt and its whole answer.

The cache that grows in transformers is copied with every new token: for a batch of long prompts
that is more than the token itself costs. Its static cache is not, but attends to all that it could
hold. Here what is attended to is the written part of one buffer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import torch
from transformers.cache_utils import Cache, DynamicLayer

#: Positions by which a row that is full grows.
GROWTH = 128


class AllWritten(Exception):  # noqa: N818  # nothing went wrong
    """The last layer has its keys and values: raised out of a pass that was for them alone."""


class _Written(DynamicLayer):  # type: ignore[misc,unused-ignore]  # transformers has no types
    """One layer's keys and values of some rows: a view of what is written in the buffer."""

    def __init__(
        self, store: KeyValues, number: int, rows: slice, length: int, *, ends_pass: bool
    ) -> None:
        super().__init__()
        self._store, self._number, self._rows = store, number, rows
        self._ends_pass = ends_pass
        if length:
            self.keys, self.values = store.written(number, rows, length)
            self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states [B,heads,L,head_dim] behind what there is, and return all there is."""
        self.keys, self.values = self._store.write(
            self._number, self._rows, self.get_seq_length(), key_states, value_states
        )
        self.is_initialized = True
        if self._ends_pass:
            raise AllWritten
        return self.keys, self.values


class KeyValues:
    """Keys and values [rows,heads,room,head_dim] of every layer, each where its layer computes.

    Args:
        layers: how many the language model has.
        rows: the prompts of a batch.
        room: positions that a row can hold before it has to be moved to a larger place.
    """

    def __init__(self, *, layers: int, rows: int, room: int) -> None:
        self.layers = layers
        self.rows = rows
        self.room = room
        self.buffers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._lock = threading.Lock()

    def write(
        self, layer: int, rows: slice, start: int,
        key_states: torch.Tensor, value_states: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Write a layer's states [B,heads,L,head_dim] of rows behind their first `start` positions.

        Safe in several threads, each with rows of its own, as long as nothing has to grow.

        Returns:
            keys and values [B,heads,start+L,head_dim] of these rows: all that is written of them.
        """
        end = start + key_states.shape[2]
        self._make_room(layer, key_states, end)
        keys, values = self.written(layer, rows, end)
        keys[:, :, start:] = key_states
        values[:, :, start:] = value_states
        return keys, values

    def written(self, layer: int, rows: slice, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B,heads,length,head_dim] of a layer's rows, as views."""
        keys, values = self.buffers[layer]
        return keys[rows, :, :length], values[rows, :, :length]

    def _make_room(self, layer: int, like: torch.Tensor, end: int) -> None:
        """Let a layer hold `end` positions of states such as these [B,heads,L,head_dim]."""
        with self._lock:
            held = self.buffers.get(layer)
            if held is not None and end <= held[0].shape[2]:
                return
            room = self.room if end <= self.room else end + GROWTH
            shape = (self.rows, like.shape[1], room, like.shape[3])
            keys, values = like.new_empty(shape), like.new_empty(shape)
            if held is not None:
                keys[:, :, : held[0].shape[2]] = held[0]
                values[:, :, : held[1].shape[2]] = held[1]
            self.buffers[layer] = (keys, values)

    def cache(self, rows: slice, length: int, *, only_write: bool = False) -> Cache:
        """What transformers takes for its cache: some rows, written up to `length` positions.

        What comes behind them is written into the same buffers. With `only_write` a pass ends in
        `AllWritten` where nothing of it is left to write.
        """
        last = self.layers - 1
        return Cache(layers=[
            _Written(self, n, rows, length, ends_pass=only_write and n == last)
            for n in range(self.layers)
        ])  # fmt: skip

    def repeat(self, row: int, others: Iterable[int], start: int, end: int) -> None:
        """Write a row's positions from `start` to `end` into others too."""
        for buffer in (buffer for pair in self.buffers.values() for buffer in pair):
            for other in others:
                buffer[other, :, start:end] = buffer[row, :, start:end]

    def blank(self, row: int, start: int, end: int) -> None:
        """Zero a row's positions from `start` to `end`: attention masks them, but reads them."""
        for buffer in (buffer for pair in self.buffers.values() for buffer in pair):
            buffer[row, :, start:end] = 0
