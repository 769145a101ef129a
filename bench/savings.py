"""Each exact saving by itself: the step without it, and with it, on the same weights.

That nothing changes is tested (tests/test_savings.py); here is what it is worth, with the quick
bench's towers whatever the size asked for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPVisionModel

from checkpoint import QUICK, random_llava
from free_video_llm import Plan, VideoLLM
from free_video_llm.encoder.stream import read_and_encode
from free_video_llm.llm.generate import TwoLayerProjector
from free_video_llm.plans.apply import perceive
from free_video_llm.plans.plan import Pool
from free_video_llm.plans.pool import pool_grid
from free_video_llm.video.read import read_frames
from measure import Figure, Series, alone, interleaved

SECTION = "The exact savings, one by one"
#: Frames of the tower measurements: cost grows evenly with them.
FRAMES = 6
#: Width of a 7B model, and frames, of the projector measurements.
LLM_WIDTH, PROJECTED = 4096, 8


def figures(clip: Path, large_clip: Path, repeats: int) -> list[Figure]:
    """All of them; `clip` is an ordinary one, `large_clip` one of 1080 lines."""
    llm = random_llava(QUICK, shared=True)
    return [
        *_tower_passes(llm, repeats),
        *_projection(llm, repeats),
        *_batches(llm, repeats),
        *_overlap(llm, clip, repeats),
        *_full_size_frames(large_clip, repeats),
    ]


def whole_passes(
    llm: VideoLLM, images: torch.Tensor, detail: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As released, a frame at a time: the LLM's tower on all frames, the scorer on all, and again
    on those in detail."""
    tower: CLIPVisionModel = llm.towers.scorer.tower
    each = images.split(1)
    states = [
        llm.towers.llm_tower(i, output_hidden_states=True).hidden_states[llm.towers.own.layer]
        for i in each
    ]
    pooled = [tower(i).pooler_output for i in each]
    patches = [tower(each[frame]).last_hidden_state for frame in detail]
    return torch.cat(states), torch.cat(pooled), torch.cat(patches)


