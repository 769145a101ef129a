"""What a run ran on: versions of packages, a fingerprint of the model, a hash of the questions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from free_video_llm.benchmarks.base import Question

if TYPE_CHECKING:
    from free_video_llm.pipeline import VideoLLM

#: Numbers that are looked at of every parameter.
SAMPLED = 256

_PACKAGES = ("free-video-llm", "torch", "transformers", "tokenizers", "av", "numpy", "pillow")


def fingerprint(llm: VideoLLM) -> str:
    """A hash over the names, shapes and types of all parameters and some numbers of each.

    Another checkpoint, scorer, type or quantisation has another fingerprint; the same files loaded
    in the same way have the same one on every machine.
    """
    import torch

    digest = hashlib.sha256()
    modules = [("llm", llm.image_llm.model), ("scorer", llm.towers.scorer)]
    for part, module in modules:
        for name, tensor in module.named_parameters():
            digest.update(f"{part}.{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
            if tensor.device.type == "meta":  # put on disk by a device map
                continue
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED].cpu().contiguous()
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:32]}"


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
    return f"sha256:{digest.hexdigest()[:32]}"


def describe_device() -> dict[str, Any]:
    """The machine's GPUs, or its CPU and number of threads."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return {"gpus": [torch.cuda.get_device_name(i) for i in range(count)]}
    return {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
