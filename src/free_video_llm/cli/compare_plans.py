"""`fvl compare-plans`: one question under several plans, at their token counts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from free_video_llm.cli.common import (
    Subparsers,
    add_command,
    add_model_options,
    add_video_options,
    load_model,
    table,
    watch,
)
from free_video_llm.errors import ConfigError

EXAMPLES = """\
  fvl compare-plans sample:needle "What color is the diamond?"
  fvl compare-plans clip.mp4 "What is he doing?" --plans paper,slowfast,uniform --picture plans.png
"""


def add_commands(commands: Subparsers) -> None:
    """Add `compare-plans`."""
    parser = add_command(
        commands, "compare-plans", run, "ask the same question under several plans", EXAMPLES
    )
    parser.add_argument("video", help="video file, folder of images, or sample:NAME")
    parser.add_argument("question")
    parser.add_argument(
        "--plans",
        default="paper,paper-small,slowfast,freeva,uniform",
        metavar="A,B,…",
        help="presets or notations (default: %(default)s)",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help=".png, .svg or .pdf")
    parser.add_argument("--json", action="store_true")
    add_model_options(parser)
    add_video_options(parser)


def run(options: argparse.Namespace) -> int:
    """Ask under each plan and print a table."""
    from free_video_llm.plans.notation import resolve_plan

    plans = [resolve_plan(text) for text in options.plans.split(",") if text.strip()]
    if not plans:
        raise ConfigError("--plans names no plan; `fvl plans` lists them")
    if options.picture is not None:
        from free_video_llm.picture import check_suffix

        check_suffix(options.picture)
    video = watch(load_model(options), options.video, options, plans=plans)
    answers = [video.ask(options.question, plan=plan) for plan in plans]
    if options.picture is not None:
        from free_video_llm.picture import save_comparison

        save_comparison(answers, options.picture)
    if options.json:
        documents = [answer.to_dict() for answer in answers]
        print(json.dumps({"schema": 1, "answers": documents}, ensure_ascii=False, indent=1))
        return 0
    rows: list[tuple[str, ...]] = [("plan", answers[0].evidence.unit, "seconds", "answer")]
    for answer in answers:
        times = answer.timings
        seconds = times.prompt + times.perceive + times.prefill + times.generate
        rows.append(
            (str(answer.plan), f"{answer.evidence.tokens:,}", f"{seconds:.2f}", answer.text)
        )
    print(table(rows))
    return 0
