"""Free Video-LLM: answers questions about a video with a pretrained image LLM, without training.

>>> from free_video_llm import VideoLLM, Plan
>>> Plan.preset("paper").count_tokens(frames=50, side=24)
2648
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from free_video_llm.errors import (
    CheckpointError,
    ConfigError,
    FreeVideoLLMError,
    MissingExtraError,
    PlanError,
    VideoError,
)
from free_video_llm.plans.plan import Crop, Pathway, Plan, Pool, Select

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, Evidence, Timings
    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.llm.generate import Decoding
    from free_video_llm.models.load import LoadOptions
    from free_video_llm.pipeline import Video, VideoLLM
    from free_video_llm.video.arrays import Clip
    from free_video_llm.video.read import Frames, read_frames

__version__ = "0.1.0"

__all__ = [
    "Answer", "CheckpointError", "Clip", "ConfigError", "Crop", "Decoding", "Evidence",
    "FeatureCache", "Frames", "FreeVideoLLMError", "LoadOptions", "MissingExtraError", "Pathway",
    "Plan", "PlanError", "Pool", "Select", "Timings", "Video", "VideoError", "VideoLLM",
    "read_frames",
]  # fmt: skip

#: Loaded on first use: torch and transformers take seconds to import.
_LAZY = {
    "Answer": "answer",
    "Clip": "video.arrays",
    "Decoding": "llm.generate",
    "Evidence": "answer",
    "FeatureCache": "encoder.cache",
    "LoadOptions": "models.load",
    "Timings": "answer",
    "Video": "pipeline",
    "VideoLLM": "pipeline",
    "Frames": "video.read",
    "read_frames": "video.read",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
