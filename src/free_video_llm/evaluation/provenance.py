"""What a run ran on: versions of packages, the model's fingerprint, a hash of the questions.

Only looks; what is written down, and what may differ when a run is resumed, is `run.py`'s.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from free_video_llm.benchmarks.base import Question

if TYPE_CHECKING:
    from free_video_llm.pipeline import VideoLLM

_PACKAGES = ("free-video-llm", "torch", "transformers", "tokenizers", "av", "numpy", "pillow")


def describe_model(llm: VideoLLM) -> dict[str, Any]:
    """The model as it was loaded, with a hash that tells its weights from others."""
    from free_video_llm.encoder.fingerprint import fingerprint

    if llm.picture_llm is not None:  # whose weights nobody here sees
        hashed = f"{llm.picture_llm.identity}; {llm.towers.fingerprint}"
    else:
        scorer = llm.towers.scorer.model
        hashed = fingerprint([("llm", llm.token_llm.model), ("scorer", scorer)])
    return {
        "name": llm.name,
        "layout": llm.loaded.layout,
        "conv_mode": llm.conv_mode,
        "fingerprint": hashed,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that an answer can depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def questions_hash(questions: Iterable[Question]) -> str:
    """A hash over what is asked and what the correct answers are, in order."""
    digest = hashlib.sha256()
    for q in questions:
        digest.update(repr((q.row, q.video, q.question, q.answer, q.options)).encode())
        if q.ranges:
            digest.update(repr(q.ranges).encode())
    return f"sha256:{digest.hexdigest()[:32]}"


def describe_device() -> dict[str, Any]:
    """The machine's GPUs, or its CPU and number of threads."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return {"gpus": [torch.cuda.get_device_name(i) for i in range(count)]}
    return {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
