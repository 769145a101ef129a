"""Features that are kept: exact, bounded, safe among processes and after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from free_video_llm import Frames, VideoError, VideoLLM
from free_video_llm.encoder import cache as cache_module
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
    weight = tiny.towers.scorer.tower.encoder.layers[0].mlp.fc1.weight
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


def made_frames(pixels: np.ndarray) -> Frames:
    count, size = pixels.shape[:2]
    return Frames(pixels, np.arange(float(count)), np.arange(count), count, 1.0, "made", size, size)


def some_entry(towers: Towers, seed: int = 0) -> tuple[Frames, VideoFeatures]:
    """Two frames and features of the shapes that the towers give."""
    size, count = towers.size, 2
    pixels = np.full((count, size, size, 3), seed, np.uint8)
    generator = torch.Generator().manual_seed(seed)
    width = int(towers.llm_tower.config.hidden_size)
    states = torch.randn(count, 1 + towers.side**2, width, generator=generator)
    scorer = torch.randn(
        count, 1 + towers.side**2, int(towers.scorer.tower.config.hidden_size),
        generator=generator,
    )  # fmt: skip
    joined = int(towers.scorer.model.visual_projection.out_features)
    vectors = F.normalize(torch.randn(count, joined, generator=generator), dim=-1)
    return made_frames(pixels), VideoFeatures(states, scorer, vectors, towers.joint_space())


def test_the_least_recently_used_goes_first_from_disk(tiny: VideoLLM, tmp_path: Path):
    size = None
    cache = FeatureCache(tmp_path)
    for number, name in enumerate("abc"):
        cache.put(name, *some_entry(tiny.towers, number))
        size = size or cache.files()[0].stat().st_size
        os.utime(tmp_path / f"{name}.safetensors", (number, number))
    assert cache.get("a", tiny.towers, "x") is not None  # now b is the oldest
    small = FeatureCache(tmp_path, disk_bytes=3 * size)
    small.put("d", *some_entry(tiny.towers, 3))
    assert sorted(p.stem for p in small.files()) == ["a", "c", "d"]
    FeatureCache(tmp_path, disk_bytes=size // 2).put(
        "e", *some_entry(tiny.towers, 4)
    )  # larger than the room
    assert "e" not in {p.stem for p in small.files()}


def test_memory_keeps_to_its_bytes_and_counts_what_questions_add(tiny: VideoLLM):
    one = Entry(*some_entry(tiny.towers)).nbytes()
    cache = FeatureCache(memory_bytes=2 * one)
    for name in "abc":
        cache.put(name, *some_entry(tiny.towers))
    assert [cache.get(n, tiny.towers, "x") is not None for n in "abc"] == [False, True, True]
    entry = cache.get("c", tiny.towers, "x")
    entry.memo["worked out"] = torch.zeros(one)
    cache.put("d", *some_entry(tiny.towers))
    assert [cache.get(n, tiny.towers, "x") is not None for n in "bcd"] == [False, False, True]


def test_questions_on_a_video_in_memory_share_what_they_work_out(tiny: VideoLLM, star: Path):
    cache = FeatureCache(memory_bytes=100_000_000)
    tiny.watch(star, frames=6, cache=cache).ask("Is there a star?", max_new_tokens=1)
    again = tiny.watch(star, frames=6, cache=cache)
    assert again.from_cache
    assert again.memo


def test_unfinished_files_of_the_killed_are_swept_once_they_are_old(tiny: VideoLLM, tmp_path: Path):
    old, new = tmp_path / ".a-1-x.tmp", tmp_path / ".b-2-y.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    FeatureCache(tmp_path).put("k", *some_entry(tiny.towers))
    assert not old.exists()
    assert new.exists()


def test_clear_forgets_all(tiny: VideoLLM, tmp_path: Path):
    cache = FeatureCache(tmp_path, memory_bytes=10**9)
    for name in "ab":
        cache.put(name, *some_entry(tiny.towers))
    assert cache.clear() == 2
    assert cache.get("a", tiny.towers, "x") is None


def test_the_default_folder_follows_the_environment(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("FVL_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("FVL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_folder() == tmp_path / "x" / "free_video_llm"


# --- several processes ----------------------------------------------------------------------------


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(save: Callable[..., None]) -> Callable[..., None]:
    """Writes half of a file, and dies."""

    def write(tensors: object, path: Path, about: object) -> None:
        save(tensors, path, about)
        os.truncate(path, path.stat().st_size // 2)
        die()

    return write


#: Where a writer dies, and how many of its files can then be read.
STEPS = {
    "half written": ("save_file", half_written(cache_module.save_file), 1),
    "before it is on the disk": ("os.fsync", die, 1),
    "before it has its name": ("Path.replace", die, 1),
    "before room is made": ("FeatureCache._make_room", die, 2),
    "while room is made": ("Path.unlink", die, 2),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_at_any_step_leaves_whole_entries(
    tiny: VideoLLM, tmp_path: Path, caplog, step: str
):
    name, instead, readable = STEPS[step]
    cache = FeatureCache(tmp_path)
    cache.put("k0", *some_entry(tiny.towers, 0))
    room = cache.files()[0].stat().st_size  # for one of the two
    entry = some_entry(tiny.towers, 1)
    child = os.fork()
    if not child:
        try:
            owner, _, attribute = f"free_video_llm.encoder.cache.{name}".rpartition(".")
            pytest.MonkeyPatch().setattr(f"{owner}.{attribute}", instead)
            FeatureCache(tmp_path, disk_bytes=room * 3 // 2).put("k1", *entry)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    found = [
        number
        for number in (0, 1)
        if (kept := cache.get(f"k{number}", tiny.towers, "x")) is not None
        and torch.equal(kept.features.llm_states, some_entry(tiny.towers, number)[1].llm_states)
    ]
    assert len(found) == readable
    assert not caplog.records  # nothing damaged was met
    cache.put("k1", *entry)
    assert cache.get("k1", tiny.towers, "x") is not None


def test_an_entry_that_goes_while_it_is_read_is_a_miss_and_no_damage(
    tiny: VideoLLM, tmp_path: Path, caplog, monkeypatch
):
    """Another process makes room between this one's finding of a file and reading it."""
    cache = FeatureCache(tmp_path)
    cache.put("k0", *some_entry(tiny.towers))
    opened = cache_module.safe_open

    def gone(path: Path, **how: object) -> object:
        path.unlink()
        return opened(path, **how)

    monkeypatch.setattr(cache_module, "safe_open", gone)
    assert cache.get("k0", tiny.towers, "x") is None
    assert not caplog.records


