"""Search fresh clips of the toy world for questions that two plans answer differently.

    python training/find_contrasts.py --clips 300

Prints how often both plans, one of them, or none was right, and the first clip of each kind of
parting. The plans must cost the same tokens: what differs is only which frames they keep.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from free_video_llm.pipeline import VideoLLM, resolve_plan
from free_video_llm.tiny.questions import KINDS, Question
from free_video_llm.tiny.videos import (
    Clip,
    clip_questions,
    needle_question,
    sample_clip,
    sample_needle,
    write_clip,
)

#: Apart from the seeds of training and of `evaluate`.
SEED = 20_261_123
PLANS = ("prompt-3", "uniform-3")
SETS = ("needle", "ordinary")


@dataclass(frozen=True)
class Case:
    """A question about a clip that is known by its set and number, and what two plans said."""

    set: str
    number: int
    question: Question
    said: tuple[str, str]

    @property
    def right(self) -> tuple[bool, bool]:
        first, second = (said.strip().lower() == self.question.answer for said in self.said)
        return first, second


def draw_case(set_name: str, number: int) -> tuple[Clip, list[Question]]:
    """Clip `number` of a set, with a question of each kind that it gives a certain answer to."""
    rng = np.random.default_rng([SEED, SETS.index(set_name), number])
    if set_name == "needle":
        clip, thing = sample_needle(rng)
        asked = [needle_question(clip, thing, kind, rng) for kind in KINDS]
        return clip, [question for question in asked if question is not None]
    clip = sample_clip(rng)
    first: dict[str, Question] = {}
    for question in clip_questions(clip, 40, rng):
        first.setdefault(question.kind, question)
    return clip, [first[kind] for kind in KINDS if kind in first]


def write_case(set_name: str, number: int, path: str | Path) -> Path:
    """Encode clip `number` of a set. Its grain has a seed of its own: it is the same each time."""
    clip, _ = draw_case(set_name, number)
    return write_clip(clip, path, np.random.default_rng([SEED, SETS.index(set_name), number, 1]))


def search(
    llm: VideoLLM, set_name: str, numbers: Iterable[int], plans: Sequence[str] = PLANS
) -> Iterator[Case]:
    """Ask about clips under both plans.

    Raises:
        ValueError: the plans cost different numbers of tokens.
    """
    first, second = (resolve_plan(text) for text in plans)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            _, questions = draw_case(set_name, number)
            if not questions:
                continue
            video = llm.watch(write_case(set_name, number, Path(folder) / "clip.mp4"))
            asked = [(video, question.text) for question in questions]
            ours = llm.ask(asked, plan=first, max_new_tokens=6)
            theirs = llm.ask(asked, plan=second, max_new_tokens=6)
            for question, one, other in zip(questions, ours, theirs, strict=True):
                costs = len(one.visual_tokens), len(other.visual_tokens)
                if costs[0] != costs[1]:
                    raise ValueError(
                        f"{plans[0]} costs {costs[0]} tokens and {plans[1]} {costs[1]}: "
                        "only plans that cost the same are compared"
                    )
                yield Case(set_name, number, question, (one.text, other.text))


def count(cases: Sequence[Case]) -> Counter[tuple[bool, bool]]:
    """How often each plan was right or wrong."""
    return Counter(case.right for case in cases)


def table(cases: Sequence[Case], clips: int, plans: Sequence[str] = PLANS) -> str:
    """Counts of the four outcomes as a Markdown table: by set, and within it by kind."""
    first, second = plans
    lines = [
        f"| clips | question | n | both right | only `{first}` right | only `{second}` right "
        "| both wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    for set_name in dict.fromkeys(case.set for case in cases):
        of_set = [case for case in cases if case.set == set_name]
        for kind in ("all", *KINDS):
            part = [case for case in of_set if kind in ("all", case.question.kind)]
            if not part:
                continue
            found = count(part)
            outcomes = (
                found[right] for right in ((True, True), (True, False), (False, True), (False,) * 2)
            )
            name = f"{clips} {set_name}" if kind == "all" else ""
            cells = (name, kind, f"{len(part)}", *(f"{number}" for number in outcomes))
            bold = "**" if kind == "all" else ""
            lines.append("| " + " | ".join(f"{bold}{c}{bold}" if c else c for c in cells) + " |")
    return "\n".join(lines)


def first_of(cases: Sequence[Case], right: tuple[bool, bool]) -> Case | None:
    """The first case with this outcome, passing over yes and no, which a guess may hit."""
    return next(
        (c for c in cases if c.right == right and not c.question.kind.startswith("is there")), None
    )


def describe(case: Case, plans: Sequence[str] = PLANS) -> str:
    """A case in one line."""
    said = ", ".join(f"{plan} {text!r}" for plan, text in zip(plans, case.said, strict=True))
    return f"{case.set} {case.number}: {case.question.text} {case.question.answer}; said: {said}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=300, help="of each set (default: 300)")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--plans", nargs=2, default=list(PLANS), metavar="PLAN")
    parser.add_argument(
        "--list", action="store_true", help="every question on which the plans part, not the first"
    )
    options = parser.parse_args()
    llm = VideoLLM.from_pretrained(options.model)
    for set_name in options.sets:
        numbers = tqdm(range(options.clips), desc=set_name, disable=None, file=sys.stderr)
        cases = list(search(llm, set_name, numbers, options.plans))
        print(table(cases, options.clips, options.plans) + "\n")
        for right in ((True, False), (False, True)):
            first = first_of(cases, right)
            only = options.plans[right.index(True)]
            told = describe(first, options.plans) if first else "none"
            print(f"first that only {only} got right: {told}")
        if options.list:
            for case in cases:
                if case.right[0] != case.right[1]:
                    print(describe(case, options.plans))
        print()


if __name__ == "__main__":
    main()
