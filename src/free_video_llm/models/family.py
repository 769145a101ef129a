"""The interface of a family of image LLMs, and the registry of families.

A family is one file with one registration: which checkpoints it reads, how they are opened and
checked, how tower and language model are built, which scorer belongs to them. Other packages add
theirs by an entry point.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.models.checkpoint import Checkpoint
from free_video_llm.models.options import LoadOptions
from free_video_llm.plugins import load_plugins

#: The group of entry points whose modules register families when they are imported.
ENTRY_POINTS = "free_video_llm.families"


class Family(Protocol):
    """One family of image LLMs.

    Attributes:
        name: for people.
        reads_words: what it reads, as an error lists it.
    """

    name: str
    reads_words: str

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        ...

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> Checkpoint:
        """Read and check a checkpoint without building it; `scorer` is the user's wish, if any.

        Raises CheckpointError naming what does not fit.
        """
        ...

    def build(self, opened: Checkpoint, options: LoadOptions) -> tuple[Towers, ImageLLM]:
        """The towers that look, and the language model that answers."""
        ...


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Add a family. Raises CheckpointError where its name is taken."""
    if family.name in _FAMILIES:
        raise CheckpointError(f"there is a family named {family.name!r} already")
    _FAMILIES[family.name] = family
    return family


def families() -> list[Family]:
    """Ours, and those of other packages."""
    load_plugins(ENTRY_POINTS, "families")
    return list(_FAMILIES.values())


def family_of(config: Mapping[str, Any], folder: Path) -> Family:
    """The family of a config.json. Raises CheckpointError naming what can be read."""
    for family in families():
        if family.reads(config):
            return family
    allowed = ", or ".join(family.reads_words for family in families())
    raise CheckpointError(
        f"{folder} holds a model of type {config.get('model_type')!r}; allowed: {allowed}"
    )
