"""The toy world of the embedded model: coloured shapes on textured backgrounds, drawn in batches.

Samples scenes (what is where) and draws them as tensors. Knows nothing of questions, models,
video files or training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "moon")
COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "pink")

#: Typical sRGB values of each colour word; a drawn object is a jittered one of these.
COLOR_ANCHORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((255, 0, 0), (220, 20, 50), (200, 30, 30), (235, 50, 45)),
    "green": ((0, 128, 0), (0, 200, 0), (40, 180, 60), (34, 139, 34), (0, 255, 0)),
    "blue": ((0, 0, 255), (30, 90, 220), (40, 70, 230), (30, 60, 200), (65, 105, 225)),
    "yellow": ((255, 255, 0), (240, 220, 40), (250, 215, 30), (255, 235, 60)),
    "purple": ((128, 0, 128), (150, 50, 200), (140, 60, 180), (160, 32, 240)),
    "orange": ((255, 165, 0), (255, 140, 0), (240, 130, 30), (255, 120, 20)),
    "white": ((255, 255, 255), (240, 240, 240), (250, 250, 245)),
    "pink": ((255, 192, 203), (255, 105, 180), (250, 150, 190), (255, 130, 180)),
}

MAX_OBJECTS = 3
ASPECTS = (1.0, 1.0, 4 / 3, 4 / 3, 16 / 9, 3 / 4, 9 / 16)


@dataclass(frozen=True)
class Thing:
    """One object in a frame. Lengths are fractions of the frame; x to the right, y down.

    `width` is the object's extent as a share of the frame's width (about 1/6 to 2/3).
    """

    shape: str
    color: str
    x: float
    y: float
    width: float
    angle: float = 0.0
    rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    detail: float = 0.5  # 0..1: thickness of a ring, sharpness of a star, …
    squeeze: float = 1.0  # height over width before the frame's aspect is applied

    @property
    def quadrant(self) -> str:
        """Which quarter of the frame holds the object's centre, as "top left" …"""
        return f"{'top' if self.y < 0.5 else 'bottom'} {'left' if self.x < 0.5 else 'right'}"

    def distance_to_midlines(self) -> float:
        """Distance of the centre to the nearer of the frame's two midlines, in frame lengths."""
        return min(abs(self.x - 0.5), abs(self.y - 0.5))

    def at(self, x: float, y: float) -> Thing:
        """The same object elsewhere."""
        return replace(self, x=x, y=y)


@dataclass(frozen=True)
class Background:
    """A texture between two dark to middling colours; plain, gradient, noise or stripes."""

    kind: str
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    angle: float
    frequency: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """What one frame shows: a background, up to three things, and the frame's width over height."""

    background: Background
    things: tuple[Thing, ...]
    aspect: float = 1.0


# --- sampling -------------------------------------------------------------------------------


def sample_background(rng: np.random.Generator) -> Background:
    """A random background, each channel at most about half bright."""
    kind = str(rng.choice(["plain", "gradient", "noise", "stripes"]))
    bright = rng.uniform(0.02, 0.5)
    tint = rng.uniform(0.0, 0.35)

    def color(level: float) -> tuple[float, float, float]:
        rgb = level * (1 + tint * rng.uniform(-1, 1, 3))
        return tuple(float(c) for c in np.clip(rgb, 0, 0.55))  # type: ignore[return-value]

    first = color(bright)
    second = color(float(np.clip(bright * rng.uniform(0.4, 1.8), 0.0, 0.55)))
    return Background(
        kind,
        first,
        second,
        float(rng.uniform(0, math.pi)),
        float(rng.uniform(2, 9)),
        int(rng.integers(2**31)),
    )


