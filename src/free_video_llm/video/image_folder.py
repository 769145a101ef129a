"""Pictures as the frames of a clip: those of a folder, one alone, or one that is an animation.

Which of them are wanted is left to `read.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from free_video_llm.video.orientation import BY_EXIF, Orientation
from free_video_llm.video.source import (
    IMAGE_NAMES,
    MOST_PIXELS,
    check_pixels,
    check_readable,
    is_picture,
    is_still_container,
    listing,
    refuse,
)

Pixels = npt.NDArray[np.uint8]
#: The pace at which a folder of pictures is taken to have been shot, for want of times.
IMAGES_PER_SECOND = 1.0
#: What a picture of an animation lasts where it does not say.
_UNTIMED_SECONDS = 0.1
#: Formats whose further pictures are pages, not moments.
_PAGED = frozenset(("TIFF", "MPO"))


@dataclass(frozen=True)
class Pictures:
    """The pictures that a source holds, in order, none of them decoded.

    Attributes:
        places: of each picture, its file and its number in the file.
        seconds: float64 [N], when each begins.
        duration: seconds.
        warnings: one line each.
    """

    places: tuple[tuple[str, int], ...]
    seconds: npt.NDArray[np.float64]
    duration: float
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)


def find_pictures(path: str) -> Pictures:
    """The pictures of a folder in natural order, or of one file, which may be an animation.

    Raises VideoError if there are none.
    """
    if os.path.isdir(path):
        files = files_in(path)
        return _one_a_second([(file, 0) for file in files], _animated_among(files))
    with _opened(path) as image:
        count, paged = getattr(image, "n_frames", 1), image.format in _PAGED
        if count == 1 or paged:
            return _one_a_second([(path, number) for number in range(count)])
        lasts = []
        for number in range(count):
            image.seek(number)
            image.load()  # WebP and AVIF say only then how long it lasts
            lasts.append(float(image.info.get("duration") or 0) / 1000 or _UNTIMED_SECONDS)
    ends = np.cumsum(lasts)
    places = tuple((path, number) for number in range(count))
    return Pictures(places, ends - np.array(lasts), float(ends[-1]))


def _one_a_second(places: list[tuple[str, int]], warnings: tuple[str, ...] = ()) -> Pictures:
    seconds = np.arange(len(places)) / IMAGES_PER_SECOND
    return Pictures(tuple(places), seconds, len(places) / IMAGES_PER_SECOND, warnings)


def files_in(folder: str) -> list[str]:
    """The picture files of a folder in natural order; VideoError if there are none."""
    names = listing(folder)
    if not names:
        refuse(folder, "the folder is empty", f"put pictures into it ({IMAGE_NAMES})")
    pictures = [os.path.join(folder, name) for name in names if is_picture(name)]
    if not pictures:
        what = "the folder holds no pictures"
        refuse(folder, what, f"allowed are {IMAGE_NAMES}, or name one video file in it")
    return pictures


def _animated_among(files: list[str]) -> tuple[str, ...]:
    """A warning of animations in a folder: each counts as one picture."""
    ends = (".webp", ".png", ".avif", ".apng")
    animated = sum(_holds_several(file) for file in files if file.lower().endswith(ends))
    if not animated:
        return ()
    files_are = "picture is an animation" if animated == 1 else "pictures are animations"
    return (f"{animated} {files_are}: only the first moment of each is looked at",)


def _holds_several(path: str) -> bool:
    """Whether a picture says so in its first bytes; a broken one is found when it is read."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(256)
    except OSError:
        return False
    return b"ANIM" in start[:64] or b"acTL" in start or start[8:12] == b"avis"


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    check_readable(path)
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        if is_still_container(path):
            refuse(path, "AVIF and HEIC pictures like this one cannot be read here",
                   "save it as JPEG or PNG", error)  # fmt: skip
        _refuse_broken(path, error)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        _refuse_broken(path, error)


def _refuse_broken(path: str, error: BaseException) -> None:
    refuse(path, "is not a whole picture", f"allowed are {IMAGE_NAMES}: save it again", error)


def read_picture(path: str, number: int, size: int) -> tuple[Pixels, tuple[int, int]]:
    """A picture as it is to be seen, scaled: uint8 [size,size,3], and its own width and height.

    Raises VideoError if it is broken or has more pixels than are decoded.
    """
    with _opened(path) as image:
        width, height = image.size
        if image.format == "JPEG" and width * height > MOST_PIXELS:
            image.draft("RGB", (size, size))  # decoded at a fraction of its size
        check_pixels(path, *image.size)
        if number:
            image.seek(number)
        image.load()  # TIFF is turned by Pillow itself, and then no longer says that it should be
        if image.format == "TIFF":
            width, height = image.size
        orientation = _orientation(image)
        scaled = scale_picture(_as_rgb(image), size)
    # A square may be turned after scaling as well as before, without a second copy of the whole.
    return orientation.apply(scaled), orientation.size(width, height)


def read_whole_picture(path: str, number: int) -> Pixels:
    """A picture as it is to be seen: uint8 [height,width,3]. Raises VideoError as `read_picture`
    does."""
    with _opened(path) as image:
        check_pixels(path, *image.size)
        if number:
            image.seek(number)
        image.load()
        orientation = _orientation(image)
        pixels = np.asarray(_as_rgb(image), np.uint8)
    return orientation.apply(pixels)


def picture_size(path: str) -> tuple[int, int]:
    """Width and height of a picture as it is to be seen; VideoError if it cannot be opened."""
    with _opened(path) as image:
        check_pixels(path, *image.size)
        image.load()
        return _orientation(image).size(*image.size)


def _orientation(image: Image.Image) -> Orientation:
    return BY_EXIF.get(image.getexif().get(ExifTags.Base.Orientation, 1), Orientation())


def _as_rgb(image: Image.Image) -> Image.Image:
    """RGB of any mode; of 16 bits a pixel the upper 8 (Pillow would cut values at 255)."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        if values.max(initial=0) > 255:
            return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def scale_picture(image: Image.Image, size: int) -> Pixels:
    """uint8 [size,size,3], by PIL's bicubic, as the released code (arXiv 2410.10441) scales."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.uint8)
