"""`fvl config`: what is settled once for all commands, and where it was."""

from __future__ import annotations

import argparse
import json

from free_video_llm.cli.common import Subparsers, add_command, table
from free_video_llm.errors import ConfigError

EXAMPLES = """\
  fvl config                          what is settled, and where it came from
  fvl config set model ollama:qwen2.5vl:3b
  fvl config set plan lean
  fvl config unset plan
"""


def add_commands(commands: Subparsers) -> None:
    """Add `config`."""
    parser = add_command(commands, "config", run_config, "settle options once for all", EXAMPLES)
    parser.add_argument("action", nargs="?", choices=("show", "set", "unset"), default="show")
    parser.add_argument("name", nargs="?", help="model, scorer, device, plan, base_url, cache")
    parser.add_argument("value", nargs="?")
    parser.add_argument("--json", action="store_true", help="show as JSON")


def run_config(options: argparse.Namespace) -> int:
    """Show, set or unset."""
    from free_video_llm.settings import VARIABLES, all_settings, settings_file, settle

    if options.action != "show":
        setting = options.action == "set"
        if options.name is None or (options.value is not None) != setting:
            raise ConfigError(
                "fvl config set NAME VALUE, or fvl config unset NAME; names are "
                f"{', '.join(VARIABLES)}"
            )
        print(settle(options.name, options.value if setting else None))
        return 0
    found = all_settings()
    if options.json:
        print(json.dumps({name: vars(one) for name, one in found.items()}, indent=1))
        return 0
    rows = [(name, one.value or "–", one.origin) for name, one in found.items()]
    print(table([("setting", "value", "from"), *rows]))
    print(f"\na command's options come first, then variables such as $FVL_MODEL, then\n"
          f"{settings_file()}")  # fmt: skip
    return 0