def one_pass(
    llm: VideoLLM, images: torch.Tensor, detail: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same from one whole pass over every frame."""
    tower: CLIPVisionModel = llm.towers.scorer.tower
    outs = [tower(i, output_hidden_states=True) for i in images.split(1)]
    states = torch.cat([o.hidden_states[llm.towers.own.layer] for o in outs])
    patches = torch.cat([outs[frame].last_hidden_state for frame in detail])
    return states, torch.cat([o.pooler_output for o in outs]), patches


def last_layer_where_needed(
    llm: VideoLLM, pixels: torch.Tensor, detail: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The library's way: all layers but the last, the class token's part of that, and all of it for
    the frames in detail."""
    features = llm.towers.encode(pixels.numpy(), batch=1)
    after = features.joint.last_layer(features.scorer_states[detail])
    return features.llm_states, features.frame_vectors, after


@torch.inference_mode()
def _tower_passes(llm: VideoLLM, repeats: int) -> list[Figure]:
    size = llm.towers.size
    pixels = torch.randint(0, 255, (FRAMES, size, size, 3), dtype=torch.uint8)
    images, detail = llm.towers.normalisation(pixels), [0]  # 1 of 6, as 8 of 50
    times = interleaved(
        {
            "every use": lambda: whole_passes(llm, images, detail),
            "one pass": lambda: one_pass(llm, images, detail),
            "last layer where needed": lambda: last_layer_where_needed(llm, pixels, detail),
        },
        repeats, what="tower passes",
    )  # fmt: skip
    note = f"{FRAMES} frames, {len(detail)} of them in detail"
    one = times["one pass"]
    return [
        Figure(SECTION, "one pass of a shared tower", times["every use"], one, note=note),
        Figure(
            SECTION, "the last layer only where it is needed", one,
            times["last layer where needed"], note=note,
        ),
    ]  # fmt: skip


@torch.inference_mode()
def _projection(llm: VideoLLM, repeats: int) -> list[Figure]:
    towers = llm.towers
    width = towers.llm_tower.config.hidden_size
    projector = TwoLayerProjector(_Projector(width, LLM_WIDTH))
    pixels = torch.randint(0, 255, (PROJECTED, towers.size, towers.size, 3), dtype=torch.uint8)
    features = towers.encode(pixels.numpy())
    prompt = towers.encode_prompt("What is it?").vector
    detail = Plan.parse("slow=uniform:8/spatial_1d_max_pool/crop:0.6")
    coarse = Pool(kind="adaptive_2d_pool", grid=(4, 4))

    def all_then_crop() -> torch.Tensor:
        projector.out(projector.hidden(features.patches))  # as released: cropped afterwards
        return features.patches

    times = interleaved(
        {
            "all patches": all_then_crop,
            "those in the crop": lambda: perceive(features, prompt, detail, projector, memo={}),
            "after both layers": lambda: pool_grid(
                projector.out(projector.hidden(features.patches)), coarse
            ),
            "between them": lambda: projector.out(
                pool_grid(projector.hidden(features.patches), coarse)
            ),
        },
        repeats, what="projection",
    )  # fmt: skip
    note = f"{PROJECTED} frames, projector {width} → {LLM_WIDTH} → {LLM_WIDTH}"
    return [
        Figure(
            SECTION, "cropped before projecting (RoI 0.6)", times["all patches"],
            times["those in the crop"], note=f"{note}; finding the regions is part of the second",
        ),
        Figure(
            SECTION, "the overview averaged between the projector's layers",
            times["after both layers"], times["between them"], note=note,
        ),
    ]  # fmt: skip


class _Projector(torch.nn.Module):
    """LLaVA's `mlp2x_gelu`, at any widths."""

    def __init__(self, width: int, llm_width: int) -> None:
        super().__init__()
        self.linear_1 = torch.nn.Linear(width, llm_width)
        self.act = torch.nn.GELU()
        self.linear_2 = torch.nn.Linear(llm_width, llm_width)


def _batches(llm: VideoLLM, repeats: int) -> list[Figure]:
    size, count = llm.towers.size, 16
    pixels = torch.randint(0, 255, (count, size, size, 3), dtype=torch.uint8).numpy()
    chosen = llm.towers.batch_size()
    times = interleaved(
        {
            "all at once": lambda: llm.towers.encode(pixels, batch=count),
            "as sized": lambda: llm.towers.encode(pixels, batch=chosen),
        },
        repeats, what="batches", warm=False,
    )  # fmt: skip
    note = f"{count} frames at once, or {chosen} as sized for this machine"
    peaks = []
    for label, batch in (("as sized", chosen), ("all at once", count)):
        report = alone("encode", QUICK.name, str(count), str(batch))
        peaks.append(Series(label, ((report["peak"] - report["before"]) / 1e6,)))
    return [
        Figure(SECTION, "tower batches sized to the machine: seconds", *times.values(), note=note),
        Figure(
            SECTION, "tower batches sized to the machine: memory added", *peaks, "MB", note=note
        ),
    ]


def _overlap(llm: VideoLLM, clip: Path, repeats: int) -> list[Figure]:
    size, count = llm.towers.size, 16
    times = interleaved(
        {
            "one after the other": lambda: llm.towers.encode(
                read_frames(clip, count=count, size=size).pixels
            ),
            "overlapped": lambda: read_and_encode(
                lambda arrived: read_frames(clip, count=count, size=size, arrived=arrived),
                llm.towers,
            ),
        },
        repeats, what="overlap", warm=False,
    )  # fmt: skip
    note = f"{count} frames of a ten-minute clip, a keyframe every 250; both use the same two cores"
    return [Figure(SECTION, "decoding overlapped with encoding", *times.values(), note=note)]


def _full_size_frames(clip: Path, repeats: int) -> list[Figure]:
    from as_released import read_full_frames, resize

    times = interleaved(
        {
            "held whole, PIL": lambda: resize(read_full_frames(clip, 50), 336),
            "to tower size": lambda: read_frames(clip, count=50, size=336),
        },
        repeats, what="full-size frames",
    )  # fmt: skip
    peaks = []
    for label, job in (("to tower size", "decode_ours"), ("held whole", "decode_as_released")):
        reports = [alone(job, str(clip)) for _ in range(repeats)]
        peaks.append(Series(label, tuple((r["peak"] - r["before"]) / 1e6 for r in reports)))
    return [
        Figure(SECTION, "no full-size frames (50 of 1080p)", *times.values()),
        Figure(
            SECTION, "memory that decoding 50 frames of 1080p adds", *peaks, "MB",
            bound=0.25, at_least=False,
        ),
    ]  # fmt: skip
