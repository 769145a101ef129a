"""`fvl chat`: questions about a video one after the other, in a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
from free_video_llm.errors import FreeVideoLLMError

if TYPE_CHECKING:
    from free_video_llm.conversation import Conversation

EXAMPLES = """\
  fvl chat clip.mp4 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf
  fvl chat sample:star --plan lean
  printf 'What color is the star?\\n/evidence\\n' | fvl chat sample:star
"""
HELP = """\
/plan PLAN       look by another plan from now on (fvl plans)
/range A-B       look at this stretch from now on, as in 1:00-1:30; /range alone: the whole video
/evidence [FILE] what the last answer rests on; into a picture with FILE
/new             begin a new conversation
/help            this; /quit or Ctrl-D ends, Ctrl-C stops an answer"""


def add_commands(commands: Subparsers) -> None:
    """Add `chat`."""
    parser = add_command(commands, "chat", run_chat, "talk about a video", EXAMPLES)
    parser.add_argument("video", help="video file, folder of images, address, or sample:NAME")
    add_model_options(parser)
    add_video_options(parser)
    group = parser.add_argument_group("conversation")
    group.add_argument("--plan", metavar="PLAN", help="a preset or a notation")
    group.add_argument(
        "--look",
        choices=("again", "once"),
        default="again",
        help="choose frames anew for each question (default), or keep those of the first",
    )
    group.add_argument("--max-new-tokens", type=positive, default=256, metavar="N")
    group.add_argument("--quiet", action="store_true", help="the answers alone")


def run_chat(options: argparse.Namespace) -> int:
    """Read questions until there are no more; 1 where one of them could not be answered."""
    from free_video_llm.plans.notation import resolve_plan

    plan = resolve_plan(plan_of(options))
    llm = load_model(options)
    video = watch(llm, options.video, options, plans=[plan])

    def begin() -> Conversation:
        return video.chat(
            plan=plan,
            look=options.look,
            conv_mode=options.conv_mode,
            max_new_tokens=options.max_new_tokens,
        )

    if llm.name == "tiny" and not options.quiet:
        print(
            "note: 'tiny' was taught single questions, and what was said before confuses it: /new "
            "begins anew",
            file=sys.stderr,
        )
    chat = begin()
    terminal = sys.stdin.isatty()
    if terminal and not options.quiet:
        print(f"{video!r}\nAsk away; /help tells what else there is.", file=sys.stderr)
    failed = False
    for line in _lines("> " if terminal else ""):
        command, _, rest = line.partition(" ")
        try:
            if command in ("/quit", "/exit"):
                break
            if command == "/help":
                print(HELP, file=sys.stderr)
            elif command == "/new":
                chat = begin()
            elif command == "/plan":
                plan = resolve_plan(rest.strip())
                chat.plan = plan
            elif command == "/range":
                options.start = options.end = None
                options.ranges = [rest.strip()] if rest.strip() else []
                video = watch(llm, options.video, options, plans=[plan])
                chat.video = video
            elif command == "/evidence":
                _show_evidence(chat, rest.strip())
            elif command.startswith("/") and not Path(command).exists():
                print(f"fvl: there is no {command}; /help tells what there is", file=sys.stderr)
                failed = True
            else:
                _ask(chat, line, quiet=options.quiet)
        except FreeVideoLLMError as error:
            print(f"fvl: {error}", file=sys.stderr)
            failed = True
    return int(failed and not terminal)


def _lines(prompt: str) -> Iterator[str]:
    """The lines that are typed or piped, without empty ones."""
    if prompt:
        import readline  # noqa: F401  # so that what was typed can be edited and called again

    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line:
            yield line


def _ask(chat: Conversation, question: str, *, quiet: bool) -> None:
    def show(piece: str) -> None:
        print(piece, end="", flush=True)

    try:
        answer = chat.ask(question, on_text=show)
    except KeyboardInterrupt:  # the answer alone: what it looked at is kept
        chat.forget()
        print("\n(stopped)", file=sys.stderr)
        return
    print("" if answer.text else "(no answer)", flush=True)
    if not quiet:
        seconds = answer.timings
        print(
            f"  {answer.shown_in_words()}, pre-fill {seconds.prefill:.2f} s, "
            f"answer {seconds.generate:.2f} s",
            file=sys.stderr,
        )


def _show_evidence(chat: Conversation, file: str) -> None:
    if not chat.turns:
        print("fvl: nothing was asked yet", file=sys.stderr)
        return
    answer = chat.turns[-1]
    if file:
        print(answer.save_picture(file), file=sys.stderr)
        return
    for pathway in answer.evidence.pathways:
        times = ", ".join(clock(kept.second) for kept in pathway.kept)
        print(f"  {pathway.name}: {times} ({pathway.tokens:,} {answer.evidence.unit})")
