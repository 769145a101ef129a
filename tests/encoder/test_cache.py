"""Features that are kept: exact, bounded, safe among processes and after a kill."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from free_video_llm import VideoError, VideoLLM
from free_video_llm.encoder.cache import (
    Entry,
    FeatureCache,
    content_hash,
    default_folder,
    feature_key,
)
from free_video_llm.encoder.features import VideoFeatures
from free_video_llm.encoder.tower import Towers
from free_video_llm.samples import find
from test_pipeline import Counter
from toys import random_features


@pytest.fixture(scope="module")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture
def star(tmp_path: Path) -> Path:
    return Path(shutil.copy(find("sample:star"), tmp_path / "star.mp4"))


def images_of(tiny: VideoLLM, path: Path, cache: FeatureCache | None, **options: object) -> int:
    """How many frames pass through the tower when a video is watched."""
    counter = Counter(tiny)
    try:
        tiny.watch(path, cache=cache, **({"frames": 6} | options))
    finally:
        counter.close()
    return counter.images


def key_of(tiny: VideoLLM, path: Path, count: int = 6) -> str:
    return feature_key(path, tiny.towers, count=count, mode="exact", rules="corrected", resize=None)


def test_another_process_finds_the_very_same_features(tiny: VideoLLM, star: Path, tmp_path: Path):
    folder = tmp_path / "kept"
    first = tiny.watch(star, frames=6, cache=FeatureCache(folder))
    second = tiny.watch(star, frames=6, cache=FeatureCache(folder))
    assert (first.from_cache, second.from_cache) == (False, True)
    assert images_of(tiny, star, FeatureCache(folder)) == 0
    for name in ("llm_states", "scorer_states", "frame_vectors"):
        assert torch.equal(getattr(first.features, name), getattr(second.features, name))
    assert second.features.scorer_states is second.features.llm_states  # the towers are shared
    for name in ("pixels", "seconds", "indices"):
        assert np.array_equal(getattr(first.frames, name), getattr(second.frames, name))
    assert repr(first.frames) == repr(second.frames)
    answers = [video.ask("What color is the star?").to_dict() for video in (first, second)]
    for answer in answers:
        del answer["timings"]
    assert answers[0] == answers[1]


def test_towers_that_differ_are_both_kept(tmp_path: Path):
    from checkpoint import Clip, Size, random_llava

    llm = random_llava(Size("small", Clip(3, 64), 2, 64), shared=False)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 336, 336, 3), dtype=np.uint8)
    features = llm.towers.encode(pixels)
    assert features.scorer_states is not features.llm_states
    cache = FeatureCache(tmp_path)
    cache.put("k", made_frames(pixels), features)
    entry = FeatureCache(tmp_path).get("k", llm.towers, "x")
    assert entry is not None
    assert torch.equal(entry.features.llm_states, features.llm_states)
    assert torch.equal(entry.features.scorer_states, features.scorer_states)


def test_a_renamed_file_is_found_and_named_as_asked(tiny: VideoLLM, star: Path, tmp_path: Path):
    cache = FeatureCache(tmp_path / "kept")
    tiny.watch(star, frames=6, cache=cache)
    other = star.rename(tmp_path / "other.mp4")
    video = tiny.watch(other, frames=6, cache=cache)
    assert video.from_cache
    assert video.frames.source == str(other)


def test_whatever_changes_the_features_changes_the_key(tiny: VideoLLM, star: Path, tmp_path: Path):
    cache = FeatureCache(tmp_path / "kept")
    assert images_of(tiny, star, cache) == 6
    assert images_of(tiny, star, cache, frames=5) == 5
    assert images_of(tiny, star, cache, resize="pil") == 6
    assert images_of(tiny, star, cache, mode="keyframes") > 0
    assert images_of(tiny, find("sample:needle"), cache) == 6
    weight = tiny.towers.scorer.vision_model.encoder.layers[0].mlp.fc1.weight
    kept, before = weight.detach().clone(), key_of(tiny, star)
    try:
        weight.data += 1e-3
        tiny.towers.__dict__.pop("fingerprint")
        assert key_of(tiny, star) != before
    finally:
        weight.data.copy_(kept)
        tiny.towers.__dict__.pop("fingerprint")
    assert key_of(tiny, star) == before


def test_a_file_that_is_changed_in_place_is_read_anew(star: Path):
    before = content_hash(star)
    with star.open("r+b") as file:
        file.seek(2000)
        file.write(b"changed")
    os.utime(star, ns=(time.time_ns(), time.time_ns() + 1))
    assert content_hash(star) != before


def test_a_folders_pictures_count_by_name_and_content(tmp_path: Path):
    from media import make_pictures

    folder = make_pictures(tmp_path / "frames", frames=3)
    before = content_hash(folder)
    (folder / "notes.txt").write_text("not a picture")
    assert content_hash(folder) == before
    first = sorted(folder.glob("*.png"))[0]
    first.rename(folder / "zz.png")
    assert content_hash(folder) != before


def test_a_missing_file_is_told_by_the_reader(tiny: VideoLLM, tmp_path: Path):
    with pytest.raises(VideoError, match="no such file"):
        tiny.watch(tmp_path / "no.mp4", cache=FeatureCache(tmp_path / "kept"))


def test_half_precision_is_half_the_size_and_near(tiny: VideoLLM, star: Path, tmp_path: Path):
    whole, half = FeatureCache(tmp_path / "a"), FeatureCache(tmp_path / "b", half=True)
    exact = tiny.watch(star, frames=6, cache=whole)
    tiny.watch(star, frames=6, cache=half)
    near = tiny.watch(star, frames=6, cache=half)
    assert near.features.llm_states.dtype == torch.float32
    difference = (near.features.llm_states - exact.features.llm_states).abs().max()
    assert 0 < difference < 0.02
    sizes = [load_file(c.files()[0])["llm_states"].nbytes for c in (whole, half)]
    assert sizes[0] == 2 * sizes[1]
    # What is kept by half is no answer to who wants all.
    assert images_of(tiny, star, FeatureCache(tmp_path / "b")) == 6


@pytest.mark.parametrize("harm", ["cut", "garbage", "empty", "foreign"])
def test_a_damaged_file_is_a_miss_and_is_mended(tiny: VideoLLM, star: Path, tmp_path: Path, harm):
    cache = FeatureCache(tmp_path / "kept")
    tiny.watch(star, frames=6, cache=cache)
    (path,) = cache.files()
    if harm == "foreign":
        save_file({"x": torch.zeros(3)}, path, {"about": "{}"})
    else:
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-100], "garbage": b"\xff" * 500, "empty": b""}[harm])
    assert images_of(tiny, star, cache) == 6
    assert images_of(tiny, star, cache) == 0


def test_a_folder_that_cannot_be_written_costs_no_answer(tiny: VideoLLM, star: Path, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file where the folder should be")
    assert images_of(tiny, star, FeatureCache(taken / "kept")) == 6


# --- bounds ---------------------------------------------------------------------------------------


def made_frames(pixels: np.ndarray | None = None):
    from free_video_llm import Frames

    pixels = np.zeros((2, 8, 8, 3), np.uint8) if pixels is None else pixels
    count = len(pixels)
    return Frames(pixels, np.arange(float(count)), np.arange(count), count, 1.0, "made", 8, 8)


def some_entry(seed: int = 0) -> tuple[object, VideoFeatures]:
    return made_frames(), random_features(2, 4, seed=seed)


def test_the_least_recently_used_goes_first_from_disk(tiny: VideoLLM, tmp_path: Path):
    size = None
    cache = FeatureCache(tmp_path)
    for number, name in enumerate("abc"):
        cache.put(name, *some_entry(number))
        size = size or cache.files()[0].stat().st_size
        os.utime(tmp_path / f"{name}.safetensors", (number, number))
    assert cache.get("a", tiny.towers, "x") is not None  # now b is the oldest
    small = FeatureCache(tmp_path, disk_bytes=3 * size)
    small.put("d", *some_entry(3))
    assert sorted(p.stem for p in small.files()) == ["a", "c", "d"]
    FeatureCache(tmp_path, disk_bytes=size // 2).put("e", *some_entry(4))  # larger than the room
    assert "e" not in {p.stem for p in small.files()}


def test_memory_keeps_to_its_bytes_and_counts_what_questions_add(tiny: VideoLLM):
    one = Entry(*some_entry()).nbytes()
    cache = FeatureCache(memory_bytes=2 * one)
    for name in "abc":
        cache.put(name, *some_entry())
    assert [cache.get(n, tiny.towers, "x") is not None for n in "abc"] == [False, True, True]
    entry = cache.get("c", tiny.towers, "x")
    entry.memo["worked out"] = torch.zeros(one)
    cache.put("d", *some_entry())
    assert [cache.get(n, tiny.towers, "x") is not None for n in "bcd"] == [False, False, True]


def test_questions_on_a_video_in_memory_share_what_they_work_out(tiny: VideoLLM, star: Path):
    cache = FeatureCache(memory_bytes=100_000_000)
    tiny.watch(star, frames=6, cache=cache).ask("Is there a star?", max_new_tokens=1)
    again = tiny.watch(star, frames=6, cache=cache)
    assert again.from_cache
    assert again.memo


def test_unfinished_files_of_the_killed_are_swept_once_they_are_old(tmp_path: Path):
    old, new = tmp_path / ".a-1-x.tmp", tmp_path / ".b-2-y.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    FeatureCache(tmp_path).put("k", *some_entry())
    assert not old.exists()
    assert new.exists()


def test_clear_forgets_all(tiny: VideoLLM, tmp_path: Path):
    cache = FeatureCache(tmp_path, memory_bytes=10**9)
    for name in "ab":
        cache.put(name, *some_entry())
    assert cache.clear() == 2
    assert cache.get("a", tiny.towers, "x") is None


def test_the_default_folder_follows_the_environment(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("FVL_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("FVL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_folder() == tmp_path / "x" / "free_video_llm"


# --- several processes ----------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_cache import some_entry
from free_video_llm.encoder.cache import FeatureCache
cache = FeatureCache({folder!r}, disk_bytes={room})
print("ready", flush=True)
for number in range({start}, 10**9):
    cache.put(f"k{{number % 12}}", *some_entry(number % 12))
"""


