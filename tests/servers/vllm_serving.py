"""A folder behind a real vLLM server on a CPU, for the scripts beside this one."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def serve(
    prepare: Callable[[Path], Path], name: str, *, most: Mapping[str, int], more: Sequence[str] = ()
) -> None:
    """Prepare the folder that the command line names and serve its model at the port that it names,
    in this process's place; with at most so many pictures ("image") and videos in a prompt."""
    _without_compiled_torchvision()
    folder, port = prepare(Path(sys.argv[1])), sys.argv[2]
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.execv(
        sys.executable,
        [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
            "--served-model-name", name, "--dtype", "float32", "--max-model-len", "4096",
            "--gpu-memory-utilization", "0.2", "--limit-mm-per-prompt", json.dumps(dict(most)),
            "--host", "127.0.0.1", "--port", port, *more,
        ],
    )  # fmt: skip


def _without_compiled_torchvision() -> None:
    """On the CPU build of torch, PyPI's torchvision finds its compiled operators missing as soon as
    it is imported. vLLM imports it for a model of another family, and none of them is called."""
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None:
        Path(spec.origin).with_name("_meta_registrations.py").write_text("")
