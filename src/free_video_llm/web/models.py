"""The models that the server offers: loaded when first chosen, used by one question at a time.

Only names that the server's owner offers are ever loaded: a visitor cannot name a folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from free_video_llm.errors import ConfigError, one_of
from free_video_llm.pipeline import VideoLLM

TINY = "tiny"


class Models:
    """Offered models, at most one of them besides `tiny` in memory.

    One question is answered at a time, whichever model it is for: two at once would share the same
    cores or the same GPU, be no faster together, and need the memory of two; and the classes behind
    do not promise to be used by two threads. Those who wait see their place in the queue.

    Args:
        offered: names, the first of which a new page shows.
        load: makes the model of a name.
        dropped: told the name of a model that leaves the memory.
    """

    def __init__(
        self,
        offered: Sequence[str],
        load: Callable[[str], VideoLLM],
        *,
        dropped: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.offered = tuple(dict.fromkeys(offered))
        self._load, self.dropped = load, dropped
        self._loaded: dict[str, VideoLLM] = {}
        self._lock = threading.Lock()

    @property
    def first(self) -> str:
        """What a new page shows."""
        return self.offered[0]

    def loaded(self, name: str) -> VideoLLM | None:
        """A model if it is in memory; for looking at it, not for running it."""
        return self._loaded.get(name)

    @contextmanager
    def use(self, name: str) -> Iterator[VideoLLM]:
        """The model of a name, loaded if need be, for this thread alone.

        A model that cannot be loaded leaves the others as they are.

        Raises:
            ConfigError: it is not offered.
            CheckpointError, MissingExtraError: it cannot be loaded here.
        """
        one_of("model", name, self.offered, ConfigError)
        with self._lock:
            yield self._fetch(name)

    def _fetch(self, name: str) -> VideoLLM:
        if name not in self._loaded:
            try:
                made = self._load(name)
            except (MemoryError, torch.OutOfMemoryError):
                self._make_room()
                try:
                    made = self._load(name)
                except (MemoryError, torch.OutOfMemoryError):
                    raise ConfigError(
                        f"this machine has not enough memory for {name}: choose another model"
                    ) from None
            if name != TINY:
                self._make_room()
            self._loaded[name] = made
        return self._loaded[name]

    def _make_room(self) -> None:
        for other in [name for name in self._loaded if name != TINY]:
            del self._loaded[other]
            self.dropped(other)
