"""A first question by the plan `lean` beside the released code's small setting: where the LLM's
tower was fine-tuned, few frames pass it, and a small scoring model looks at all."""

from __future__ import annotations

from pathlib import Path

from as_released import read_full_frames, visual_tokens
from checkpoint import SCORERS, Size, random_llava
from free_video_llm import Plan, VideoLLM
from measure import Figure, interleaved

SECTION = "A first question by `lean`"
FRAMES = 50
QUESTION = "What is the man doing?"
RELEASED = Plan.preset("paper-small", rules="released")


def figures(size: Size, path: Path, repeats: int) -> list[Figure]:
    """Seconds up to the visual tokens: watching, choosing, projecting."""
    tuned = random_llava(size, shared=False)
    small = random_llava(size, shared=False, scorer=SCORERS[size.name])
    plan = Plan.preset("lean")

    def ours(llm: VideoLLM) -> object:
        return llm.watch(path, frames=FRAMES, plan=plan).perceive(QUESTION, plan)

    series = interleaved(
        {
            "as released": lambda: visual_tokens(
                tuned, read_full_frames(path, FRAMES), QUESTION, RELEASED
            ),
            "lean": lambda: ours(tuned),
            "lean, small scorer": lambda: ours(small),
        },
        repeats,
        what="lean",
    )
    note = "`paper-small` as released looks at other frames and regions, and keeps more tokens"
    return [
        Figure(
            SECTION, "fine-tuned tower: `lean` ÷ `paper-small` as released", series["lean"],
            series["as released"], bound=0.55, at_least=False, note=note,
        ),
        Figure(
            SECTION, "fine-tuned tower, small scoring model: the same",
            series["lean, small scorer"], series["as released"],
            bound=0.15, at_least=False, note=note,
        ),
    ]  # fmt: skip
