"""The question sets by name. Other packages add theirs by an entry point: docs/question-sets.md."""

from __future__ import annotations

from typing import TypeVar

from free_video_llm.benchmarks.base import QuestionSet
from free_video_llm.errors import ConfigError, one_of
from free_video_llm.plugins import load_plugins

#: The group of entry points that name the classes of other packages.
ENTRY_POINTS = "free_video_llm.question_sets"

SETS: dict[str, QuestionSet] = {}

_Set = TypeVar("_Set", bound=type[QuestionSet])


def register(kind: _Set) -> _Set:
    """Add a question set; for use as a decorator of its class.

    Raises:
        ConfigError: it has no name, or one that is taken.
    """
    name = getattr(kind, "name", "")
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{kind.__name__} needs a name of letters, digits, - and _")
    if name in SETS and type(SETS[name]) is not kind:
        raise ConfigError(f"there is a question set named {name!r} already")
    SETS[name] = kind()
    return kind


def unregister(name: str) -> None:
    """Take a set out again."""
    SETS.pop(name, None)


def get_set(name: str) -> QuestionSet:
    """The set of that name. Raises ConfigError naming the nearest known one."""
    if name not in SETS:
        all_sets()
    one_of("question set", name, SETS, ConfigError)
    return SETS[name]


def all_sets() -> list[QuestionSet]:
    """Ours, and those of other packages."""
    for kind in load_plugins(ENTRY_POINTS, "question sets"):
        if isinstance(kind, type) and issubclass(kind, QuestionSet):
            register(kind)
    return list(SETS.values())
