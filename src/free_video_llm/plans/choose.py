"""Which frames every pathway of a plan looks at: the selectors, in the order that a plan needs."""

from __future__ import annotations

import torch

from free_video_llm.plans.plan import Plan


def select_frames(plan: Plan, scores: torch.Tensor, vectors: torch.Tensor) -> dict[str, list[int]]:
    """The frames of every pathway of a plan, each list in time order.

    Args:
        scores: float [T], similarity of each frame with the question.
        vectors: float [T,P], the frames' unit vectors in the joint space.
    """
    counts = plan.frames_per_pathway(len(scores))
    chosen: dict[str, list[int]] = {}
    taken: set[int] = set()
    # Prompt-guided pathways choose first: a uniform one can move over by a frame, they cannot.
    order = sorted(
        plan.pathways, key=lambda p: p.select.method.counted and not p.select.method.guided
    )
    for pathway in order:
        dedupes = plan.dedupes(pathway)
        frames = pathway.select.method.frames(
            scores,
            vectors,
            counts[pathway.name],
            exclude=taken if dedupes else (),
            rules=plan.rules,
        )
        if dedupes:
            taken.update(frames)
        chosen[pathway.name] = frames
    return {pathway.name: chosen[pathway.name] for pathway in plan.pathways}
