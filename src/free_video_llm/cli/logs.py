"""What -v and --log-file show of a command's doings."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator

from free_video_llm.cli.common import is_quiet
from free_video_llm.errors import ConfigError

_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def logged(options: argparse.Namespace) -> Iterator[None]:
    """Log as the options say, for as long as the command runs; errors alone where it is quiet.

    Raises:
        ConfigError: the file cannot be written.
    """
    root = logging.getLogger("free_video_llm")
    before = (root.level, list(root.handlers))
    verbose, file = getattr(options, "verbose", False), getattr(options, "log_file", None)
    if is_quiet(options):
        root.setLevel(logging.ERROR)
    try:
        if verbose:
            _add(root, logging.StreamHandler(sys.stderr), "%(asctime)s %(message)s", "%H:%M:%S")
        if file is not None:
            try:
                _add(root, logging.FileHandler(file, encoding="utf-8"), _FORM, None)
            except OSError as error:
                raise ConfigError(
                    f"cannot write --log-file {file}: {error.strerror or error}"
                ) from None
            root.info("fvl %s", " ".join(sys.argv[1:]))
        yield
    except Exception as error:
        if file is not None:
            root.error("%s", error, exc_info=error)
        raise
    finally:
        for handler in [h for h in root.handlers if h not in before[1]]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[0])


def _add(root: logging.Logger, handler: logging.Handler, form: str, times: str | None) -> None:
    handler.setFormatter(logging.Formatter(form, times))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
