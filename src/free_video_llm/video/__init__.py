"""Any source to frames with their times."""

from free_video_llm.video.read import Frames, read_frames

__all__ = ["Frames", "read_frames"]
