"""The files that the tests of `free_video_llm.video.read` read, each made when first asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from free_video_llm.video.read import Frames
from media import decode_all, make_gif, make_video, numbers_of, scaled

SHARED = Path(os.environ.get("FVL_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = ("paper_2648", "paper_1026", "frozen_tower", "vertical_pool_34b_prompt")

# Milliseconds of 120 frames at a varying rate, with a pause, starting 2 s into the file's clock.
UNEVEN = [2000 + 33 * n + 7 * (n % 5) + (500 if n > 30 else 0) for n in range(120)]
PLAIN = {"bf": "2", "sc_threshold": "0"}
X264_LONG = {"bf": "3", "x264-params": "b-pyramid=normal:scenecut=0"}
X264_OPEN = {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}

# Files in which one may seek, each with groups of pictures long enough for seeking to pay.
SEEKABLE = {
    "constant.mp4": {"gop": 30, "options": PLAIN},
    "variable.mp4": {"gop": 30, "options": PLAIN, "times": UNEVEN},
    "variable.mkv": {"gop": 30, "options": PLAIN, "times": UNEVEN},
    "long.mov": {"gop": 60, "options": X264_LONG},
    "open.mp4": {"gop": 30, "options": X264_OPEN},
    "open.mkv": {"gop": 30, "options": X264_OPEN},
    "fragments.mp4": {"gop": 30, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open_hevc.mp4": {
        "gop": 30,
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:log-level=error", "preset": "ultrafast"},
    },
    "vp9.webm": {
        "gop": 30,
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
    },
    "vp8.webm": {"gop": 30, "codec": "libvpx", "options": {"deadline": "realtime"}},
    "mpeg4.avi": {"gop": 30, "codec": "mpeg4"},
    "h264.ts": {"gop": 30, "options": PLAIN},
    "h264.flv": {"gop": 30, "options": PLAIN},
    "jpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
# Files in which a seek may land too late, or that keep no times or wrong ones: frames are counted.
IMPRECISE = {
    "mpeg2.mpg": {"frames": 90, "gop": 30, "codec": "mpeg2video", "options": {"bf": "2"}},
}
TIMELESS = {
    "reordered.avi": {"frames": 90, "options": PLAIN},
    "reordered_mpeg4.avi": {"frames": 90, "codec": "mpeg4", "options": {"bf": "2"}},
    "bare.h264": {"frames": 90, "options": PLAIN},
}
MADE = {**SEEKABLE, **IMPRECISE, **TIMELESS}


class Clips:
    """A folder in which `clips / name` is made when it is first asked for."""

    def __init__(self, folder):
        self.folder = folder

    def __truediv__(self, name):
        path = self.folder / name
        if not path.exists():
            if name == "partial.gif":
                make_gif(path)
            else:
                make_video(path, **{"frames": 120, **MADE[name]})
        return path


def assert_same_as_plain_decoding(frames: Frames, path: Path) -> None:
    """The frames are, bit for bit, those that decoding everything from the start gives."""
    pictures, times = decode_all(path)
    assert frames.total == len(pictures)
    assert numbers_of(frames.pixels) == frames.indices.tolist()
    np.testing.assert_array_equal(frames.pixels, scaled(pictures[frames.indices], 32))
    if path.name not in TIMELESS:
        np.testing.assert_allclose(frames.seconds, np.array(times)[frames.indices], atol=1e-6)
