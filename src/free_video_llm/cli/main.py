"""The entry point of `fvl`: puts the subcommands together and turns errors into one line each."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from free_video_llm import __version__
from free_video_llm.cli import ask, compare_plans, evaluate, info, web
from free_video_llm.errors import FreeVideoLLMError

EPILOG = """\
examples:
  fvl ask sample:star "What color is the star?" --picture why.png
  fvl ask clip.mp4 "What is the man doing?" --model llava-hf/llava-v1.6-vicuna-7b-hf
  fvl plans                       what each plan keeps, and how many tokens that is
  fvl doctor                      what is installed and what this machine can run

exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable video, 4 no usable model,
5 a package extra is missing, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand."""
    parser = argparse.ArgumentParser(
        prog="fvl",
        description="Ask a video a question: a pretrained image LLM answers, without training, "
        "and shows which frames and regions the answer came from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fvl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (ask, compare_plans, info, evaluate, web):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `fvl` with the given arguments (the process's own where None); returns the exit code."""
    # Progress is ours to show, one bar where something takes long; libraries keep quiet.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    options = build_parser().parse_args(arguments)
    show = lambda message, *_args, **_kw: print(f"note: {message}", file=sys.stderr)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="free_video_llm", category=UserWarning)
        warnings.showwarning = show
        try:
            return int(options.run(options))
        except FreeVideoLLMError as error:
            print(f"fvl: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("fvl: interrupted; what was finished is kept", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `fvl … | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1


if __name__ == "__main__":
    sys.exit(main())
