"""`fvl ask` and `fvl convert`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.cli.common import (
    Subparsers,
    add_command,
    add_model_options,
    add_video_options,
    clock,
    load_model,
    positive,
    watch,
)
from free_video_llm.errors import ConfigError

if TYPE_CHECKING:
    from free_video_llm.answer import Answer

ASK_EXAMPLES = """\
  fvl ask sample:star "What color is the star?"
  fvl ask clip.mp4 "What is he doing?" "Is he alone?" --model llava-hf/llava-v1.6-vicuna-7b-hf
  fvl ask clip.mp4 "Who wins?" --plan paper-small --frames 100 --picture why.png
  fvl ask clip.mp4 "What is it?" --option cat --option dog --json
  fvl ask film.mkv "Who wins?" --decode keyframes --cache --profile
  fvl ask clip.mp4 "What is it?" --model ./llava-v1.6-vicuna-7b --plan paper@released
"""

CONVERT_EXAMPLES = """\
  fvl convert ./llava-v1.6-vicuna-7b ./llava-v1.6-vicuna-7b-hf
"""


def add_commands(commands: Subparsers) -> None:
    """Add `ask` and `convert`."""
    parser = add_command(
        commands, "ask", run_ask, "ask a video one or more questions", ASK_EXAMPLES
    )
    parser.add_argument("video", help="video file, folder of images, or sample:NAME (fvl samples)")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    add_model_options(parser)
    add_video_options(parser)
    group = parser.add_argument_group("plan")
    group.add_argument(
        "--plan",
        default="paper",
        metavar="PLAN",
        help="a preset (fvl plans) or a notation; default: paper",
    )
    group.add_argument(
        "--rules",
        choices=("corrected", "released"),
        help="released: exactly what the paper's released code computes",
    )
    group.add_argument("--geometry", dest="rules", type=_old_rules, help=argparse.SUPPRESS)
    group = parser.add_argument_group("answer")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="TEXT",
        help="a choice of a multiple-choice question; give it several times",
    )
    group.add_argument("--max-new-tokens", type=positive, default=128, metavar="N")
    group.add_argument(
        "--temperature", type=float, default=0.0, metavar="X", help="0 is greedy (default)"
    )
    group.add_argument("--top-p", type=float, metavar="X")
    group.add_argument("--seed", type=int, metavar="N")
    group.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="save what the answer rests on as .png, .svg or .pdf (numbered for several questions)",
    )
    group.add_argument("--json", action="store_true", help="everything as JSON (docs/evidence.md)")
    group.add_argument(
        "--profile",
        action="store_true",
        help="what each step cost: seconds, operations, memory (docs/cost.md)",
    )
    group.add_argument("--quiet", action="store_true", help="the answer alone, nothing on stderr")

    parser = add_command(
        commands,
        "convert",
        run_convert,
        "convert a checkpoint to transformers' layout",
        CONVERT_EXAMPLES,
    )
    parser.add_argument("source", help="folder or Hub id of an original LLaVA checkpoint")
    parser.add_argument("out", type=Path, help="a new or empty folder")


def _old_rules(text: str) -> str:
    """What --geometry, the old name of --rules, was given."""
    from free_video_llm.plans.plan import rules_of_geometry

    return str(rules_of_geometry(text))


def run_ask(options: argparse.Namespace) -> int:
    """Answer the questions, each printed as soon as it is there."""
    from free_video_llm.llm.prompts import check_options
    from free_video_llm.plans.notation import resolve_plan

    for question in options.questions:
        _check_question(question)
    check_options(options.option)
    plan = resolve_plan(options.plan, options.rules)  # a wrong plan is told before a model loads
    if options.picture is not None:
        from free_video_llm.picture import check_suffix

        check_suffix(options.picture)
    start = time.perf_counter()
    llm = load_model(options)
    loaded = time.perf_counter() - start
    video = watch(llm, options.video, options, plans=[plan])
    documents = []
    for number, question in enumerate(options.questions, start=1):
        answer = video.ask(
            question,
            plan=plan,
            options=options.option,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
        )
        document = answer.to_dict()
        if options.picture is not None:
            saved = answer.save_picture(_numbered(options.picture, number, len(options.questions)))
            document["picture"] = str(saved)
        if options.profile:
            from free_video_llm.profile import cost_report

            report = cost_report(video, answer)
            document["profile"] = report.as_dict()
        documents.append(document)
        if options.json:
            continue
        lead = f"{question} " if len(options.questions) > 1 else ""
        print(lead + (answer.text or "(no answer)"), flush=True)
        if not options.quiet:
            print(_explain(answer, document.get("picture")), file=sys.stderr)
        if options.profile:
            print("\n".join(f"  {line}" for line in str(report).splitlines()), file=sys.stderr)
    if options.json:
        print(
            json.dumps(
                {"schema": 1, "load_seconds": round(loaded, 3), "answers": documents},
                ensure_ascii=False,
                indent=1,
            )
        )
    return 0


def _check_question(question: str) -> None:
    """A second video, as `*.mp4` gives it, is not asked as a question."""
    if question == "-" or (question.startswith("@") and os.path.exists(question[1:])):
        raise ConfigError(f"a question is a text: {question!r} is not read from a file or pipe")
    if os.path.exists(question):
        raise ConfigError(
            f"{question!r} is a file, not a question: fvl ask takes one video, then questions; "
            "ask about each video in a command of its own"
        )


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{number}")


def _explain(answer: Answer, picture: Any) -> str:
    """A few lines on what the answer rests on."""
    evidence = answer.evidence
    parts = []
    for pathway in evidence.pathways:
        times = ", ".join(clock(kept.second) for kept in pathway.kept[:10])
        if len(pathway.kept) > 10:
            times = f"{len(pathway.kept)} frames"
        parts.append(f"{pathway.name}: {times} ({pathway.tokens:,} {evidence.unit})")
    seconds = answer.timings
    shown = f"{answer.shown_in_words()}: " if answer.pictures else ""
    unit = "visual tokens" if evidence.unit == "tokens" else evidence.unit
    saved = f"\n  picture: {picture}" if picture else ""
    return (
        f"  looked at {'; '.join(parts)}\n"
        f"  {shown}{evidence.tokens:,} of {evidence.all_tokens:,} {unit}, plan {answer.plan}, "
        f"model {answer.model}\n"
        f"  seconds: decode {seconds.decode:.2f}, towers {seconds.encode:.2f}, "
        f"perceive {seconds.perceive:.2f}, pre-fill {seconds.prefill:.2f}, "
        f"answer {seconds.generate:.2f}{saved}"
    )


def run_convert(options: argparse.Namespace) -> int:
    """Convert and say where to."""
    from free_video_llm.models.convert import convert

    out = convert(options.source, options.out)
    print(out)
    return 0
