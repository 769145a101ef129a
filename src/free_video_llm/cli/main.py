"""The entry point of `fvl`: puts the subcommands together and turns errors into one line each."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Sequence

from free_video_llm import __version__
from free_video_llm.cli import (
    ask,
    chat,
    compare_plans,
    completion,
    config,
    evaluate,
    frames,
    info,
    mcp,
    serve,
    web,
)
from free_video_llm.cli.common import is_quiet
from free_video_llm.cli.logs import logged
from free_video_llm.errors import ConfigError, FreeVideoLLMError, one_of

EPILOG = """\
examples:
  fvl ask sample:star "What color is the star?" --picture why.png
  fvl ask clip.mp4 "What is the man doing?" --model llava-hf/llava-v1.6-vicuna-7b-hf
  fvl plans                       what each plan keeps, and how many tokens that is
  fvl doctor                      what is installed and what this machine can run

exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable video, 4 no usable model,
5 a package extra is missing, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the nearest subcommand (argparse does so from Python 3.14 on)."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if isinstance(action, argparse._SubParsersAction):
            try:
                one_of("command", value, action.choices, ConfigError)
            except ConfigError as error:
                self.exit(ConfigError.exit_code, f"fvl: {error}\n")
        super()._check_value(action, value)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand."""
    parser = _Parser(
        prog="fvl",
        description="Ask a video a question: a pretrained image LLM answers, without training, "
        "and shows which frames and regions the answer came from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fvl {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    for module in (
        ask,
        chat,
        frames,
        compare_plans,
        config,
        info,
        evaluate,
        web,
        serve,
        mcp,
        completion,
    ):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `fvl` with the given arguments (the process's own where None); returns the exit code."""
    # Progress is ours to show, one bar where something takes long; libraries keep quiet.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        import argcomplete

        argcomplete.autocomplete(parser)
    try:
        code = _run(parser, parser.parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # `fvl … | head`
        _abandon_stdout()
        return 1
    except OSError as error:  # a full disk behind standard output; what is ours says its own file
        _abandon_stdout()
        print(f"fvl: cannot write: {error.strerror or error}", file=sys.stderr)
        return 1
    return code


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if not hasattr(options, "run"):
        parser.print_help()
        return 0

    def show(message: object, *_args: object, **_named: object) -> None:
        if not is_quiet(options):
            print(f"note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="free_video_llm", category=UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        try:
            with logged(options):
                return int(options.run(options))
        except FreeVideoLLMError as error:
            print(f"fvl: {_by_option(str(error), options)}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            kept = "; what was finished is kept" if getattr(options, "keeps", False) else ""
            print(f"fvl: interrupted{kept}", file=sys.stderr)
            return 130


def _by_option(text: str, options: argparse.Namespace) -> str:
    """An error's text with the command's own spelling of what the library calls its keywords."""
    for name in vars(options):
        if "_" in name:
            text = re.sub(rf"\b{name}\b", "--" + name.replace("_", "-"), text)
    return text


def _abandon_stdout() -> None:
    """Let nothing that is still to be written raise once more at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
