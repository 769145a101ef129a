"""A long video searched: all candidates are glanced at as small pictures, a few of them are scored,
and for each question a few more, around those that were nearest to it.

Decoding is what it was; what is saved is passes of the scorer, which for an hour at one frame a
second are 3,600. Knows nothing of plans or language models.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from free_video_llm.encoder.stream import MOST_HELD, Progress, Watched, watch_source
from free_video_llm.encoder.tower import FrameEncoder, Towers
from free_video_llm.errors import ConfigError, shown
from free_video_llm.video.late_pixels import LatePixels, Pixels
from free_video_llm.video.parts import NotInPartsError, Parts
from free_video_llm.video.read import Frames
from free_video_llm.video.survey import first_look, next_look, small_pictures

log = logging.getLogger(__name__)

#: Of the frames that are scored, the share of the first look; the others are chosen by a question.
FIRST = 0.8
#: Looks at what is near the best, each half of what is left.
ROUNDS = 2
#: Bytes of small pictures that are read together.
GLANCED = 64_000_000


def check_share(search: float) -> None:
    """Raise ConfigError unless it is a share of candidates."""
    number = isinstance(search, int | float) and not isinstance(search, bool)
    if not number or not 0 < search <= 1:
        raise ConfigError(
            "search is the share of the candidates that are scored, above 0 and at most 1, "
            f"not {shown(search)}"
        )


def watch_or_search(
    path: str,
    towers: Towers,
    sampling: Mapping[str, Any],
    *,
    share: float | None,
    batch: int | None = None,
    late: bool = False,
    progress: Progress | None = None,
) -> tuple[Watched, Search | None]:
    """A source watched; where a share is given, searched, if its frames can be read apart.

    Raises as `watch_source` and `Search` do.
    """
    if share is not None:
        check_share(share)
        try:
            search = Search(path, towers, sampling, share=share, batch=batch, progress=progress)
        except NotInPartsError as error:
            log.info("all frames are scored: %s", error)
        else:
            return search.first(), search
    watched = watch_source(path, towers, sampling, batch=batch, late=late, progress=progress)
    return watched, None


class Search:
    """The candidates of one source, of which at most a share is scored for a question.

    Args:
        path, sampling: for `read_frames`: count (of candidates), mode, rules, resize.
        towers: whose scorer scores.
        share: of the candidates.
        batch, progress: see `watch_source`.

    Attributes:
        frames: all candidates.

    What is scored for a question does not depend on what was asked before. May be used from several
    threads.

    Raises:
        NotInPartsError: the frames have to be read together.
        VideoError: as `read_frames` does.
    """

    def __init__(
        self,
        path: str,
        towers: Towers,
        sampling: Mapping[str, Any],
        *,
        share: float,
        batch: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_share(share)
        begin = time.perf_counter()
        self._towers, self._batch, self._progress = towers, batch, progress
        # Each part seeks anew, and decodes from a keyframe on.
        at_once = max(32, GLANCED // (3 * towers.size**2))
        parts = Parts(path, size=towers.size, at_once=at_once, **sampling)
        held = len(parts) * 3 * towers.size**2 <= MOST_HELD
        small, kept, done = [], [], 0
        for pixels in parts:
            small.append(small_pictures(pixels))
            if held:
                kept.append(pixels)
            done += len(pixels)
            if progress is not None:
                progress("decode", done, len(parts))
        frames = parts.frames()
        self.frames = replace(frames, pixels=np.concatenate(kept)) if held else frames
        self._most = max(1, round(share * len(frames)))
        first = first_look(np.concatenate(small), max(1, round(FIRST * self._most)))
        self._decoded = time.perf_counter() - begin
        self._vectors = self._score(first)
        self._encoded = time.perf_counter() - begin - self._decoded

    def first(self) -> Watched:
        """What was scored before any question."""
        return self._watched(self._vectors, self._encoded)

    def closer(self, prompt: torch.Tensor) -> Watched:
        """The first look, and what was looked at for the question of this unit vector [P].

        What is near to several questions is scored for each: passes of other frames would give
        vectors that differ in their last bits, and answers hang on what was asked before.
        """
        begin = time.perf_counter()
        vectors = dict(self._vectors)
        for left in range(ROUNDS, 0, -1):
            count = -(-(self._most - len(vectors)) // left)
            scores = {frame: float(v @ prompt.to(v)) for frame, v in vectors.items()}
            vectors |= self._score(next_look(scores, len(self.frames), count))
        return self._watched(vectors, self._encoded + time.perf_counter() - begin)

    def _score(self, frames: Sequence[int]) -> dict[int, torch.Tensor]:
        """The unit vectors of some candidates."""
        size = self._batch or self._towers.batch_size()
        vectors: dict[int, torch.Tensor] = {}
        for start in range(0, len(frames), size):
            some = frames[start : start + size]
            encoder = FrameEncoder(self._towers, self.frames.pixels[some], late=True, held=False)
            encoder.advance(len(some))
            vectors.update(zip(some, encoder.vectors(), strict=True))
            if self._progress is not None:
                self._progress("encode", len(vectors), len(frames))
        return vectors

    def _watched(self, vectors: Mapping[int, torch.Tensor], encoded: float) -> Watched:
        """Some candidates as a video of their own."""
        which = sorted(vectors)
        pixels = self.frames.pixels
        chosen: Pixels | LatePixels
        if isinstance(pixels, LatePixels):
            chosen = LatePixels(
                len(which), pixels.shape[1], lambda some: pixels[[which[i] for i in some]]
            )
        else:
            chosen = pixels[which]
        frames: Frames = replace(
            self.frames,
            pixels=chosen,
            seconds=self.frames.seconds[which],
            indices=self.frames.indices[which],
        )
        stacked = torch.stack([vectors[frame] for frame in which])
        features = self._towers.light_features(stacked, frames.pixels)
        return Watched(frames, features, self._decoded, encoded)