def sample_rgb(color: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """One of the colour's typical values with a little jitter, each channel 0..1."""
    anchors = COLOR_ANCHORS[color]
    rgb = np.asarray(anchors[rng.integers(len(anchors))], float) + rng.uniform(-12, 12, 3)
    if color != "white":
        rgb *= rng.uniform(0.88, 1.0)
    return tuple(float(c) for c in np.clip(rgb / 255, 0, 1))  # type: ignore[return-value]


_TILT = {
    "square": 0.2,
    "triangle": 0.35,
    "cross": 0.25,
    "diamond": 0.12,
}  # radians, beyond is another shape


def sample_thing(
    rng: np.random.Generator,
    *,
    shape: str | None = None,
    color: str | None = None,
    width: tuple[float, float] = (1 / 6, 2 / 3),
) -> Thing:
    """A random object without a place (it is at the centre). Small ones are as common as large."""
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    color = color or COLORS[rng.integers(len(COLORS))]
    low, high = width
    size = float(np.exp(rng.uniform(math.log(low), math.log(high))))
    tilt = _TILT.get(shape, math.pi)
    angle = 0.0 if rng.random() < 0.4 else float(rng.uniform(-tilt, tilt))
    return Thing(
        shape,
        color,
        0.5,
        0.5,
        size,
        angle,
        sample_rgb(color, rng),
        float(rng.random()),
        float(rng.uniform(0.92, 1.08)),
    )


def extent(thing: Thing, aspect: float) -> tuple[float, float]:
    """Width and height of an object as fractions of the frame's width and height."""
    return thing.width, thing.width * aspect * thing.squeeze


def fit(thing: Thing, aspect: float, tallest: float = 0.8) -> Thing:
    """The object made small enough that it is at most `tallest` of the frame's height."""
    height = extent(thing, aspect)[1]
    return thing if height <= tallest else replace(thing, width=thing.width * tallest / height)


def overlaps(a: Thing, b: Thing, aspect: float, share: float = 0.85) -> bool:
    """Whether two objects come closer than `share` of their half-sizes together."""
    (aw, ah), (bw, bh) = extent(a, aspect), extent(b, aspect)
    reach = max((aw + bw) / 2, 1e-6), max((ah + bh) / 2, 1e-6)
    return math.hypot((a.x - b.x) / reach[0], (a.y - b.y) / reach[1]) < share


def contrasts(thing: Thing, background: Background, least: float = 0.25) -> bool:
    """Whether an object's colour stands out from both colours of a background."""
    return all(
        math.dist(thing.rgb, ground) >= least for ground in (background.first, background.second)
    )


def place(
    things: Sequence[Thing],
    aspect: float,
    rng: np.random.Generator,
    *,
    outside: float = 0.0,
    tries: int = 30,
) -> tuple[Thing, ...]:
    """Give each object a free place; what finds none in `tries` is left out.

    `outside` is the chance that an object may stick out of the frame (its centre stays inside).
    """
    placed: list[Thing] = []
    for thing in things:
        thing = fit(thing, aspect)
        w, h = extent(thing, aspect)
        for _ in range(tries):
            if rng.random() < outside:
                x, y = rng.uniform(0.04, 0.96, 2)
            else:
                x = rng.uniform(min(w / 2, 0.5), max(1 - w / 2, 0.5))
                y = rng.uniform(min(h / 2, 0.5), max(1 - h / 2, 0.5))
            candidate = thing.at(float(x), float(y))
            if not any(overlaps(candidate, other, aspect) for other in placed):
                placed.append(candidate)
                break
    return tuple(placed)


def sample_scene(
    rng: np.random.Generator,
    *,
    count: int | None = None,
    aspect: float | None = None,
    outside: float = 0.15,
) -> Scene:
    """A random scene of `count` objects (0 to 3; fewer where no room is left)."""
    if count is None:
        count = int(rng.choice([0, 1, 2, 3], p=[0.06, 0.24, 0.3, 0.4]))
    aspect = float(rng.choice(ASPECTS) * rng.uniform(0.95, 1.05)) if aspect is None else aspect
    background = sample_background(rng)
    things: list[Thing] = []
    largest = (2 / 3, 0.55, 0.42)[max(count - 1, 0)]
    while len(things) < count:
        thing = sample_thing(rng, width=(1 / 6, largest))
        if things and rng.random() < 0.25:  # the same colour or shape again: makes binding matter
            other = things[rng.integers(len(things))]
            thing = (
                sample_thing(rng, shape=other.shape, width=(1 / 6, largest))
                if rng.random() < 0.5
                else sample_thing(rng, color=other.color, width=(1 / 6, largest))
            )
        if contrasts(thing, background):
            things.append(thing)
    return Scene(background, place(things, aspect, rng, outside=outside), aspect)


# --- drawing --------------------------------------------------------------------------------


def _polygon(r: torch.Tensor, theta: torch.Tensor, points: int, inner: float) -> torch.Tensor:
    """Signed distance to a star polygon with `points` tips at radius 1 and notches at `inner`."""
    half = math.pi / points
    folded = torch.remainder(theta + math.pi / 2 + half, 2 * half) - half  # a tip points up
    x, y = r * torch.cos(folded), r * torch.sin(folded).abs()
    # The edge runs from the tip (1, 0) to the notch at angle `half`.
    ex, ey = inner * math.cos(half) - 1, inner * math.sin(half)
    return (ey * (x - 1) - ex * y) / math.hypot(ex, ey)


def _signed_distance(shape: str, x: torch.Tensor, y: torch.Tensor, detail: float) -> torch.Tensor:
    """Distance to a shape of half-size 1, negative inside; x and y are [H,W]."""
    r = torch.hypot(x, y)
    if shape == "circle":
        return r - 1
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9
    if shape == "diamond":
        narrow = 0.7 + 0.3 * detail
        return (x.abs() / narrow + y.abs() - 1) * narrow / math.hypot(1, narrow)
    if shape == "ring":
        thick = 0.22 + 0.25 * detail
        return (r - (1 - thick / 2)).abs() - thick / 2
    if shape == "cross":
        arm = 0.2 + 0.18 * detail
        return torch.minimum(
            torch.maximum(x.abs() - 1, y.abs() - arm), torch.maximum(x.abs() - arm, y.abs() - 1)
        )
    if shape == "moon":
        shift, hole = 0.4 + 0.25 * detail, 0.85
        return torch.maximum(r - 1, hole - torch.hypot(x - shift, y))
    theta = torch.atan2(y, x)
    if shape == "triangle":
        return _polygon(r, theta, 3, 0.5)
    if shape == "star":
        return _polygon(r, theta, 5, 0.36 + 0.16 * detail)
    raise ValueError(f"unknown shape {shape!r}: one of {', '.join(SHAPES)}")


def draw_background(ground: Background, height: int, width: int) -> torch.Tensor:
    """A background, float32 [3,H,W] in 0..1."""
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None, :] / width
    along = x * math.cos(ground.angle) + y * math.sin(ground.angle)
    mix = torch.zeros(height, width)
    if ground.kind == "gradient":
        mix = along.clamp(0, 1)
    elif ground.kind == "stripes":
        wave = torch.sin(2 * math.pi * ground.frequency * along)
        hard = ground.seed % 2 == 1
        mix = ((wave * 4).clamp(-1, 1) if hard else wave) * 0.5 + 0.5
    elif ground.kind == "noise":
        cells = max(2, int(ground.frequency))
        field = np.random.default_rng(ground.seed).random((1, 1, cells, cells), dtype=np.float32)
        smooth = F.interpolate(
            torch.from_numpy(field), (height, width), mode="bicubic", align_corners=False
        )
        mix = smooth[0, 0].clamp(0, 1)
    first, second = (torch.tensor(c)[:, None, None] for c in (ground.first, ground.second))
    return first * (1 - mix) + second * mix


