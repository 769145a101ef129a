"""`fvl mcp`: tools for agents, by the Model Context Protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from free_video_llm.cli.common import Subparsers, add_command, add_model_options, load_model
from free_video_llm.errors import MissingExtraError

if TYPE_CHECKING:
    from free_video_llm.pipeline import VideoLLM

EXAMPLES = """\
  fvl mcp                                      frames only: the agent looks at them itself
  fvl mcp --model ollama:qwen3-vl              answers too
  fvl mcp --folder ~/videos                    only of these

  in an agent's settings:
    {"mcpServers": {"videos": {"command": "fvl", "args": ["mcp", "--folder", "/home/me/videos"]}}}
"""


def add_commands(commands: Subparsers) -> None:
    """Add `mcp`."""
    parser = add_command(
        commands, "mcp", run, "give agents the frames that a question is about (MCP, on stdio)",
        EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--plan", default="lean", metavar="PLAN", help="where a call names none")
    parser.add_argument(
        "--folder",
        dest="folders",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="videos below it alone; several times (default: whatever you may read)",
    )
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Serve on standard input and output until they end."""
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "agents are served by the mcp package: pip install 'free-video-llm[mcp]'"
        ) from None
    from free_video_llm.integrations.mcp_server import build_server, check_folders
    from free_video_llm.pipeline import VideoLLM
    from free_video_llm.plans.notation import resolve_plan

    check_folders(options.folders)
    resolve_plan(options.plan)

    def load() -> VideoLLM:
        if options.model is not None:
            return load_model(options)
        return VideoLLM.for_frames(options.scorer, device=options.device)

    server = build_server(
        load, answers=options.model is not None, folders=options.folders, plan=options.plan
    )
    server.run("stdio")
    return 0
