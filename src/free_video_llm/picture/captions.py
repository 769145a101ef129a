"""What the pictures say of a plan in words: a pathway's choice, its tokens, its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from free_video_llm.picture.thumbnails import patches_per_side
from free_video_llm.picture.timeline import TimeAxis, clock
from free_video_llm.plans.methods import SELECTORS
from free_video_llm.plans.plan import Pathway

if TYPE_CHECKING:
    from free_video_llm.answer import Answer, Evidence, PathwayEvidence


def pathway_of(answer: Answer, name: str) -> Pathway | None:
    """A pathway of the answer's plan by name."""
    return next((p for p in answer.plan.pathways if p.name == name), None)


def is_overview(answer: Answer, part: PathwayEvidence) -> bool:
    """Whether a pathway looks at whole frames coarsely, so that a filmstrip shows enough."""
    pathway = pathway_of(answer, part.name)
    return pathway is not None and pathway.pool.method.coarse


def grid_of(answer: Answer, part: PathwayEvidence) -> tuple[int, int]:
    """Rows and columns of the tokens that a pathway pools a frame to, before any crop."""
    pathway = pathway_of(answer, part.name)
    side = patches_per_side(answer.evidence)
    return pathway.pool.grid_of(side) if pathway is not None else (side, side)


def per_frame(part: PathwayEvidence) -> str:
    """A pathway's tokens as frames × tokens of each, where that is how they come about."""
    frames = len(part.kept)
    if not frames:
        return "no frame was left for it"
    if part.tokens % frames == 0 and _alike(part):
        return f"{count(frames, 'frame')} × {part.tokens // frames:,}"
    return f"from {count(frames, 'frame')}"


def frames_times_tokens(part: PathwayEvidence) -> str:
    """The same without words: "50 × 16"."""
    frames = len(part.kept)
    if not frames:
        return "0"
    if part.tokens % frames == 0 and _alike(part):
        return f"{frames:,} × {part.tokens // frames:,}"
    return f"{frames:,} → {part.tokens:,}"


def _alike(part: PathwayEvidence) -> bool:
    """Whether every frame has as many tokens; of a reducer's each has its own number."""
    return len({len(kept.cells) for kept in part.kept}) == 1


def how(answer: Answer, part: PathwayEvidence) -> str:
    """How a pathway chose its frames and what it kept of each."""
    pathway = pathway_of(answer, part.name)
    if pathway is None or not part.kept:
        return ""
    select, pool, crop = pathway.select, pathway.pool, pathway.crop
    sampled = len(answer.evidence.frames)
    everything = len({kept.frame for kept in part.kept}) == sampled
    chosen = SELECTORS.get("all") if everything else select.method
    words = [chosen.caption if sampled > 1 else "the only one"]
    rows, columns = grid_of(answer, part)
    if crop is not None:
        words.append(crop.method.caption.format(share=f"{crop.ratio:.0%}"))
    elif pool.method.takes_share:
        words.append(f"{pool.share:.0%} of all tokens, by {pool.method.name}")
    elif pool.method.times == 1:
        words.append("averaged over time")
    elif pool.method.times is not None:
        words.append(f"averaged to {pool.method.times} times of {rows}×{columns}")
    else:
        words.append(f"whole, in {rows}×{columns}")
    return ", ".join(words)


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 frame", "50 frames"."""
    many = noun + "es" if noun.endswith("ch") else noun + "s"
    return f"{number:,} {noun if number == 1 else many}"


def unit(evidence: Evidence) -> str:
    """What the evidence counts, of one: "token", "patch"."""
    return {"tokens": "token", "patches": "patch"}[evidence.unit]


def plan_name(answer: Answer) -> str:
    """A plan's name, with the rules if it is the released one; else its notation."""
    plan = answer.plan
    suffix = "@released" if plan.rules == "released" else ""
    return plan.name + suffix if plan.name else str(plan)


def score(value: float) -> str:
    """A similarity, with a true minus sign."""
    return f"{value:.3f}".replace("-", "−")


def seconds(value: float) -> str:
    """A duration to about two digits."""
    return f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def asking_seconds(answer: Answer) -> float:
    """What the question cost, the video having been watched."""
    times = answer.timings
    return times.prompt + times.perceive + times.prefill + times.generate


def clip_words(evidence: Evidence) -> str:
    """What was sampled of the clip."""
    frames = evidence.frames
    lasts = TimeAxis.of(evidence, 0, 1).duration
    return (
        f"{len(frames):,} of {count(frames.total, 'frame')} sampled, {clock(lasts, lasts)}, "
        f"{frames.width}×{frames.height}"
    )


def clip_name(evidence: Evidence) -> str:
    """The clip's name without its folder."""
    return evidence.frames.name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
