"""A socket that listens, before anything slow is begun."""

from __future__ import annotations

import os
import socket

from free_video_llm.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address; port 0 takes any free one. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # a port that was just left; on Windows it would be one still in use
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # until then another server may bind as well, and fail much later
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {reason}; choose another with --port "
            "(0 takes any free one)"
        ) from None
    return listening