# --- what another hand put there ------------------------------------------------------------------


def changed(path: Path, **changes: object) -> None:
    """An entry with other tensors or another word about them, and the digest that they have."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    tensors = load_file(path)
    for name, change in changes.items():
        if name in tensors:
            tensors[name] = change(tensors[name]).contiguous()
        else:
            about[name] = change
    about.setdefault("digest", "")
    if "digest" not in changes:
        about["digest"] = cache_module.digest_of(tensors)
    save_file(tensors, path, {"about": json.dumps(about)})


@pytest.mark.parametrize(
    "changes",
    [
        {"llm_states": lambda t: t[..., :-1]},
        {"llm_states": lambda t: t[:1]},
        {"llm_states": lambda t: t[:, :-1]},
        {"frame_vectors": lambda t: t[:3]},
        {"frame_vectors": lambda t: t[..., :-1]},
        {"frame_vectors": lambda t: t * float("nan")},
        {"pixels": lambda t: t[:, :48, :48]},
        {"seconds": lambda t: t.float()},
        {"warnings": "a text"},
        {"warnings": [1]},
        {"duration": "abc"},
        {"duration": float("nan")},
        {"total": True},
        {"key": "another video's"},
        {"digest": "0" * 40},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_what_does_not_fit_is_a_miss_and_is_computed_anew(
    tiny: VideoLLM, star: Path, tmp_path: Path, changes, caplog
):
    cache = FeatureCache(tmp_path / "kept")
    first = tiny.watch(star, frames=6, cache=cache)
    changed(*cache.files(), **changes)
    again = tiny.watch(star, frames=6, cache=cache)
    assert not again.from_cache
    assert torch.equal(again.features.frame_vectors, first.features.frame_vectors)
    assert "is damaged and is left out" in caplog.text
    assert tiny.watch(star, frames=6, cache=cache).from_cache


def test_a_flipped_bit_is_found(tiny: VideoLLM, star: Path, tmp_path: Path):
    cache = FeatureCache(tmp_path / "kept")
    tiny.watch(star, frames=6, cache=cache)
    (path,) = cache.files()
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    assert images_of(tiny, star, cache) == 6
    assert images_of(tiny, star, cache) == 0


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_a_miss(tiny: VideoLLM, star: Path, tmp_path: Path, make, caplog):
    cache = FeatureCache(tmp_path)
    make(tmp_path / f"{key_of(tiny, star)}.safetensors")
    assert images_of(tiny, star, cache) == 6
    assert "is left out" in caplog.text


def test_a_full_disk_costs_no_answer(tiny: VideoLLM, star: Path, tmp_path: Path, caplog):
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        video = tiny.watch(star, frames=6, cache=FeatureCache(tmp_path / "kept"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert video.ask("What color is the star?").text == "red"
    assert "could not be kept" in caplog.text
    assert [*(tmp_path / "kept").iterdir()] == []
