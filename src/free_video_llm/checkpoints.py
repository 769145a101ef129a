"""Kept import path: loading lives in `free_video_llm.models`."""

from free_video_llm.models.folder import TINY
from free_video_llm.models.load import Loaded, LoadOptions, load

__all__ = ["TINY", "LoadOptions", "Loaded", "load"]
