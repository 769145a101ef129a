"""The named plans: the paper's, its peers' as points of the same mechanism, and ours."""

from __future__ import annotations

from dataclasses import dataclass

from free_video_llm.plans.plan import Crop, Pathway, Plan, Pool, Select


@dataclass(frozen=True)
class Preset:
    """A named plan with a sentence for people and where it comes from."""

    plan: Plan
    summary: str
    source: str


def _pathway(name: str, select: Select, kind: str, crop: Crop | None = None) -> Pathway:
    return Pathway(name=name, select=select, pool=Pool(kind=kind), crop=crop)


def _prompt(count: int) -> Select:
    return Select(kind="prompt", count=count)


def _uniform(count: int) -> Select:
    return Select(kind="uniform", count=count)


def _overview(select: Select, rows: int = 4, columns: int = 4) -> Pathway:
    return Pathway(
        name="fast", select=select, pool=Pool(kind="adaptive_2d_pool", grid=(rows, columns))
    )


_ROW, _SQUARE = "spatial_1d_max_pool", "spatial_2d_max_pool"
_PAPER = "Free Video-LLM, arXiv 2410.10441"

_TABLE: tuple[tuple[str, tuple[Pathway, ...], str, str], ...] = (
    (
        "paper",
        (
            _pathway("slow", _prompt(3), _ROW, Crop(ratio=0.8)),
            _pathway("middle", _uniform(5), _ROW, Crop(ratio=0.8)),
            _overview(_prompt(50)),
        ),
        "3 prompt-guided and 5 uniform frames, cropped to the region that matters, "
        "and all frames in 4×4",
        _PAPER,
    ),
    (
        "paper-small",
        (
            _pathway("slow", _prompt(3), _ROW, Crop(ratio=0.6)),
            _pathway("middle", _uniform(3), _ROW, Crop(ratio=0.6)),
        ),
        "3 prompt-guided and 3 uniform frames, cropped tighter; no overview",
        _PAPER,
    ),
    (
        "slowfast",
        (_pathway("slow", _uniform(10), _ROW), _overview(Select(kind="all"))),
        "10 uniform frames and all frames in 4×4; the question is not looked at",
        "SlowFast-LLaVA, arXiv 2407.15841",
    ),
    (
        "ig-vlm",
        (_pathway("grid", _uniform(6), "concat"),),
        "6 uniform frames at full detail (IG-VLM's tokens, without its one-picture layout)",
        "IG-VLM, arXiv 2403.18406",
    ),
    (
        "onevision",
        (_pathway("frames", Select(kind="all"), "bilinear_2d_pool"),),
        "all frames at half their grid, as LLaVA-OneVision takes a video (with --frames 32)",
        "LLaVA-OneVision, arXiv 2408.03326",
    ),
    (
        "freeva",
        (_pathway("frames", _uniform(4), "concat"),),
        "4 uniform frames at full detail",
        "FreeVA, arXiv 2405.07798",
    ),
    (
        "uniform",
        (_pathway("frames", _uniform(8), _ROW),),
        "8 uniform frames, pooled like the paper's: the plain baseline",
        "this project",
    ),
    (
        "prompt-3",
        (_pathway("slow", _prompt(3), _ROW),),
        "only the 3 frames nearest to the question, uncropped (the paper's ablation)",
        _PAPER,
    ),
    (
        "uniform-3",
        (_pathway("frames", _uniform(3), _ROW),),
        "only 3 uniform frames: what prompt-3 is to be measured against",
        _PAPER,
    ),
    (
        "single-frame",
        (_pathway("frame", _uniform(1), "concat"),),
        "one frame from the middle at full detail: what a question needs no video for",
        "a baseline",
    ),
    (
        "diverse",
        (
            _pathway("slow", Select(kind="prompt-diverse", count=4), _ROW, Crop(ratio=0.8)),
            _pathway("middle", _uniform(4), _ROW, Crop(ratio=0.8)),
        ),
        "4 prompt-guided frames without near-duplicates and 4 uniform ones, cropped",
        "this project",
    ),
    (
        "lean",
        (_pathway("slow", Select(kind="bolt", count=4), _SQUARE),),
        "4 frames at even steps of what the question finds, at a quarter of their tokens",
        "this project, with the selector of BOLT, arXiv 2503.21483",
    ),
    (
        "long",
        (_pathway("slow", Select(kind="prompt-diverse", count=6), _SQUARE),),
        "6 frames near the question that differ from one another: for moments in long videos, "
        "with --search",
        "this project",
    ),
    (
        "moment",
        (_pathway("frame", _prompt(1), "concat"),),
        "the one frame nearest to the question, at full detail: for what is seen briefly",
        "this project",
    ),
    (
        "global",
        (_pathway("slow", Select(kind="gate", count=8), _SQUARE),),
        "8 frames, uniform unless some stand out: for questions about a whole clip",
        "this project",
    ),
)

PRESETS: dict[str, Preset] = {
    name: Preset(Plan(pathways=pathways, name=name), summary, source)
    for name, pathways, summary, source in _TABLE
}
