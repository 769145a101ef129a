"""What a question cost, step by step: seconds, operations, and how much of the machine they used.

video = llm.watch("clip.mp4")
answer = video.ask("What color is the star?")
print(cost_report(video, answer))
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from free_video_llm.encoder.llm_tower import HiddenStateTower
from free_video_llm.profiling import flops
from free_video_llm.profiling.memory import peak_bytes

if TYPE_CHECKING:
    from free_video_llm.answer import Answer
    from free_video_llm.pipeline import Video


@dataclass(frozen=True)
class Step:
    """One step: its seconds, and its operations where they are counted (towers and LLM)."""

    name: str
    seconds: float
    operations: int | None = None

    @property
    def rate(self) -> float | None:
        """Operations per second."""
        if self.operations is None or self.seconds <= 0:
            return None
        return self.operations / self.seconds


@dataclass(frozen=True)
class CostReport:
    """What a question cost.

    Attributes:
        steps: in order.
        all_visual_tokens: of all sampled frames at full detail, of which `visual_tokens` were kept.
        token_seconds: of each new token after the first.
        peak_bytes: most main memory that the process has held so far, weights included.
        device_peak_bytes: the same of the GPU's memory; None on a CPU.
        bare_rate: operations per second of one large matrix product here and now: what a step
            would reach if it did nothing else.
    """

    steps: tuple[Step, ...]
    visual_tokens: int
    all_visual_tokens: int
    prompt_tokens: int
    new_tokens: int
    token_seconds: tuple[float, ...]
    peak_bytes: int
    device_peak_bytes: int | None
    bare_rate: float

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def useful_share(self) -> float:
        """The share of all seconds that the counted operations would take at the bare rate."""
        counted = sum(step.operations or 0 for step in self.steps)
        return counted / self.bare_rate / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "steps": [
                {"name": s.name, "seconds": s.seconds, "operations": s.operations}
                for s in self.steps
            ],
            "seconds": self.seconds,
            "visual_tokens": self.visual_tokens,
            "all_visual_tokens": self.all_visual_tokens,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "token_seconds": list(self.token_seconds),
            "peak_bytes": self.peak_bytes,
            "device_peak_bytes": self.device_peak_bytes,
            "bare_operations_per_second": self.bare_rate,
            "useful_share": self.useful_share(),
        }

    def __str__(self) -> str:
        lines = [f"{'step':<16}{'seconds':>9}{'share':>7}{'GFLOP':>10}{'GFLOP/s':>9}"]
        for step in self.steps:
            share = step.seconds / self.seconds if self.seconds else 0.0
            line = f"{step.name:<16}{step.seconds:>9.3f}{share:>7.0%}"
            if step.operations is not None and step.rate is not None:
                line += f"{step.operations / 1e9:>10,.1f}{step.rate / 1e9:>9,.1f}"
            lines.append(line)
        lines.append(f"{'in all':<16}{self.seconds:>9.3f}")
        kept = f"{self.visual_tokens:,} of {self.all_visual_tokens:,} visual tokens"
        lines.append(f"{kept}, prompt {self.prompt_tokens:,}, answer {self.new_tokens:,}")
        if self.token_seconds:
            middle, most = statistics.median(self.token_seconds), max(self.token_seconds)
            lines.append(
                f"each new token after the first {middle * 1e3:.1f} ms (median), "
                f"{most * 1e3:.1f} ms at most"
            )
        memory = f"peak memory {self.peak_bytes / 1e9:.2f} GB"
        if self.device_peak_bytes is not None:
            memory += f", of the GPU {self.device_peak_bytes / 1e9:.2f} GB"
        lines.append(memory)
        lines.append(
            f"{self.useful_share():.0%} of the time is what the towers' and the language model's "
            f"operations take at {self.bare_rate / 1e9:,.0f} GFLOP/s, a bare matrix product's rate"
        )
        return "\n".join(lines)


def cost_report(video: Video, answer: Answer) -> CostReport:
    """The cost of an answer on a video; of a batch, its own share is not told apart."""
    llm, times = video.model, answer.timings
    config = llm.token_llm.model.config.text_config
    new = len(answer.token_ids)
    towers: int | None = 0
    late = video.features.late
    if not isinstance(llm.towers.own, HiddenStateTower):
        towers = None  # an encoder whose inside is its family's own affair
    elif video.search is not None:
        kept = {one.frame for pathway in answer.evidence.pathways for one in pathway.kept}
        towers = len(answer.evidence.frames) * flops.score_frame(llm.towers)
        towers += 0 if llm.towers.shared else len(kept) * flops.look_at_frame(llm.towers)
    elif late is not None:
        towers = len(video.frames) * flops.score_frame(llm.towers)
        towers += len(late.known) * flops.look_at_frame(llm.towers)
    elif not video.from_cache:
        towers = len(video.frames) * flops.encode_frame(llm.towers)
    first = flops.language_model(config, [answer.prompt_tokens])
    rest = sum(
        flops.language_model(config, [1], past=answer.prompt_tokens + i) for i in range(new - 1)
    )
    steps = [
        Step("decode", times.decode),
        Step("towers", times.encode, towers),
        Step("question", times.prompt),
        Step("selection", times.select),
        Step("projection", times.project),
        Step("pre-fill", times.prefill, first),
        Step("new tokens", times.generate, rest),
    ]
    device = llm.towers.device
    return CostReport(
        steps=tuple(steps),
        visual_tokens=len(answer.visual_tokens),
        all_visual_tokens=answer.evidence.all_tokens,
        prompt_tokens=answer.prompt_tokens,
        new_tokens=new,
        token_seconds=answer.token_seconds,
        peak_bytes=peak_bytes(),
        device_peak_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        bare_rate=bare_rate(device, llm.towers.dtype),
    )


def bare_rate(device: torch.device, dtype: torch.dtype, *, side: int = 1024) -> float:
    """Operations per second of a matrix product, the best of a few."""
    a, b = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU to finish
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
