"""A kept frame as a small picture: true aspect ratio, heat map, what was not kept dimmed.

Pure functions on arrays; knows nothing of figures.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Segment = tuple[tuple[float, float], tuple[float, float]]

#: Perceptually uniform and rising in lightness: safe for the colour-blind and in grey.
HEAT_COLORS = "viridis"
#: How much of the heat map's colour the most similar cells take, and from which share of the
#: scale on cells take any: below, the frame shows as it is. It is little, as a stronger glow would
#: turn a red star orange beside the answer "red"; lines at two levels carry what the glow cannot.
STRONGEST_HEAT = 0.17
COOL = 0.25
LEVELS = (0.5, 0.8)
CASING = np.array([27, 31, 36], dtype=np.float32)
#: How far what was not kept is moved to white.
DIMMED = 0.62


def kept_mask(cells: npt.NDArray[np.floating], side: int) -> Mask:
    """Which of side × side patches are in the kept cells (left, top, right, bottom as shares)."""
    mask = np.zeros((side, side), dtype=bool)
    for left, top, right, bottom in np.rint(np.asarray(cells) * side).astype(int):
        mask[top:bottom, left:right] = True
    return mask


def outline(mask: Mask) -> list[Segment]:
    """The edges between kept and not kept patches, as long as can be, in shares of the frame.

    For a box these are its four sides.
    """
    padded = np.pad(mask, 1)
    side = mask.shape[0]
    segments: list[Segment] = []
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]  # [side+1, side]: horizontal edges
    for row, edge in enumerate(across):
        for start, end in _runs(edge):
            segments.append(((start / side, row / side), (end / side, row / side)))
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    for column, edge in enumerate(down.T):
        for start, end in _runs(edge):
            segments.append(((column / side, start / side), (column / side, end / side)))
    return segments


def _runs(flags: Mask) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def heat_range(maps: list[npt.NDArray[np.floating]]) -> tuple[float, float] | None:
    """The similarities that the scale begins and ends with, the same for all kept frames."""
    if not maps:
        return None
    values = np.concatenate([np.ravel(m) for m in maps])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, (2, 99))
    return (float(low), float(high)) if high > low else None


def stretch(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """The square frame at the clip's own proportions."""
    image = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.LANCZOS)
    return np.asarray(image)


def compose(
    pixels: Pixels,
    width_px: int,
    height_px: int,
    *,
    mask: Mask | None = None,
    heat: npt.NDArray[np.floating] | None = None,
    scale: tuple[float, float] | None = None,
) -> Pixels:
    """A frame [S,S,3] as the picture shows it: uint8 [height_px, width_px, 3]."""
    image = stretch(pixels, width_px, height_px).astype(np.float32)
    outside = None
    if mask is not None and not mask.all():
        side = mask.shape[0]
        rows = np.minimum((np.arange(height_px) + 0.5) / height_px * side, side - 1).astype(int)
        columns = np.minimum((np.arange(width_px) + 0.5) / width_px * side, side - 1).astype(int)
        outside = ~mask[rows[:, None], columns]
        grey = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        dimmed = grey[..., None] * (1 - DIMMED) + 255 * DIMMED
        image = np.where(outside[..., None], dimmed, image)
    if heat is not None and scale is not None:
        warmth = _warmth(heat, scale, width_px, height_px)
        color, strength = _heat(warmth)
        if outside is not None:
            strength = np.where(outside, strength * 0.45, strength)
        image += (color - image) * strength[..., None]
        _draw_levels(image, warmth, outside)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _heat(
    warmth: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The colour [...,3] of a warmth from 0 to 1, and how much of it covers the frame."""
    color = colormaps[HEAT_COLORS](0.2 + 0.8 * warmth)[..., :3].astype(np.float32) * 255
    strength = STRONGEST_HEAT * np.clip((warmth - COOL) / (1 - COOL), 0, 1)
    return color, strength.astype(np.float32)


def _draw_levels(
    image: npt.NDArray[np.float32], warmth: npt.NDArray[np.float32], outside: Mask | None
) -> None:
    """Lines around what is warmer than each level, in the scale's colour with a dark edge.

    The image [H,W,3] is changed in place.
    """
    height, width = warmth.shape
    if min(height, width) < 2:
        return
    half = min(max(height / 220, 0.5), 2.5)
    down, across = np.gradient(warmth)
    steepness = np.maximum(np.hypot(down, across), 1e-6)
    for level in LEVELS:
        distance = np.abs(warmth - level) / steepness  # in pixels, as far as the slope is even
        color = np.array(colormaps[HEAT_COLORS](0.2 + 0.8 * level)[:3], dtype=np.float32) * 255
        for reach, paint, share in ((half + 0.8, CASING, 0.55), (half, color, 1.0)):
            strength = np.clip(reach + 0.5 - distance, 0, 1) * share
            if outside is not None:
                strength = np.where(outside, strength * 0.45, strength)
            image += (paint - image) * strength[..., None].astype(np.float32)


def _warmth(
    heat: npt.NDArray[np.floating], scale: tuple[float, float], width_px: int, height_px: int
) -> npt.NDArray[np.float32]:
    """A similarity map as 0 to 1, smoothly enlarged to the frame."""
    low, high = scale
    share = np.clip((np.nan_to_num(heat, nan=low) - low) / (high - low), 0, 1)
    small = Image.fromarray(share.astype(np.float32))
    large = small.resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large, dtype=np.float32), 0, 1)


def heat_strip(width_px: int, height_px: int) -> Pixels:
    """The heat map's scale from low to high, with marks where the lines are."""
    share = np.linspace(0, 1, width_px, dtype=np.float32)
    color, _ = _heat(share)
    faded = 225 + (color - 225) * np.clip(share / COOL, 0, 1)[:, None]
    strip = np.repeat(faded[None], height_px, axis=0)
    for level in LEVELS:
        at = round(level * (width_px - 1))
        strip[:, max(at - 1, 0) : at + 1] = CASING
    pixels: Pixels = np.rint(strip).astype(np.uint8)
    return pixels
