"""The errors a user can meet, each with the exit code that the command line gives for it.

A message is one line: what was wrong, what is allowed, what to do. A name is checked against the
allowed ones by `one_of`, which suggests the nearest.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class FreeVideoLLMError(Exception):
    """Something that the user can mend; shown as one line, without a traceback."""

    exit_code = 1


class VideoError(FreeVideoLLMError):
    """A file or folder gives no frames."""

    exit_code = 3


class PlanError(FreeVideoLLMError, ValueError):
    """A plan's notation or values are wrong, or it cannot be applied to this clip or model."""

    exit_code = 2


class ConfigError(FreeVideoLLMError, ValueError):
    """A configuration file or option is wrong."""

    exit_code = 2


class ModelServerError(ConfigError):
    """The server behind a model cannot be reached, or does not answer as it should."""


class CheckpointError(FreeVideoLLMError):
    """A model cannot be found, or what is in its folder does not fit together."""

    exit_code = 4


#: Of a part of a model whose values are NaN or infinite.
NOT_NUMBERS = (
    "the {part} gives values that are not numbers (NaN or infinity): its weights are damaged, or "
    "half precision overflows; try dtype float32 or bfloat16, or fetch the weights again"
)


class MissingExtraError(FreeVideoLLMError, ImportError):
    """An optional package is needed for what was asked."""

    exit_code = 5


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


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 200 characters; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    text = text or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def described(error: BaseException) -> str:
    """An error of any kind in one line: its type, and what it says.

    Examples:
        >>> described(ValueError("no\\nmore")), described(MemoryError())
        ('ValueError: no', 'MemoryError')
    """
    name, said = type(error).__name__, first_line(error)
    return name if said == name else f"{name}: {said}"


def check_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Make a misspelt keyword of a public call a ConfigError that names the nearest right one.

    The signature stays what it is, for type checkers and for readers.
    """
    named = inspect.signature(function).parameters
    options = [name for name, p in named.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        for keyword in keywords:
            if keyword not in named:
                one_of("option", keyword, options, ConfigError)
        return function(*args, **keywords)

    return checked
