"""Decoding in one thread, encoding in another: same features, whatever happens on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from free_video_llm import Frames, VideoError, VideoLLM
from free_video_llm.encoder.stream import read_and_encode
from free_video_llm.encoder.tower import FrameEncoder, Towers
from free_video_llm.samples import find
from free_video_llm.video.read import read_frames


@pytest.fixture(scope="module")
def towers() -> Towers:
    return VideoLLM.from_pretrained("tiny").towers


def some_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 96, 96, 3), dtype=np.uint8)


def as_frames(pixels: np.ndarray) -> Frames:
    count = len(pixels)
    return Frames(pixels, np.arange(float(count)), np.arange(count), count, 9.0, "made", 96, 96)


def assert_same(a, b) -> None:
    for name in ("llm_states", "scorer_states", "frame_vectors"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [None, 1, 3, 7, 50])
def test_features_are_those_of_reading_first_and_encoding_then(towers: Towers, batch):
    path = find("sample:star")
    watched = read_and_encode(
        lambda arrived: read_frames(path, count=7, size=96, arrived=arrived), towers, batch=batch
    )
    frames = read_frames(path, count=7, size=96)
    assert np.array_equal(watched.frames.pixels, frames.pixels)
    assert_same(watched.features, towers.encode(frames.pixels, batch=7))


def test_towers_work_while_frames_are_still_to_come(towers: Towers):
    pixels, encoded = some_pixels(6), threading.Event()

    def read(arrived) -> Frames:
        arrived(pixels, 2)
        assert encoded.wait(20), "the first batch was not encoded before the last frame came"
        arrived(pixels, 6)
        return as_frames(pixels)

    def progress(what: str, done: int, total: int) -> None:
        if what == "encode" and done == 2:
            encoded.set()

    watched = read_and_encode(read, towers, batch=2, progress=progress)
    assert_same(watched.features, towers.encode(pixels))


def test_a_file_that_has_to_be_read_again_voids_what_was_encoded(towers: Towers):
    first, second, begun = some_pixels(6), some_pixels(4, seed=1), threading.Event()

    def read(arrived) -> Frames:
        arrived(first, 4)
        assert begun.wait(20)
        for ready in range(1, 5):
            arrived(second, ready)
        return as_frames(second)

    watched = read_and_encode(
        read, towers, batch=2, progress=lambda what, *_: begun.set() if what == "encode" else None
    )
    assert watched.frames.pixels is second
    assert_same(watched.features, towers.encode(second))


def test_even_where_all_of_it_was_encoded(towers: Towers):
    first, second, whole = some_pixels(2), some_pixels(3, seed=1), threading.Event()

    def read(arrived) -> Frames:
        arrived(first, 2)
        assert whole.wait(20)
        return as_frames(second)

    def progress(what: str, done: int, total: int) -> None:
        if what == "encode" and done == total:
            whole.set()

    watched = read_and_encode(read, towers, batch=2, progress=progress)
    assert_same(watched.features, towers.encode(second))


def test_what_the_reader_raises_is_raised_here(towers: Towers):
    def read(arrived) -> Frames:
        arrived(some_pixels(4), 2)
        raise VideoError("cut off")

    with pytest.raises(VideoError, match="cut off"):
        read_and_encode(read, towers, batch=2)


def decode_threads() -> Iterator[threading.Thread]:
    return (t for t in threading.enumerate() if t.name == "fvl-decode")


def test_a_reader_whose_frames_nobody_wants_ends(towers: Towers):
    pixels = some_pixels(400)

    def read(arrived) -> Frames:
        while True:  # ends by what it calls, or never
            arrived(pixels, 2)

    def stop(what: str, done: int, total: int) -> None:
        if what == "encode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_and_encode(read, towers, batch=2, progress=stop)
    assert not list(decode_threads())


def test_a_pass_that_memory_has_no_room_for_is_made_smaller(towers: Towers, monkeypatch):
    pixels, tried = some_pixels(9), []
    states_of = Towers.states_of

    def scarce(self, chunk):
        tried.append(len(chunk))
        if len(chunk) > 2:
            raise torch.OutOfMemoryError("no room")
        return states_of(self, chunk)

    whole = towers.encode(pixels)
    monkeypatch.setattr(Towers, "states_of", scarce)
    watched = read_and_encode(lambda arrived: as_frames(pixels), towers, batch=8)
    assert tried == [8, 4, 2, 2, 2, 2, 1]
    assert_same(watched.features, whole)


def test_memory_that_is_out_for_a_single_frame_is_said(towers: Towers, monkeypatch):
    def none(self, chunk):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Towers, "states_of", none)
    with pytest.raises(torch.OutOfMemoryError):
        read_and_encode(lambda arrived: as_frames(some_pixels(3)), towers, batch=4)


def test_batches_are_sized_to_the_memory_that_is_free(towers: Towers, monkeypatch):
    free = 10**12
    monkeypatch.setattr("free_video_llm.encoder.tower.free_bytes", lambda device: free)
    monkeypatch.setattr("free_video_llm.encoder.tower.CPU_BYTES_AT_ONCE", free)
    assert towers.batch_size() == 32
    free = 0
    assert towers.batch_size() == 1
    free = 100_000_000
    assert 1 < towers.batch_size() < 32
    free = 10**12
    monkeypatch.setattr("free_video_llm.encoder.tower.CPU_BYTES_AT_ONCE", 10_000_000)
    assert 1 < towers.batch_size() < 8


def test_features_are_not_given_before_the_last_frame(towers: Towers):
    encoder = FrameEncoder(towers, some_pixels(3))
    encoder.advance(2)
    with pytest.raises(ValueError, match="2 of 3"):
        encoder.features()


def test_frames_are_told_of_in_order_and_stay_as_they_are():
    seen = []
    frames = read_frames(
        find("sample:star"),
        count=5,
        size=32,
        arrived=lambda p, n: seen.append((p, n, p[:n].copy())),
    )
    assert [ready for _, ready, _ in seen] == [1, 2, 3, 4, 5]
    for pixels, ready, copy in seen:
        assert pixels is frames.pixels
        assert np.array_equal(copy, frames.pixels[:ready])
