"""Measure `tiny` on clips it has never seen: drawn, encoded as H.264, decoded and asked about.

    python training/score_tiny.py --questions 600
    python training/score_tiny.py --needle --questions 400

Prints accuracy by kind of question with a 95 % interval, beside the best answer without seeing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from free_video_llm.pipeline import VideoLLM
from free_video_llm.plans.notation import resolve_plan
from free_video_llm.tiny.questions import KINDS, Question, vary
from free_video_llm.tiny.videos import (
    Clip,
    clip_questions,
    needle_question,
    sample_clip,
    sample_needle,
    write_clip,
)

#: Training draws from seeds of the form [small, small]; these are apart.
SEED = 20_261_122
#: Three prompt-guided frames, and three uniform ones: the same number of tokens (`fvl plans`).
NEEDLE_PLANS = ("prompt-3", "uniform-3")


@dataclass(frozen=True)
class Outcome:
    """One question, its true answer, and what was said under a plan."""

    plan: str
    question: Question
    said: str
    tokens: int

    @property
    def right(self) -> bool:
        return self.said.strip().lower() == self.question.answer


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    if total == 0:
        return 0.0, 1.0
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    half /= 1 + z * z / total
    return float(middle - half), float(middle + half)


def blind(questions: Sequence[Question]) -> int:
    """How many the best fixed answer to each wording gets right, chosen knowing the answers.

    Nobody without eyes does better, so it is an upper bound of guessing.
    """
    by_text: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        key = question.kind if question.kind.startswith("is there pair") else question.text
        by_text[key][question.answer] += 1
    return sum(max(answers.values()) for answers in by_text.values())


def draw_set(
    count: int, *, needle: bool, seed: int, per_clip: int = 3
) -> Iterator[tuple[Clip, list[Question], np.random.Generator]]:
    """Clips with questions until there are `count` questions, kinds balanced."""
    asked: Counter[str] = Counter()
    number = 0
    while sum(asked.values()) < count:
        rng = np.random.default_rng([seed, int(needle), number])
        number += 1
        if needle:
            clip, thing = sample_needle(rng)
            behind = sorted(KINDS, key=lambda k: asked[k])[:per_clip]
            drawn = [needle_question(clip, thing, kind, rng) for kind in behind]
            questions = [q for q in drawn if q is not None]
        else:
            clip = sample_clip(rng)
            # One of each kind at the most, those that are behind first. The first drawn of a kind
            # is as often a yes as a no; later ones are what the clip has left.
            pool: dict[str, Question] = {}
            for question in clip_questions(clip, 40, rng):
                pool.setdefault(question.kind, question)
            order = sorted(pool, key=lambda k: asked[k])
            questions = [pool[k] for k in order[:per_clip]]
        questions = questions[: count - sum(asked.values())]
        asked.update(q.kind for q in questions)
        if questions:
            yield clip, questions, rng


def run(
    llm: VideoLLM, count: int, plans: Sequence[str], *, needle: bool, seed: int, frames: int = 50
) -> list[Outcome]:
    """Ask everything under every plan."""
    outcomes: list[Outcome] = []
    resolved = [(text, resolve_plan(text)) for text in plans]
    bar = tqdm(total=count, unit="question", disable=None, file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for clip, questions, rng in draw_set(count, needle=needle, seed=seed):
            path = write_clip(clip, Path(folder) / "clip.mp4", rng)
            video = llm.watch(path, frames=frames)
            texts = [vary(q.text, rng) for q in questions]
            for name, plan in resolved:
                answers = llm.ask([(video, text) for text in texts], plan=plan, max_new_tokens=6)
                for question, answer in zip(questions, answers, strict=True):
                    outcomes.append(Outcome(name, question, answer.text, len(answer.visual_tokens)))
            bar.update(len(questions))
    bar.close()
    return outcomes


def summarise(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """A row per plan and kind, and one per plan overall."""
    rows: list[dict[str, object]] = []
    for plan in dict.fromkeys(o.plan for o in outcomes):
        of_plan = [o for o in outcomes if o.plan == plan]
        for kind in (*KINDS, "all"):
            part = [o for o in of_plan if kind in ("all", o.question.kind)]
            if not part:
                continue
            right = sum(o.right for o in part)
            low, high = wilson(right, len(part))
            rows.append(
                {
                    "plan": plan,
                    "kind": kind,
                    "questions": len(part),
                    "accuracy": right / len(part),
                    "low": low,
                    "high": high,
                    "blind": blind([o.question for o in part]) / len(part),
                    "yes": sum(o.question.answer == "yes" for o in part),
                    "no": sum(o.question.answer == "no" for o in part),
                    "tokens": round(float(np.mean([o.tokens for o in part]))),
                }
            )
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--plans", nargs="+", help="default: paper; with --needle two to compare")
    parser.add_argument(
        "--needle",
        action="store_true",
        help="ask about what shows in at most a tenth of a clip's frames",
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    plans = options.plans or (list(NEEDLE_PLANS) if options.needle else ["paper"])
    llm = VideoLLM.from_pretrained(options.model)
    outcomes = run(llm, options.questions, plans, needle=options.needle, seed=options.seed)
    rows = summarise(outcomes)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"{'plan':<40} {'kind':<15} {'n':>4} {'accuracy':>8}  {'95 % interval':<15} "
        f"{'blind':>6} {'yes/no':>8} {'tokens':>6}"
    )
    for r in rows:
        balance = f"{r['yes']}/{r['no']}"
        print(
            f"{r['plan']:<40} {r['kind']:<15} {r['questions']:>4} {r['accuracy']:>8.1%}  "
            f"{r['low']:.1%} – {r['high']:.1%}  {r['blind']:>6.1%} {balance:>8} {r['tokens']:>6}"
        )


if __name__ == "__main__":
    main()