def draw(scenes: Sequence[Scene], height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes with soft edges.

    Returns the images, float32 [B,3,H,W] in 0..1, and what each object covers, float32
    [B,K,H,W] (one plane per object in the order of `Scene.things`, later ones on top; K is 3, or
    what the fullest scene holds).
    """
    grounds = {
        ground: draw_background(ground, height, width)
        for ground in dict.fromkeys(scene.background for scene in scenes)
    }
    images = torch.stack([grounds[scene.background] for scene in scenes])
    planes = max(MAX_OBJECTS, *(len(scene.things) for scene in scenes))
    covers = torch.zeros(len(scenes), planes, height, width)
    for image, cover, scene in zip(images, covers, scenes, strict=True):
        for slot, thing in enumerate(scene.things):
            _draw_thing(image, cover, slot, thing, scene.aspect)
    return images, covers


def _draw_thing(
    image: torch.Tensor, cover: torch.Tensor, slot: int, thing: Thing, aspect: float
) -> None:
    """Draw one object over image [3,H,W] and cover [3,H,W], both changed in place."""
    height, width = image.shape[1:]
    wide, high = extent(thing, aspect)
    half_w, half_h = wide / 2, high / 2
    # A turned square reaches 1.3 half-sizes out; only that window is computed.
    reach_x, reach_y = 1.35 * max(half_w, half_h / aspect), 1.35 * max(half_h, half_w * aspect)
    left, right = _window(thing.x, reach_x, width)
    top, bottom = _window(thing.y, reach_y, height)
    if left >= right or top >= bottom:
        return
    x = ((torch.arange(left, right) + 0.5) / width - thing.x)[None, :] / half_w
    y = ((torch.arange(top, bottom) + 0.5) / height - thing.y)[:, None] / half_h
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    distance = _signed_distance(thing.shape, x * cos + y * sin, y * cos - x * sin, thing.detail)
    pixel = 0.5 * (1 / (half_w * width) + 1 / (half_h * height))
    alpha = (0.5 - distance / pixel).clamp(0, 1)
    part = (slice(None), slice(top, bottom), slice(left, right))
    image[part] = image[part] * (1 - alpha) + torch.tensor(thing.rgb)[:, None, None] * alpha
    cover[part] = cover[part] * (1 - alpha)
    cover[slot, top:bottom, left:right] = alpha


def _window(centre: float, reach: float, length: int) -> tuple[int, int]:
    """First and last pixel (exclusive) of what lies within `reach` of `centre`."""
    first = math.floor((centre - reach) * length) - 1
    last = math.ceil((centre + reach) * length) + 1
    return max(first, 0), min(last, length)


# --- what cameras and codecs do --------------------------------------------------------------


def _dct_matrix(n: int = 8) -> torch.Tensor:
    k = torch.arange(n)[:, None]
    m: torch.Tensor = torch.cos(math.pi * (2 * torch.arange(n)[None] + 1) * k / (2 * n))
    m *= math.sqrt(2 / n)
    m[0] /= math.sqrt(2)
    return m


def _quantise_blocks(images: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Quantise the 8×8 DCT of luma and half-size chroma, as block codecs do. `step` [B]."""
    m = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    ycc = torch.einsum("ij,bjhw->bihw", m, images)
    chroma = F.avg_pool2d(ycc[:, 1:], 2)

    def through_dct(planes: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        b, c, h, w = planes.shape
        d = _dct_matrix()
        blocks = planes.reshape(b, c, h // 8, 8, w // 8, 8)
        freq = torch.einsum("ki,bcyixj,lj->bcykxl", d, blocks, d)
        slope = 1 + 0.35 * (torch.arange(8)[:, None, None] + torch.arange(8))  # coarser when finer
        q = step[:, None, None, None, None, None] * slope.reshape(8, 1, 8)
        freq = torch.round(freq / q) * q
        return torch.einsum("ki,bcykxl,lj->bcyixj", d, freq, d).reshape(b, c, h, w)

    luma = through_dct(ycc[:, :1], step)
    chroma = F.interpolate(through_dct(chroma, step * 1.3), scale_factor=2, mode="bilinear")
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(m), torch.cat([luma, chroma], 1))


def degrade(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Grain, blur, brightness, block compression and palettes, each on some images. [B,3,H,W] 0..1.

    H and W must be multiples of 16.
    """
    b, _, h, w = images.shape

    def scale(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32)[:, None, None, None]

    def pick(chance: float) -> torch.Tensor:
        return torch.from_numpy(rng.random(b) < chance)

    images = images * scale(rng.uniform(0.75, 1.12, b))
    blurred = pick(0.35)
    if blurred.any():
        small = F.interpolate(
            images[blurred],
            scale_factor=float(rng.uniform(0.5, 0.95)),
            mode="bilinear",
            antialias=True,
        )
        images[blurred] = F.interpolate(small, (h, w), mode="bilinear")
    noise = torch.from_numpy(rng.standard_normal((b, 3, h, w), dtype=np.float32))
    images = (images + noise * scale(rng.uniform(0, 0.05, b) * (rng.random(b) < 0.7))).clamp(0, 1)
    coded = pick(0.5)
    if coded.any():
        steps = torch.tensor(rng.uniform(0.01, 0.12, int(coded.sum())), dtype=torch.float32)
        images[coded] = _quantise_blocks(images[coded], steps)
    paletted = pick(0.1)
    if paletted.any():
        levels = float(rng.integers(5, 9))
        images[paletted] = torch.round(images[paletted] * levels) / levels
    return images.clamp(0, 1)
