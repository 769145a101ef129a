"""A watched video as one file that its owner keeps: safetensors, of which nothing is run.

What the LLM's own tower has not looked at yet is worked out when it is needed, as before it was
saved. Of a video of very many frames neither pixels nor states are held, so it cannot be saved.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from free_video_llm.encoder.cache import digest_of, frames_of
from free_video_llm.encoder.features import LateStates, VideoFeatures
from free_video_llm.errors import ConfigError, VideoError, first_line
from free_video_llm.video.read import Frames
from free_video_llm.video.subtitles import Line

#: Of the file, not of what made it: a file of another number is not read.
SCHEMA = "free-video-llm video 1"


def save_video(path: str | Path, frames: Frames, features: VideoFeatures) -> Path:
    """Write frames and features to a file, which appears whole or not at all.

    Raises:
        ConfigError: it cannot be written, or the video is of so many frames that they are not held.
    """
    path = Path(path)
    if not isinstance(frames.pixels, np.ndarray) or features.scorer_states is None:
        raise ConfigError(
            f"of {len(frames):,} frames neither pixels nor states are held: watch fewer to save "
            "them"
        )
    states: dict[str, torch.Tensor | None] = {
        "llm_states": features.llm_states,
        "frame_vectors": features.frame_vectors,
        "scorer_states": None
        if features.scorer_states is features.llm_states
        else features.scorer_states,
    }
    about: dict[str, Any] = {name: getattr(frames, name) for name in _PLAIN}
    about |= {"schema": SCHEMA, "warnings": list(frames.warnings), "called": frames.called}
    about["said"] = [[line.start, line.end, line.text] for line in frames.subtitles]
    if features.late is not None:
        known = sorted(features.late.known)
        about["late"] = {"tokens": features.late.tokens, "width": features.late.width}
        about["late"]["known"] = known
        if known:
            states["late_states"] = torch.stack([features.late.known[n] for n in known])
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in states.items()
        if tensor is not None
    }
    tensors["pixels"] = torch.from_numpy(np.ascontiguousarray(frames.pixels))
    tensors["seconds"] = torch.from_numpy(frames.seconds)
    tensors["indices"] = torch.from_numpy(frames.indices)
    about["digest"] = digest_of(tensors)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, {"about": json.dumps(about)})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"cannot write {path}: {first_line(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return path


def load_video(path: str | Path) -> tuple[Frames, VideoFeatures]:
    """What `save_video` wrote, without a model yet.

    Raises:
        VideoError: it cannot be read, is not such a file, or has been changed.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        raise VideoError(f"{path}: there is no such file; Video.save writes one")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about.pop("schema") != SCHEMA or about.pop("digest") != digest_of(tensors):
            raise ValueError("it was written by another version, or has been changed since")
        frames = frames_of(tensors, about)
        said = tuple(
            Line(float(start), float(end), str(text)) for start, end, text in about["said"]
        )
        frames = replace(frames, called=str(about["called"]), subtitles=said)
        features = _features(tensors, about.get("late"), len(frames))
    except (
        OSError, RuntimeError, SafetensorError, LookupError, ValueError, TypeError, AttributeError
    ) as error:  # fmt: skip
        raise VideoError(
            f"{path}: it is no video that was saved, or is damaged ({first_line(error)}); watch "
            "the video again"
        ) from None
    return frames, features


_PLAIN = ("total", "duration", "source", "width", "height", "resize")


def _features(
    tensors: dict[str, torch.Tensor], late: dict[str, Any] | None, count: int
) -> VideoFeatures:
    """Raises ValueError, LookupError or TypeError for what does not fit together."""
    llm_states = tensors.get("llm_states")
    scored = tensors.get("scorer_states", llm_states)
    states = None
    if late is not None:
        known = [int(number) for number in late["known"]]
        held = tensors["late_states"] if known else torch.empty(0)
        if len(held) != len(known) or any(not 0 <= number < count for number in known):
            raise ValueError("its frames and their states do not fit together")
        found = dict(zip(known, held, strict=True))
        states = LateStates(None, int(late["tokens"]), int(late["width"]), found)
    features = VideoFeatures(llm_states, scored, tensors["frame_vectors"], None, late=states)
    if len(features) != count or scored is None or len(scored) != count:
        raise ValueError("its features are not of its frames")
    return features
