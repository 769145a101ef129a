"""From a source to frames and features: looked up, searched, or decoded and encoded.

Knows nothing of plans, questions or language models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.encoder.features import Memo, VideoFeatures
from free_video_llm.encoder.search import Search, watch_or_search
from free_video_llm.encoder.stream import Progress
from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import VideoError
from free_video_llm.video.fetch import Fetched
from free_video_llm.video.http_get import short
from free_video_llm.video.ranges import TimeRange
from free_video_llm.video.read import Frames, Mode, Resize, Rules
from free_video_llm.video.subtitles import Line, read_subtitles

if TYPE_CHECKING:
    from free_video_llm.encoder.cache import FeatureCache


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a video's frames are read, so that they can be read again for a plan that needs other
    pixels.

    Attributes:
        source: a path.
        frames: how many.
        ranges: stretches that they are taken from, in seconds; none is the whole video.
        search: the share of them that is scored (see `Search`); None is all.
        mode, rules, resize: see `read_frames`. batch: frames of a pass of a tower.
        cache: where the features are looked for, and kept; not of what is searched.
        subtitles: the file that has them, or themselves, or none.
        fetched: what the source was fetched as, and lives as long as this.
    """

    source: str
    frames: int
    ranges: tuple[TimeRange, ...] = ()
    search: float | None = None
    mode: Mode = "exact"
    rules: Rules = "corrected"
    resize: Resize | None = None
    batch: int | None = None
    cache: FeatureCache | None = None
    fetched: Fetched | None = None
    subtitles: str | Path | Sequence[Line] | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """The options of `read_frames`."""
        how = {"count": self.frames, "mode": self.mode, "rules": self.rules, "resize": self.resize}
        return how | ({"ranges": self.ranges} if self.ranges else {})


@dataclass(frozen=True)
class Seen:
    """What watching a source gave.

    `decoded` and `encoded` are the seconds in which towers waited for frames, and worked.
    """

    frames: Frames
    features: VideoFeatures
    decoded: float
    encoded: float
    memo: Memo = field(default_factory=dict)
    from_cache: bool = False
    search: Search | None = None


def watch(
    reading: Reading, towers: Towers, *, late: bool = False, progress: Progress | None = None
) -> Seen:
    """Frames and features of a source; with `late` the LLM's own tower waits for a plan.

    Raises:
        VideoError: the source gives no frames.
        ConfigError: an option has a value that is not allowed.
    """
    fetched = reading.fetched
    lines: tuple[Line, ...] = ()
    try:
        if isinstance(reading.subtitles, str | Path):
            lines = read_subtitles(str(reading.subtitles))
        elif reading.subtitles is not None:
            lines = tuple(reading.subtitles)
        seen = _watch(reading, towers, late=late, progress=progress)
    except VideoError as error:  # of a file that people have never seen
        if fetched is None:
            raise
        raise VideoError(str(error).replace(fetched.path, short(fetched.name))) from error
    frames = replace(seen.frames, subtitles=lines) if lines else seen.frames
    if fetched is not None:
        frames = replace(frames, called=short(fetched.name))
    return replace(seen, frames=frames)


def _watch(reading: Reading, towers: Towers, *, late: bool, progress: Progress | None) -> Seen:
    begin = time.perf_counter()
    cache = reading.cache if reading.search is None else None
    key = None if cache is None else cache.key_of(reading.source, towers, **reading.sampling)
    if cache is not None and key is not None:
        entry = cache.get(key, towers, reading.source)
        if entry is not None:
            seconds = time.perf_counter() - begin
            return Seen(entry.frames, entry.features, seconds, 0.0, entry.memo, True)
    watched, search = watch_or_search(
        reading.source,
        towers,
        reading.sampling,
        share=reading.search,
        batch=reading.batch,
        late=late and cache is None,
        progress=progress,
    )
    memo: Memo = {}
    if cache is not None and key is not None:
        memo = cache.put(key, watched.frames, watched.features).memo
    seen = (watched.frames, watched.features, watched.waited, watched.encoded)
    return Seen(*seen, memo, search=search)
