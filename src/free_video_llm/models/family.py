"""The interface of a family of image LLMs, and the registry of families.

A family is one file with one registration: which checkpoints it reads, how they are opened and
checked, how tower and language model are built, which scorer belongs to them. Other packages add
theirs by an entry point.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError
from free_video_llm.llm.chat import PictureLLM
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.llm.selected_tokens import SelectedTokensLLM
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.options import LoadOptions
from free_video_llm.plugins import load_plugins

#: The group of entry points whose modules register families when they are imported.
ENTRY_POINTS = "free_video_llm.families"

#: Whether a model is given visual tokens that a plan built or selected, or is shown pictures.
Level = Literal["tokens", "pictures"]
#: A language model by any of the three interfaces that questions are put through.
LLM = ImageLLM | SelectedTokensLLM | PictureLLM


class Family(Protocol):
    """One family of image LLMs.

    Attributes:
        name: for people.
        reads_words: what it reads, as an error lists it.
        level: see `Level`; of two families that read a model, the one of tokens is taken, unless
            the user wishes otherwise.
    """

    name: str
    reads_words: str
    level: Level

    def reads(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family."""
        ...

    def open(self, folder: Path, config: Mapping[str, Any], scorer: str | None) -> Opened:
        """Read and check a checkpoint without building it; `scorer` is the user's wish, if any.

        Raises CheckpointError naming what does not fit.
        """
        ...

    def build(self, opened: Any, options: LoadOptions) -> tuple[Towers, LLM]:
        """The towers that look, and the language model that answers; `opened` is what `open` gave.

        Raises CheckpointError, or ConfigError for options that this family has not.
        """
        ...


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Add a family. Raises CheckpointError where its name is taken."""
    if family.name in _FAMILIES:
        raise CheckpointError(f"there is a family named {family.name!r} already")
    _FAMILIES[family.name] = family
    return family


def families() -> list[Family]:
    """Ours, and those of other packages; those of tokens first."""
    load_plugins(ENTRY_POINTS, "families")
    return sorted(_FAMILIES.values(), key=lambda family: family.level == "pictures")


def family_of(config: Mapping[str, Any], folder: Path, level: Level | None = None) -> Family:
    """The family of a config.json. Raises CheckpointError naming what can be read."""
    reading = [family for family in families() if family.reads(config)]
    for family in reading:
        if level in (None, family.level):
            return family
    known = config.get("model_type")
    if reading:
        raise CheckpointError(
            f"{folder}: a model of type {known!r} is asked at the level of {reading[0].level}, "
            f"not of {level}"
        )
    allowed = "; ".join(family.reads_words for family in families())
    raise CheckpointError(f"{folder} holds a model of type {known!r}; allowed: {allowed}")
