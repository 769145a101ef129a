"""`fvl completion`: what makes a shell complete commands, options, plans and models."""

from __future__ import annotations

import argparse
from typing import Any

from free_video_llm.cli.common import Subparsers, add_command

EXAMPLES = """\
  eval "$(fvl completion bash)"                        in ~/.bashrc
  eval "$(fvl completion zsh)"                         in ~/.zshrc
  fvl completion fish > ~/.config/fish/completions/fvl.fish
"""
SHELLS = ("bash", "zsh", "fish")


def add_commands(commands: Subparsers) -> None:
    """Add `completion`, and what completes values to the commands that are there."""
    parser = add_command(
        commands, "completion", run, "print what makes a shell complete fvl", EXAMPLES
    )
    parser.add_argument("shell", choices=SHELLS)
    for command in commands.choices.values():
        for action in command._actions:
            if action.dest in _VALUES:
                action.completer = _VALUES[action.dest]


def run(options: argparse.Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["fvl"], shell=options.shell))  # type: ignore[no-untyped-call]
    return 0


def _plans(**_: Any) -> list[str]:
    from free_video_llm.plans.presets import PRESETS

    return [*PRESETS, *(f"{name}@released" for name in PRESETS)]


def _models(**_: Any) -> list[str]:
    from free_video_llm.models.known import MODELS

    return ["tiny", *(model.name for model in MODELS)]


def _sets(**_: Any) -> list[str]:
    from free_video_llm.benchmarks.registry import all_sets

    return [chosen.name for chosen in all_sets()]


#: What completes an option's or an argument's value.
_VALUES = {"plan": _plans, "model": _models, "offer": _models, "set": _sets}