def start_writer(folder: Path, room: int, start: int = 0) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    code = WRITER.format(tests=tests, folder=str(folder), room=room, start=start)
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def whole_entries(folder: Path, towers: Towers) -> int:
    """How many entries can be read; each is what was put under its key."""
    cache, count = FeatureCache(folder), 0
    for path in cache.files():
        number = int(path.stem[1:])
        entry = cache.get(path.stem, towers, "x")
        if entry is None:  # thrown out by a writer since it was listed
            continue
        assert torch.equal(entry.features.llm_states, some_entry(number)[1].llm_states)
        count += 1
    return count


def test_writers_that_are_killed_and_readers_beside_them_see_whole_entries(
    tiny: VideoLLM, tmp_path: Path, caplog
):
    FeatureCache(tmp_path).put("k0", *some_entry(0))
    room = 6 * FeatureCache(tmp_path).files()[0].stat().st_size
    random.seed(0)
    seen = 0
    for turn in range(4):
        writers = [start_writer(tmp_path, room, start) for start in (0, 5)]
        for _ in range(5):
            time.sleep(random.uniform(0.01, 0.1))
            seen += whole_entries(tmp_path, tiny.towers)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        assert whole_entries(tmp_path, tiny.towers) > 0, turn
    assert seen > 20
    assert "damaged" not in caplog.text
    total = sum(path.stat().st_size for path in FeatureCache(tmp_path).files())
    assert total <= room * 1.5  # each of two writers may be one file ahead of its sweep
