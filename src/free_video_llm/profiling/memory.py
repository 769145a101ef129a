"""How much memory is free, and how much this process has used at most."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Bytes that can be had on a device now; on a CPU, within a container's limit."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + reserved
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def total_gb() -> float:
    """Gigabytes of main memory that this machine has."""
    return round(psutil.virtual_memory().total / 1e9, 1)


def peak_bytes() -> int:
    """The most main memory that this process has held at once, in bytes.

    Linux's own figure for this process, where there is one: getrusage's is inherited from whatever
    started the process.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)  # type: ignore[attr-defined,unused-ignore]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory() -> None:
    """Collect what nobody holds, and give a GPU's back to others."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
