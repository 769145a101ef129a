"""Videos that were watched are kept: in memory by a byte budget, on disk by another.

A key is made of a file's content, how it was sampled, and the towers' weights: a file that is
renamed is found again, one that is changed is not. A cache never makes a question fail: what cannot
be read or written is a miss, and is logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from free_video_llm.encoder.features import Memo, VideoFeatures
from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import VideoError
from free_video_llm.settings import setting
from free_video_llm.video.image_folder import files_in
from free_video_llm.video.ranges import TimeRange
from free_video_llm.video.read import Frames
from free_video_llm.video.source import check_readable

log = logging.getLogger(__name__)

#: Changed whenever what is stored, or how frames and features are computed, changes.
_SCHEMA = 2
_SUFFIX = ".safetensors"
_READ_AT_ONCE = 1 << 20
#: A file being written that is older than this was left by a process that was killed.
_STALE_SECONDS = 3600


@dataclass(frozen=True, eq=False)
class Entry:
    """A watched video; `memo` is what its questions have worked out so far (memory only)."""

    frames: Frames
    features: VideoFeatures
    memo: Memo = field(default_factory=dict)

    def nbytes(self) -> int:
        """Bytes held now; the memo grows with the questions."""
        # Another thread may be asking: a copy does not change while it is counted.
        worked_out = sum(tensor.nbytes for tensor in list(self.memo.values()))
        return self.frames.pixels.nbytes + self.features.nbytes() + worked_out


class FeatureCache:
    """Watched videos in memory and, if a folder is given, on disk. May be used from many threads,
    and its folder by many processes.

    Args:
        folder: for safetensors files; made when first needed. None keeps nothing on disk.
        disk_bytes: the folder's files together; the least recently used go first.
        memory_bytes: the entries in memory together; 0 keeps none.
        half: store float16 on disk: half the size, and tokens that differ by about 1e-3.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        disk_bytes: int = 20_000_000_000,
        memory_bytes: int = 0,
        half: bool = False,
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.disk_bytes, self.memory_bytes, self.half = disk_bytes, memory_bytes, half
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def key_of(self, source: str, towers: Towers, **sampling: Any) -> str | None:
        """The key of a source, see `feature_key`; None where it cannot be read, which reading it
        will say better."""
        try:
            return feature_key(source, towers, **sampling)
        except (OSError, VideoError):
            return None

    def get(self, key: str, towers: Towers, source: str) -> Entry | None:
        """What was kept under a key, its frames named after `source`; None if there is nothing."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None:
            entry = self._load(key, towers)
            if entry is None:
                return None
            self._remember(key, entry)
        return replace(entry, frames=replace(entry.frames, source=source))

    def put(self, key: str, frames: Frames, features: VideoFeatures) -> Entry:
        """Keep a watched video; the oldest go where the budget is spent."""
        entry = Entry(frames, features)
        self._remember(key, entry)
        if self.folder is not None:
            try:
                self._store(self.folder, key, entry)
            # A full disk (which safetensors reports in its own way), a folder that may not be
            # written, or that is a file.
            except (OSError, SafetensorError) as error:
                # What was asked for was not done: told even where notes are not wanted.
                log.error("the features could not be kept in %s: %s", self.folder, error)
        return entry

    def files(self) -> list[Path]:
        """The entries on disk, the least recently used first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        dated = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                dated.append((path.stat().st_mtime, path))
            except FileNotFoundError:  # another process has just thrown it out
                continue
        return [path for _, path in sorted(dated)]

    def clear(self) -> int:
        """Forget everything, in memory and on disk; the number of files that were removed."""
        with self._lock:
            self._entries.clear()
        files = self.files()
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    # --- memory ----------------------------------------------------------------------------------

    def _remember(self, key: str, entry: Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while self._entries and self._held() > self.memory_bytes:
                self._entries.popitem(last=False)

    def _held(self) -> int:
        return sum(entry.nbytes() for entry in self._entries.values())

    # --- disk ------------------------------------------------------------------------------------

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{key}{'-half' if self.half else ''}{_SUFFIX}"

    def _store(self, folder: Path, key: str, entry: Entry) -> None:
        features, frames = entry.features, entry.frames
        assert features.llm_states is not None, "late features are not kept"
        states = {"llm_states": features.llm_states, "frame_vectors": features.frame_vectors}
        scored = features.scorer_states
        if scored is not None and scored is not features.llm_states:
            states["scorer_states"] = scored
        tensors = {
            name: (t.half() if self.half else t).detach().cpu().contiguous()
            for name, t in states.items()
        }
        tensors["pixels"] = torch.from_numpy(np.asarray(frames.pixels))
        tensors["seconds"] = torch.from_numpy(frames.seconds)
        tensors["indices"] = torch.from_numpy(frames.indices)
        if sum(t.nbytes for t in tensors.values()) > self.disk_bytes:
            return
        about = {name: getattr(frames, name) for name in _ABOUT}
        about |= {"key": key, "digest": digest_of(tensors)}
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{key}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        try:
            save_file(tensors, unfinished, {"about": json.dumps(about)})
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())  # else a power cut could leave a name without its content
            unfinished.replace(self._path(folder, key))
        finally:
            unfinished.unlink(missing_ok=True)
        self._make_room(folder)

    def _make_room(self, folder: Path) -> None:
        files = self.files()
        sizes = {path: _size(path) for path in files}
        total = sum(sizes.values())
        for path in files:
            if total <= self.disk_bytes:
                break
            path.unlink(missing_ok=True)
            total -= sizes[path]
        for path in folder.glob(".*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue

    def _load(self, key: str, towers: Towers) -> Entry | None:
        if self.folder is None:
            return None
        path = self._path(self.folder, key)
        try:
            if not path.exists():
                return None
            if not path.is_file():  # a pipe would be waited for
                raise IsADirectoryError("it is not a regular file")
            held = path.open("rb")
        except OSError as error:
            log.warning("%s cannot be read and is left out: %s", path, error)
            return None
        with held:
            try:
                with safe_open(path, framework="pt") as file:
                    about = json.loads(file.metadata()["about"])
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                entry = _entry(key, tensors, about, towers)
            except (
                OSError,
                RuntimeError,
                SafetensorError,
                LookupError,
                ValueError,
                TypeError,
            ) as error:
                if os.fstat(held.fileno()).st_nlink:
                    log.warning("%s is damaged and is left out: %s", path, error)
                    path.unlink(missing_ok=True)
                return None  # else another process has just thrown it out
        with contextlib.suppress(OSError):
            os.utime(path)  # used just now
        return entry


#: What is kept of frames beside their arrays, with the type that it must have.
_ABOUT: dict[str, type | tuple[type, ...]] = {
    "total": int,
    "duration": (int, float),
    "source": str,
    "width": int,
    "height": int,
    "warnings": list,
    "resize": str,
}


def _entry(
    key: str, tensors: dict[str, torch.Tensor], about: dict[str, object], towers: Towers
) -> Entry:
    """What a file holds, checked: nothing that was put there by another hand, or that has changed
    since, is taken for what the towers said. Raises ValueError, LookupError or TypeError."""
    if about["key"] != key or about["digest"] != digest_of(tensors):
        raise ValueError("its content is not what was kept under its name")
    frames = frames_of(tensors, about)
    if frames.pixels.shape[1] != towers.size:
        raise ValueError(f"its frames have {frames.pixels.shape[1]} pixels, not {towers.size}")

    def on_device(name: str) -> torch.Tensor:
        return tensors[name].to(towers.device, towers.dtype)

    llm_states = on_device("llm_states")
    shared = "scorer_states" not in tensors
    scorer_states = llm_states if shared else on_device("scorer_states")
    vectors = on_device("frame_vectors")
    features = VideoFeatures(llm_states, scorer_states, vectors, towers.joint_space())
    if len(features) != len(frames) or not towers.made(features):
        raise ValueError("its features are not of these towers, or not of its frames")
    return Entry(frames, features)


def frames_of(tensors: Mapping[str, torch.Tensor], about: Mapping[str, object]) -> Frames:
    """The frames that a file holds. Raises ValueError, LookupError or TypeError for what are
    none."""
    for name, kind in _ABOUT.items():
        if not isinstance(about[name], kind) or isinstance(about[name], bool):
            raise TypeError(f"{name} is {about[name]!r}")
    values = {name: about[name] for name in _ABOUT}
    notes: Any = about["warnings"]
    if not all(isinstance(note, str) for note in notes) or not math.isfinite(values["duration"]):  # type: ignore[arg-type]
        raise TypeError("its warnings or its duration are none")
    values["warnings"] = tuple(notes)
    arrays: dict[str, np.ndarray] = {
        name: tensors[name].numpy() for name in ("pixels", "seconds", "indices")
    }
    return Frames(**arrays, **values)  # type: ignore[arg-type]


def digest_of(tensors: dict[str, torch.Tensor]) -> str:
    """A hash over tensors, their names and types."""
    digest = hashlib.blake2b(digest_size=20)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# --- keys ----------------------------------------------------------------------------------------


def feature_key(
    path: str | Path,
    towers: Towers,
    *,
    count: int,
    mode: str,
    rules: str,
    resize: str | None,
    ranges: tuple[TimeRange, ...] = (),
) -> str:
    """The key of a video that is sampled and encoded in a certain way: 40 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
        VideoError: a folder has no pictures.
    """
    parts = (
        _SCHEMA,
        content_hash(path),
        count,
        mode,
        rules,
        resize,
        towers.fingerprint,
        av.__version__,  # another FFmpeg may decode or scale otherwise
        *ranges,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


_hashes: dict[tuple[str, int, int, int], str] = {}


def content_hash(path: str | Path) -> str:
    """A hash over a file's bytes, or over the names and bytes of a folder's pictures.

    A file that has not been touched since this process last read it is not read again.
    """
    name = os.fspath(path)
    if not os.path.isdir(name):
        return _file_hash(name)
    digest = hashlib.blake2b(digest_size=20)
    for picture in files_in(name):
        digest.update(f"{os.path.basename(picture)} {_file_hash(picture)}\n".encode())
    return f"folder:{digest.hexdigest()}"


def _file_hash(name: str) -> str:
    check_readable(name)  # a pipe or device would be read without an end
    about = os.stat(name)
    identity = (os.path.realpath(name), about.st_ino, about.st_size, about.st_mtime_ns)
    if identity not in _hashes:
        digest = hashlib.blake2b(digest_size=20)
        with open(name, "rb") as file:
            while piece := file.read(_READ_AT_ONCE):
                digest.update(piece)
        _hashes[identity] = digest.hexdigest()
    return _hashes[identity]


def default_folder() -> Path:
    """Where the command line keeps features: $FVL_CACHE, the settings', or the user's cache
    folder."""
    named = setting("cache").value
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "free_video_llm"
