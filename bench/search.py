"""Seconds of finding a moment in ten minutes: by search, and with all candidates scored.

    python bench/search.py                       # some minutes on two cores
    python bench/search.py --repeats 1 --sizes tiny

A drawn clip of ten minutes as the study's (6 frames a second, 96 lines) and one as filmed ones are
(30 frames a second, a keyframe every 250, 360 lines) is watched at one candidate a second and asked
about once. Scorers are `tiny`'s, and random ones of the sizes of CLIP ViT-B/32 at 224 px and, where
it is named, of ViT-L/14 at 336 px (an hour): what a pass costs does not depend on weights. Each
pair is interleaved, medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from checkpoint import SCORERS as SCORER_SIZES
from checkpoint import SIZES, Size, random_llava
from clips import make_clip
from free_video_llm import VideoLLM
from free_video_llm.tiny.videos import sample_long, write_clip

QUESTION = "What color is the star?"
SEARCH = {"search": 0.1}
ALL = {"fps": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=list(SCORERS), default=["tiny", "ViT-B/32"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = {
            "study": study_clip(Path(folder) / "study.mp4"),
            "360 lines": make_clip(
                Path(folder) / "360p.mp4", seconds=600, gop=250, height=360, stretch=50
            ),
        }
        for scorer in options.sizes:
            llm = SCORERS[scorer]()
            for name, clip in clips.items():
                taken: dict[str, list[float]] = {"search": [], "all": []}
                for _ in range(options.repeats):
                    taken["search"].append(seconds(llm, clip, SEARCH))
                    taken["all"].append(seconds(llm, clip, ALL))
                search, whole = (statistics.median(taken[how]) for how in ("search", "all"))
                print(
                    f"{scorer}, {name}: search {search:.2f} s, all {whole:.2f} s, "
                    f"{search / whole:.2f}",
                    flush=True,
                )


def study_clip(path: Path) -> Path:
    """Ten minutes of many shots, one object seen for a second."""
    rng = np.random.default_rng(0)
    clip, _, _ = sample_long(rng)
    return write_clip(clip, path, rng, height=96)


def of_size(name: str) -> VideoLLM:
    """Random towers; only the scorer works until a question's frames are kept."""
    size = SIZES["full"] if name == "L/14" else SIZES["quick"]
    small = None if name == "L/14" else SCORER_SIZES["full"]
    return random_llava(Size("search", size.clip, 1, 256), shared=name == "L/14", scorer=small)


SCORERS = {
    "tiny": lambda: VideoLLM.from_pretrained("tiny"),
    "ViT-B/32": lambda: of_size("B/32"),
    "ViT-L/14": lambda: of_size("L/14"),
}


def seconds(llm: VideoLLM, clip: Path, how: dict[str, float]) -> float:
    """To watch a clip, and to find the frames of one question."""
    begun = time.perf_counter()
    llm.watch(clip, plan="moment", **how).find(QUESTION, plan="moment")
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
