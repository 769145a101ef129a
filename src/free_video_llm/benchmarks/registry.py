"""The question sets by name. Other packages add theirs by an entry point: docs/question-sets.md."""

from __future__ import annotations

from typing import TypeVar

from free_video_llm.benchmarks.base import QuestionSet
from free_video_llm.errors import ConfigError, one_of

#: The entry points that are looked through where a name is not known.
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
        _load_entry_points(name)
    one_of("question set", name, SETS, ConfigError)
    return SETS[name]


def _load_entry_points(name: str) -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=str(name)):
        kind = entry.load()
        if isinstance(kind, type) and issubclass(kind, QuestionSet):
            register(kind)
