"""Memory of a long clip's candidates: an hour at one a second beside ten seconds.

    python bench/candidates.py                       # some minutes on two cores
    python bench/candidates.py --seconds 10 600

The scorer is a random CLIP ViT-B/32 and the language model's tower one of SigLIP so400m's sizes,
both with a few layers only: what is held of a frame depends on sizes, not on depth. Every clip is
asked in a process of its own; the process's peak memory is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 3600])
    parser.add_argument("--one", metavar="CLIP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ask(Path(options.one))))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for seconds in options.seconds:
            clip = write_clip(Path(folder) / f"{seconds}.mp4", seconds)
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(clip)], stdout=subprocess.PIPE, check=True
            )
            rows.append({"clip_seconds": seconds} | json.loads(done.stdout))
            print(rows[-1], flush=True)
        more = rows[-1]["peak_mb"] - rows[0]["peak_mb"]
        print(
            f"{rows[-1]['clip_seconds']} s take {more:.0f} MB more than {rows[0]['clip_seconds']} s"
        )


def write_clip(path: Path, seconds: int, *, rate: int = 5) -> Path:
    """A moving gradient, 320 × 180."""
    across = np.arange(320) * 255 // 320
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(seconds * rate):
            row = np.roll(across, number * 3).astype(np.uint8)
            pixels = np.broadcast_to(row[None, :, None], (180, 320, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def ask(clip: Path) -> dict[str, float]:
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipVisionConfig, SiglipVisionModel

    from free_video_llm import VideoLLM
    from free_video_llm.encoder.clip_scorer import ClipScorer
    from free_video_llm.encoder.tower import Towers
    from free_video_llm.models.load import Loaded
    from free_video_llm.models.options import LoadOptions
    from free_video_llm.models.scorers import TINY_SCORER, build_scorer, open_scorer
    from free_video_llm.profiling.memory import peak_bytes

    words = build_scorer(open_scorer(TINY_SCORER), LoadOptions())
    clip_config = CLIPConfig(
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2,
                       "num_attention_heads": 12, "image_size": 224, "patch_size": 32},
        text_config={**words.model.config.text_config.to_dict(), "projection_dim": 512},
        projection_dim=512,
    )  # fmt: skip
    scorer = ClipScorer(CLIPModel(clip_config), words.tokenizer)
    tower = SiglipVisionModel(
        SiglipVisionConfig(hidden_size=1152, intermediate_size=4304, num_hidden_layers=2,
                           num_attention_heads=16, image_size=384, patch_size=14,
                           vision_use_head=False)
    )  # fmt: skip
    towers = Towers(
        scorer=scorer, llm_tower=getattr(tower, "vision_model", tower), feature_layer=-1
    )
    tiny = VideoLLM.from_pretrained("tiny")
    llm = VideoLLM(Loaded("candidates", "random", None, towers, tiny.image_llm, "plain"))
    start = time.perf_counter()
    with torch.inference_mode():
        video = llm.watch(clip, fps=1)
        vector = towers.encode_prompt("What color is the star?").vector
        scores = video.features.frame_vectors @ vector
        kept = sorted(scores.topk(min(8, len(scores))).indices.tolist())
        video.features.patches_in(kept)
        video.features.joint_patches(kept)
    return {
        "frames": len(video.frames),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(peak_bytes() / 1e6),
    }


if __name__ == "__main__":
    main()
