"""What other packages add by entry points: each is loaded once; one that fails is a warning."""

from __future__ import annotations

import warnings

from free_video_llm.errors import first_line

_loaded: dict[str, list[object]] = {}


def load_plugins(group: str, what: str) -> list[object]:
    """Load every entry point of a group; what they name, without those that fail.

    Args:
        what: they add, in the plural, for the warning.
    """
    if group not in _loaded:
        found = _loaded[group] = []  # before loading: a plugin may look into the registry itself
        from importlib.metadata import entry_points

        for entry in entry_points(group=group):
            try:
                found.append(entry.load())
            except Exception as error:  # of another package: anything
                warnings.warn(
                    f"the {what} of {entry.value} cannot be used: {first_line(error)}", stacklevel=3
                )
    return _loaded[group]
