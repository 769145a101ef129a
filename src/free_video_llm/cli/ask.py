"""`fvl ask` and `fvl convert`."""

from __future__ import annotations

import argparse
import json
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
    plan_of,
    positive,
    watch,
)
from free_video_llm.errors import ConfigError

if TYPE_CHECKING:
    from free_video_llm.answer import Answer
    from free_video_llm.many.inquiry import Inquiry

ASK_EXAMPLES = """\
  fvl ask sample:star "What color is the star?"
  fvl ask clip.mp4 "What is he doing?" "Is he alone?" --model llava-hf/llava-v1.6-vicuna-7b-hf
  fvl ask clip.mp4 "Who wins?" --plan paper-small --frames 100 --picture why.png
  fvl ask clip.mp4 "What is it?" --option cat --option dog --json
  fvl ask holiday/ 'films/*.mp4' "Is a dog to be seen?" --output dogs.csv
  fvl ask a.mp4 b.mp4 -q "Who wins?" -q "Where?" --format jsonl
  fvl ask --questions questions.csv --output answers.jsonl
  fvl ask lecture.mp4 "What is on the board?" --start 10:00 --end 12:30
  fvl ask film.mkv "Who wins?" --decode keyframes --cache --profile
  fvl ask clip.mp4 "What is it?" --model ./llava-v1.6-vicuna-7b --plan paper@released
"""

CONVERT_EXAMPLES = """\
  fvl convert ./llava-v1.6-vicuna-7b ./llava-v1.6-vicuna-7b-hf
  fvl convert ./llava-v1.6-vicuna-7b ./vicuna-alone --language-model       for --engine-url
"""


def add_commands(commands: Subparsers) -> None:
    """Add `ask` and `convert`."""
    parser = add_command(
        commands, "ask", run_ask, "ask a video one or more questions", ASK_EXAMPLES
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="VIDEO… QUESTION…",
        help="video files, folders, patterns, addresses, sample:NAME (fvl samples); then questions",
    )
    parser.add_argument(
        "-q",
        "--question",
        dest="asked",
        action="append",
        default=[],
        metavar="TEXT",
        help="a question; give it several times. All other words are videos then",
    )
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help="a .csv or .jsonl file with columns video, question, and options, start, end, answer "
        "where wanted, or a text file of a question a line; - is standard input",
    )
    add_model_options(parser)
    add_video_options(parser)
    group = parser.add_argument_group("plan")
    group.add_argument(
        "--plan",
        metavar="PLAN",
        help="a preset (fvl plans) or a notation; default: one's own (fvl config), else paper",
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
    group.add_argument(
        "--choose",
        choices=("generate", "letters", "options"),
        default="generate",
        help="among the options: generate an answer, or take the most likely by its letter, or by "
        "its own words, asked without the list",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        help="a prompt of one's own: a text with {question}, and where wanted {options} and "
        "<image>; @FILE reads one",
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
    group.add_argument(
        "--save-frames",
        type=Path,
        metavar="DIR",
        help="save the kept frames and regions as pictures, with frames.json beside them "
        "(of several questions in DIR/1, DIR/2, …)",
    )
    group.add_argument("--json", action="store_true", help="everything as JSON (docs/evidence.md)")
    group.add_argument(
        "--format",
        choices=("text", "json", "jsonl", "csv"),
        help="of the rows of several videos, or of a file of questions (default: text)",
    )
    group.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a .jsonl or .csv file for the rows; a command that was stopped goes on with it",
    )
    group.add_argument(
        "--batch", type=positive, default=8, metavar="N", help="questions answered together"
    )
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
    parser.add_argument(
        "--language-model",
        action="store_true",
        help="write the language model alone, for a vLLM server (docs/servers.md)",
    )


def _old_rules(text: str) -> str:
    """What --geometry, the old name of --rules, was given."""
    from free_video_llm.plans.plan import rules_of_geometry

    return str(rules_of_geometry(text))


def run_ask(options: argparse.Namespace) -> int:
    """Answer the questions, each printed as soon as it is there."""
    from free_video_llm.llm.prompts import check_options
    from free_video_llm.plans.notation import resolve_plan

    check_options(options.option)
    plan = resolve_plan(
        plan_of(options), options.rules
    )  # a wrong plan is told before a model loads
    if options.picture is not None:
        from free_video_llm.picture import check_suffix

        check_suffix(options.picture)
    how = {
        "max_new_tokens": options.max_new_tokens,
        "prompt": _template(options.template),
        "temperature": options.temperature,
        "top_p": options.top_p,
        "seed": options.seed,
        "choose": options.choose,
    }
    inquiries = _inquiries(options)
    videos = list(dict.fromkeys(inquiry.video for inquiry in inquiries))
    rows = options.output is not None or options.format is not None
    if len(videos) > 1 or options.questions is not None or rows:
        from free_video_llm.cli.ask_many import run_many

        return run_many(options, inquiries, plan, how)
    options.video = videos[0]
    questions = [inquiry.question for inquiry in inquiries]
    start = time.perf_counter()
    llm = load_model(options)
    loaded = time.perf_counter() - start
    video = watch(llm, options.video, options, plans=[plan])
    documents = []
    for number, question in enumerate(questions, start=1):
        answer = video.ask(
            question,
            plan=plan,
            options=options.option,
            **how,
        )
        document = answer.to_dict()
        if options.picture is not None:
            saved = answer.save_picture(_numbered(options.picture, number, len(questions)))
            document["picture"] = str(saved)
        if options.save_frames is not None:
            from free_video_llm.show import save_frames

            folder = options.save_frames / (str(number) if len(questions) > 1 else "")
            document["frames"] = [
                str(folder / entry["file"]) for entry in save_frames(answer.evidence, plan, folder)
            ]
        if options.profile:
            from free_video_llm.profile import cost_report

            report = cost_report(video, answer)
            document["profile"] = report.as_dict()
        documents.append(document)
        if options.json:
            continue
        lead = f"{question} " if len(questions) > 1 else ""
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


def _inquiries(options: argparse.Namespace) -> list[Inquiry]:
    """Every question about every video."""
    from free_video_llm.many.inquiry import Inquiry, expand, read_inquiries, split_words

    if options.questions is not None:
        if options.asked or options.option:
            raise ConfigError("--questions has the questions and their options: leave -q and "
                              "--option out")  # fmt: skip
        given = sys.stdin.read() if options.questions == "-" else None
        return read_inquiries(options.questions, videos=expand(options.words), standard_input=given)
    if not options.words:
        raise ConfigError("a video is missing: fvl ask VIDEO… QUESTION…, or --questions FILE")
    words, questions = split_words(options.words, options.asked)
    return [
        Inquiry(video=video, question=question, options=tuple(options.option))
        for video in expand(words)
        for question in questions
    ]


def _template(given: str | None) -> str | None:
    """The prompt that --template gives, or the file that it names."""
    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"cannot read {given[1:]}: {reason}") from None


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

    if options.language_model:
        from free_video_llm.models.language_model import write_language_model

        print(write_language_model(options.source, options.out))
        return 0
    out = convert(options.source, options.out)
    print(out)
    return 0
