"""Checks a name against the allowed ones and, in the error, suggests the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, if any is like it."""
    lowered = {option.lower(): option for option in reversed(list(allowed))}
    close = difflib.get_close_matches(name[:200].lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def one_of(what: str, name: object, allowed: Iterable[str], error: type[Exception]) -> None:
    """Raise `error` in one line unless `name` is one of `allowed`."""
    options = list(allowed)
    if isinstance(name, str) and name in options:
        return
    guess = nearest(name, options) if isinstance(name, str) else None
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise error(f"unknown {what} {shown(name)}{hint} (allowed: {', '.join(options)})")


def shown(value: object, most: int = 60) -> str:
    """A value as one short line for an error, whatever was given; a text is quoted.

    Examples:
        >>> shown("two\\nlines"), shown([1, 2])
        ("'two lines'", '[1, 2]')
    """
    try:
        line = repr(" ".join(value.split()) if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # a number of thousands of digits, endless nesting
        return f"a value of type {type(value).__name__}"
    line = " ".join(line.split())
    return line if len(line) <= most else f"{line[: most - 2]}…{line[-1]}"
