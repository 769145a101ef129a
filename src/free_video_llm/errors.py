"""The errors a user can meet, each with the exit code that the command line gives for it.

A message is one line: what was wrong, what is allowed, what to do.
"""

from __future__ import annotations


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


class CheckpointError(FreeVideoLLMError):
    """A model cannot be found, or what is in its folder does not fit together."""

    exit_code = 4


class MissingExtraError(FreeVideoLLMError, ImportError):
    """An optional package is needed for what was asked."""

    exit_code = 5
