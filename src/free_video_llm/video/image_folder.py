"""The pictures of a folder as the frames of a clip: which they are, opened upright, scaled.

It knows neither video files nor which pictures are wanted; that is `video.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from free_video_llm.video.decode import check_readable, refuse

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"))
_NAMES = " ".join(sorted(IMAGE_SUFFIXES))


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, and not a hidden one (macOS leaves "._a.jpg")."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def listing(folder: str) -> list[str]:
    """The names in a folder that are not hidden, sorted; VideoError if it cannot be listed."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError as error:
        refuse(folder, "there is no such file or folder", "check the path", error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        refuse(folder, f"cannot be read ({reason})", "check the path and its permissions", error)


def pictures_of(path: str) -> list[str]:
    """The picture files of a folder in name order, or the one picture that `path` is."""
    if not os.path.isdir(path):
        return [path]
    names = listing(path)
    if not names:
        refuse(path, "the folder is empty", f"put pictures into it ({_NAMES})")
    pictures = [os.path.join(path, name) for name in names if is_picture(name)]
    if not pictures:
        what = "the folder holds no pictures"
        refuse(path, what, f"allowed are {_NAMES}, or name one video file in it")
    return pictures


def open_picture(path: str) -> Image.Image:
    """A picture as it is to be seen (EXIF rotation applied), RGB; VideoError if it is broken."""
    check_readable(path)
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        refuse(path, "is not a whole picture", f"allowed are {_NAMES}: save it again", error)


def scale_picture(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """uint8 [size, size, 3], by PIL's bicubic, as the released code (arXiv 2410.10441) scales."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.uint8)
