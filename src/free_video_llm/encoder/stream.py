"""Frames are decoded in one thread while the towers encode, in another, those that are there.

Knows nothing of plans, questions or language models.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from free_video_llm.encoder.features import VideoFeatures
from free_video_llm.encoder.tower import FrameEncoder, Towers
from free_video_llm.video.parts import NotInPartsError, Parts
from free_video_llm.video.read import Arrived, Frames, Pixels, read_frames

log = logging.getLogger(__name__)

#: Bytes of small pictures and of the scorer's states that are held of a video.
MOST_HELD = 200_000_000

#: Called with what is being done ("decode", "encode"), how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


def named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    """Progress on one thing."""
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


@dataclass(frozen=True)
class Watched:
    """A video's frames and features. `waited` are the seconds in which the towers had no frame to
    work on, `encoded` those in which they worked: together the time it took."""

    frames: Frames
    features: VideoFeatures
    waited: float
    encoded: float


def read_and_encode(
    read: Callable[[Arrived], Frames],
    towers: Towers,
    *,
    batch: int | None = None,
    late: bool = False,
    progress: Progress | None = None,
) -> Watched:
    """Encode frames as `read` decodes them in a thread of its own.

    Args:
        read: `video.read_frames` but for its argument `arrived`.
        towers: that encode.
        batch: frames per pass of a tower; None sizes it to the memory that is free. It is halved
            where memory runs out all the same.
        late: whether the LLM's own tower waits for a plan; see `Towers.encode`.
        progress: called from the calling thread.

    Raises:
        VideoError: what `read` raises.
    """
    begin = time.perf_counter()
    feed = _Feed(read)
    encoder: FrameEncoder | None = None
    batch = batch or towers.batch_size()
    encoded = 0.0
    try:
        pixels, ready = feed.wait(None, 0, batch, progress)
        while True:
            if encoder is None or encoder.pixels is not pixels:
                # The first frames, or a damaged file has to be read again: what was there is void.
                encoder = FrameEncoder(towers, pixels, late=late)
            start = time.perf_counter()
            batch = _encode(encoder, min(ready, encoder.done + batch), batch)
            encoded += time.perf_counter() - start
            if progress is not None:
                progress("decode", ready, len(pixels))
                progress("encode", encoder.done, len(pixels))
            if encoder.done == len(pixels) and feed.result is not None:
                break
            pixels, ready = feed.wait(pixels, encoder.done, batch, progress)
        frames = feed.result
        features = encoder.features()
    finally:
        feed.close()
    return Watched(frames, features, time.perf_counter() - begin - encoded, encoded)


def watch_source(
    path: str,
    towers: Towers,
    sampling: Mapping[str, Any],
    *,
    batch: int | None = None,
    late: bool = False,
    progress: Progress | None = None,
) -> Watched:
    """Decode and encode a source. Where a plan need not keep all frames (`late`) and they are too
    many to be held, only their vectors are; those that are kept are decoded and encoded again.

    Args:
        path, sampling: for `read_frames`: count, mode, rules, resize.
        towers, batch, late, progress: see `read_and_encode`.

    Raises:
        VideoError: as `read_frames` does.
    """
    of_frame = 3 * towers.size**2 + towers.scorer.state_bytes
    many = isinstance(sampling["count"], int) and sampling["count"] * of_frame > MOST_HELD
    if late and many:  # what is no count is refused by `read_frames`
        try:
            parts = Parts(path, size=towers.size, **sampling)
            if len(parts) * of_frame > MOST_HELD:
                return score_parts(parts, towers, batch=batch, progress=progress)
        except NotInPartsError as error:
            log.info("all frames are held in memory: %s", error)
    read = functools.partial(read_frames, path, size=towers.size, **sampling)
    return read_and_encode(
        lambda arrived: read(arrived=arrived), towers, batch=batch, late=late, progress=progress
    )


def score_parts(
    parts: Parts,
    towers: Towers,
    *,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Watched:
    """Score frames a part at a time, the next one being decoded meanwhile, and hold the vectors
    alone.

    Raises:
        NotInPartsError: they have to be read together.
        VideoError: as `read_frames` does.
    """
    begin, encoded = time.perf_counter(), 0.0
    vectors: list[torch.Tensor] = []
    rest, done = iter(parts), 0
    with ThreadPoolExecutor(1, thread_name_prefix="fvl-decode") as reader:
        coming = reader.submit(next, rest, None)
        while (pixels := coming.result()) is not None:
            coming = reader.submit(next, rest, None)
            start = time.perf_counter()
            encoder = FrameEncoder(towers, pixels, late=True, held=False)
            size = batch or towers.batch_size()
            while encoder.done < len(pixels):
                size = _encode(encoder, min(len(pixels), encoder.done + size), size)
            vectors.append(encoder.vectors())
            done += len(pixels)
            encoded += time.perf_counter() - start
            if progress is not None:
                progress("decode", min(done + parts.at_once, len(parts)), len(parts))
                progress("encode", done, len(parts))
    frames = parts.frames()
    features = towers.light_features(torch.cat(vectors), frames.pixels)
    return Watched(frames, features, time.perf_counter() - begin - encoded, encoded)


def _encode(encoder: FrameEncoder, stop: int, batch: int) -> int:
    """Encode up to frame `stop`; the batch that memory had room for."""
    while encoder.done < stop:
        try:
            encoder.advance(min(stop, encoder.done + batch))
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch = max(1, batch // 2)
            log.info("not enough memory for a pass of the tower: %d frames at a time now", batch)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return batch


class _AbandonedError(Exception):
    """Ends the reading thread where nobody wants its frames any more."""


class _Feed:
    """A thread that reads frames, and how far it has come."""

    def __init__(self, read: Callable[[Arrived], Frames]) -> None:
        self._read = read
        self._changed = threading.Condition()
        self._pixels: Pixels | None = None
        self._ready = 0
        self._error: BaseException | None = None
        self._abandoned = False
        self.result: Frames | None = None
        # A daemon, so that a decoder that hangs on a broken file cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="fvl-decode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            result = self._read(self._arrived)
        except _AbandonedError:
            return
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify()
        else:
            with self._changed:
                self.result = result
                self._pixels, self._ready = np.asarray(result.pixels), len(result)
                self._changed.notify()

    def _arrived(self, pixels: Pixels, ready: int) -> None:
        with self._changed:
            if self._abandoned:
                raise _AbandonedError
            self._pixels, self._ready = pixels, ready
            self._changed.notify()

    def wait(
        self, pixels: Pixels | None, done: int, batch: int, progress: Progress | None
    ) -> tuple[Pixels, int]:
        """Wait for a whole batch after frame `done` of `pixels`, for another array, or the end.

        Gives the array and how many of its first frames are there; raises what the reader raised.
        """
        while True:
            with self._changed:
                if self._error is not None:
                    raise self._error
                if self._pixels is not None and self._enough(pixels, done, batch):
                    return self._pixels, self._ready
                self._changed.wait(timeout=1)  # so that Ctrl-C is heard on every system
                seen = (self._ready, len(self._pixels)) if self._pixels is not None else None
            if progress is not None and seen is not None:
                progress("decode", *seen)

    def _enough(self, pixels: Pixels | None, done: int, batch: int) -> bool:
        assert self._pixels is not None
        begun = done if self._pixels is pixels else 0
        if begun == len(self._pixels):  # all encoded: only the end, or another array, is news
            return self.result is not None
        return self._ready >= min(begun + batch, len(self._pixels))

    def close(self) -> None:
        """Let the thread end at its next frame, if it has not ended."""
        with self._changed:
            self._abandoned = True
        self._thread.join(timeout=5)
