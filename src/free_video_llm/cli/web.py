"""`fvl web`: the web page, on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from free_video_llm.cli.common import (
    Subparsers,
    add_command,
    add_model_options,
    load_model,
    positive,
)
from free_video_llm.errors import ConfigError
from free_video_llm.models.known import MODELS

if TYPE_CHECKING:
    from free_video_llm.pipeline import VideoLLM

EXAMPLES = """\
  fvl web                                   http://127.0.0.1:7860, with the embedded model
  fvl web --model llava-hf/llava-v1.6-vicuna-7b-hf --load-in-4bit --port 8000
  fvl web --plan paper-small --frames 100 --max-minutes 60 --max-mb 1000
  FVL_WEB_PASSWORD=… fvl web --host 0.0.0.0 --offer ./llava-v1.6-vicuna-7b --max-queue 8
  fvl web --root-path https://example.org/videos        behind a proxy (docs/web.md)
"""
#: The environment's variable with the visitors' password: an option would stand in every list of
#: processes.
PASSWORD = "FVL_WEB_PASSWORD"
#: Models of local servers that the page lists at most.
MOST_BEHIND = 30


def add_commands(commands: Subparsers) -> None:
    """Add `web`."""
    parser = add_command(
        commands, "web", run, "serve a web page for asking videos questions", EXAMPLES
    )
    group = parser.add_argument_group("server")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1, this machine only); others need a password, "
        f"in {PASSWORD}, or --no-password",
    )
    group.add_argument(
        "--no-password",
        action="store_true",
        help="let whoever reaches the machine use the page",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the server may be called; several times (default: on this machine "
        "its own names, with another --host any)",
    )
    group.add_argument(
        "--port", type=int, default=7860, metavar="N", help="default: 7860; 0 takes any free one"
    )
    group.add_argument(
        "--root-path", metavar="URL", help="the page's address where a proxy shows it"
    )
    group = parser.add_argument_group("page")
    group.add_argument("--plan", default="paper", metavar="PLAN", help="shown at first")
    group.add_argument(
        "--frames", type=positive, default=50, metavar="N", help="shown at first (default: 50)"
    )
    group.add_argument(
        "--offer",
        action="append",
        default=[],
        metavar="NAME",
        help="a further model to choose from; several times (default: on this machine those of "
        "local servers that run and those of fvl models that fit, with another --host none: "
        "visitors could have them downloaded)",
    )
    group.add_argument(
        "--no-example", action="store_true", help="open pages without an example that is answered"
    )
    group.add_argument(
        "--fetch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether clips are fetched from addresses that visitors give (default: on this "
        "machine yes, with another --host no); never from private networks",
    )
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-mb", type=positive, default=200, metavar="N", help="size of a clip (default: 200)"
    )
    group.add_argument(
        "--max-minutes", type=float, default=10.0, metavar="X", help="its length (default: 10)"
    )
    group.add_argument(
        "--max-frames", type=positive, default=200, metavar="N", help="to sample (default: 200)"
    )
    group.add_argument(
        "--max-queue",
        type=positive,
        default=16,
        metavar="N",
        help="questions that may wait (default: 16)",
    )
    group.add_argument(
        "--memory-gb",
        type=float,
        default=2.0,
        metavar="GB",
        help="for watched videos of all visitors together (default: 2)",
    )
    group.add_argument(
        "--keep-minutes",
        type=float,
        default=60.0,
        metavar="X",
        help="a clip that is not asked about is deleted after so long (default: 60)",
    )
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from free_video_llm.models.choose import VARIABLE
    from free_video_llm.plans.notation import resolve_plan
    from free_video_llm.web.limits import Limits
    from free_video_llm.web.server import LOCAL, Settings, check_gradio, serve

    check_gradio()
    for name in ("max_minutes", "memory_gb", "keep_minutes"):
        if not getattr(options, name) > 0:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} is more than 0, not {getattr(options, name):g}")
    if options.frames > options.max_frames:
        raise ConfigError(
            f"--frames {options.frames} is more than --max-frames {options.max_frames}"
        )
    options.model = options.model or os.environ.get(VARIABLE) or "tiny"
    password = _password(options, local=options.host in LOCAL)
    resolve_plan(options.plan)  # a wrong plan is told before a model loads
    limits = Limits(
        file_bytes=options.max_mb * 1_000_000,
        clip_seconds=options.max_minutes * 60,
        frames=options.max_frames,
        queue=options.max_queue,
        memory_bytes=round(options.memory_gb * 1e9),
        idle_seconds=options.keep_minutes * 60,
        fetches=options.host in LOCAL if options.fetch is None else options.fetch,
    )
    settings = Settings(
        host=options.host,
        port=options.port,
        models=offered(options.model, options.offer, local=options.host in LOCAL),
        plan=options.plan,
        frames=options.frames,
        limits=limits,
        root_path=options.root_path,
        allowed_hosts=tuple(options.allow_host),
        password=password,
        arrival=not options.no_example,
    )
    if options.host not in LOCAL:
        who = "who has the password" if password else "whoever reaches this machine"
        print(
            f"warning: listening on {options.host}: {who} can use the page; "
            "there is no encryption (docs/web.md)",
            file=sys.stderr,
        )

    def load(name: str) -> VideoLLM:
        named = argparse.Namespace(**vars(options))
        named.model = name
        if name != options.model:  # what fits the one may not fit another
            named.scorer = named.conv_mode = named.revision = named.base_url = None
            if name == "tiny":  # which is not to be made smaller still
                named.load_in_8bit = named.load_in_4bit = False
        return load_model(named)

    def ready(url: str) -> None:
        print(f"fvl web: {url}  (Ctrl-C ends it and deletes what was uploaded)", flush=True)

    serve(settings, load, ready=ready)
    return 0


def _password(options: argparse.Namespace, *, local: bool) -> str | None:
    """The visitors' password. Raises ConfigError where other machines may come and none is set."""
    password = os.environ.get(PASSWORD) or None
    if options.no_password and password is not None:
        raise ConfigError(f"{PASSWORD} is set, and --no-password asks for none: choose one")
    if not local and password is None and not options.no_password:
        raise ConfigError(
            f"--host {options.host} lets other machines in: set a password in {PASSWORD}, or say "
            "--no-password"
        )
    return password


def _of_this_machine() -> list[str]:
    """What the local servers that run have, and the known models that fit into the memory."""
    import torch

    from free_video_llm.models.servers import running
    from free_video_llm.profiling.memory import total_gb

    behind = [f"{prefix}:{name}" for prefix, names in running().items() for name in names]
    bits, room = (16 if torch.cuda.is_available() else 32), 0.9 * (total_gb() or 0)
    return [*behind[:MOST_BEHIND], *(m.name for m in MODELS if m.memory_gb(bits) <= room)]


def offered(first: str, further: list[str], *, local: bool) -> tuple[str, ...]:
    """The models to choose from, the first one shown at first.

    Examples:
        >>> offered("tiny", ["./mine"], local=False)
        ('tiny', './mine')
    """
    names = [first, *further]
    if not further and local:
        names += _of_this_machine()
    if "tiny" not in names:
        names.append("tiny")
    return tuple(dict.fromkeys(names))
