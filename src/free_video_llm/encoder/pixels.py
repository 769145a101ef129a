"""Pixels as vision encoders take them. Which encoder takes which is left to others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel, for pixels scaled to 0..1."""

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B,H,W,3] to float32 [B,3,H,W]."""
        images = pixels.permute(0, 3, 1, 2).float().mul_(1 / 255)
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        return images.sub_(mean).div_(std)


def scaled(images: torch.Tensor, size: int) -> torch.Tensor:
    """Square images [n,3,S,S] at another size, by a bicubic filter; as they are if they fit."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
