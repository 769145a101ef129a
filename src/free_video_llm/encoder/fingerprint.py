"""A hash that tells one set of weights from another, in a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch

#: Numbers that are looked at of every parameter.
SAMPLED = 256


def fingerprint(modules: Iterable[tuple[str, torch.nn.Module]]) -> str:
    """A hash over the names, shapes and types of all parameters and some numbers of each.

    Another checkpoint, type or quantisation has another fingerprint; the same files loaded in the
    same way have the same one on every machine.
    """
    digest = hashlib.sha256()
    for part, module in modules:
        for name, tensor in module.named_parameters():
            digest.update(f"{part}.{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
            if tensor.device.type == "meta":  # put on disk by a device map
                continue
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED].cpu().contiguous()
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:32]}"
