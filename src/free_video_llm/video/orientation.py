"""How a stored frame is turned and mirrored for display: the eight symmetries of a square.

Containers keep it as a display matrix, pictures as an EXIF number. Pure functions on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Orientation:
    """What is done to stored pixels, in this order: `transpose` rows and columns, mirror left to
    right (`flip_x`), mirror top to bottom (`flip_y`)."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Stored pixels [height,width,3] as they are displayed, as a view."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        if self.flip_x:
            pixels = pixels[:, ::-1]
        return pixels[::-1] if self.flip_y else pixels

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Displayed width and height of a stored frame."""
        return (height, width) if self.transpose else (width, height)

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise by which a frame is turned, mirrored or not: 0, 90, 180, 270."""
        turns = {(False, False): 0, (True, True): 180}
        if not self.transpose:
            return turns.get((self.flip_x, self.flip_y), 0)
        return 270 if self.flip_x else 90


#: By EXIF's number (Exif 2.32, tag 0x0112).
BY_EXIF = {
    1: Orientation(),
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_x=True),
    7: Orientation(transpose=True, flip_x=True, flip_y=True),
    8: Orientation(transpose=True, flip_y=True),
}


def from_matrix(a: float, b: float, c: float, d: float) -> Orientation:
    """The symmetry nearest to a display matrix, which takes (x, y) to (a·x + c·y, b·x + d·y).

    Examples:
        >>> from_matrix(0, 1, -1, 0)  # a quarter turn clockwise, as telephones write it
        Orientation(transpose=True, flip_x=True, flip_y=False)
    """
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)


def of_frame(frame: VideoFrame) -> Orientation:
    """The orientation that a decoded frame carries (PyAV neither turns nor mirrors it)."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    return from_matrix(a, b, c, d)
