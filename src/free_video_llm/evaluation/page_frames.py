"""The kept frames of a run's rows as small pictures, decoded anew from its videos."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from free_video_llm.benchmarks.videos import VideoFolder
from free_video_llm.errors import VideoError
from free_video_llm.video.stills import Moment, Region, read_moments

#: Frames of a row, at most: of more, those nearest to the question.
MOST = 12
#: Pixels and JPEG quality of a picture: five kilobytes or so.
PIXELS, QUALITY = 60_000, 80

Key = tuple[str, tuple[tuple[float, Region], ...]]


@dataclass(frozen=True)
class PageFrame:
    """A kept frame: its second, the region of it that was kept (left, top, right, bottom as shares
    of the frame), and itself as a JPEG."""

    second: float
    region: Region
    jpeg: bytes


@dataclass
class PageFrames:
    """Kept frames of some rows of one run, by row; each is decoded once."""

    videos: VideoFolder
    _found: dict[Key, tuple[tuple[PageFrame, ...], str]] = field(default_factory=dict)

    def read(
        self, rows: Sequence[Mapping[str, Any]], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Decode what the rows kept. A video that cannot be read is said by `reason`."""
        keys = list(dict.fromkeys(_key(row) for row in rows if "evidence" in row))
        for number, key in enumerate(keys, start=1):
            if key not in self._found:
                self._found[key] = self._decode(key)
            if progress is not None:
                progress(number, len(keys))

    def of(self, row: Mapping[str, Any]) -> tuple[PageFrame, ...]:
        """A row's kept frames in time order; none where they could not be read."""
        return self._found.get(_key(row), ((), ""))[0]

    def reason(self, row: Mapping[str, Any]) -> str:
        """Why a row has none, "" where it has."""
        return self._found.get(_key(row), ((), ""))[1]

    def _decode(self, key: Key) -> tuple[tuple[PageFrame, ...], str]:
        name, wanted = key
        try:
            path = str(self.videos.find(name))
            moments = [Moment(second) for second, _ in wanted]
            pictures = read_moments(path, moments, most_pixels=PIXELS)
        except VideoError as error:
            return (), str(error)
        return tuple(
            PageFrame(second, region, _jpeg(pixels))
            for (second, region), pixels in zip(wanted, pictures, strict=True)
        ), ""


def _key(row: Mapping[str, Any]) -> Key:
    """A row's video and what is drawn of it: of the detailed pathways, or of all where none is."""
    pathways = row["evidence"]["pathways"]
    few = [pathway for pathway in pathways if len(pathway["frames"]) <= MOST]
    region: Region
    kept: dict[float, tuple[float, Region]] = {}
    for pathway in few or pathways:
        for frame in pathway["frames"]:
            left, top, right, bottom = frame.get("region", (0.0, 0.0, 1.0, 1.0))
            region = (float(left), float(top), float(right), float(bottom))
            kept.setdefault(float(frame["second"]), (float(frame["score"]), region))
    best = sorted(kept.items(), key=lambda item: -item[1][0])[:MOST]
    return row["video"], tuple(sorted((second, region) for second, (_, region) in best))


def _jpeg(pixels: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=QUALITY)
    return held.getvalue()
