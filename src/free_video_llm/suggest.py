"""Checks a name against the allowed ones and, in the error, suggests the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, if any is like it."""
    options = list(allowed)
    lowered = {option.lower(): option for option in reversed(options)}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def one_of(what: str, name: object, allowed: Iterable[str], error: type[Exception]) -> None:
    """Raise `error` in one line unless `name` is one of `allowed`."""
    options = list(allowed)
    if isinstance(name, str) and name in options:
        return
    guess = nearest(name, options)
    hint = f"; did you mean {guess!r}?" if guess else ""
    shown = name if isinstance(name, str) else repr(name)
    raise error(f"unknown {what} {_short(str(shown))!r}{hint} (allowed: {', '.join(options)})")


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
