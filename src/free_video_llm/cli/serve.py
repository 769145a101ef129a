"""`fvl serve`: an OpenAI-compatible server that takes videos."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.cli.common import (
    Subparsers,
    add_command,
    add_model_options,
    load_model,
    plan_of,
    positive,
)
from free_video_llm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from free_video_llm.pipeline import VideoLLM
    from free_video_llm.serve.settings import Settings

EXAMPLES = """\
  fvl serve --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf      http://127.0.0.1:8000/v1
  fvl serve --model ollama:qwen3-vl --plan lean       a server behind it, which so takes videos
  fvl serve --folder ~/videos --fetch-from example.org --jobs ~/fvl-jobs
  FVL_API_KEYS=… fvl serve --host 0.0.0.0 --log json
  fvl serve --page                                    the web page at / as well

  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' -d '
    {"messages": [{"role": "user", "content": [
      {"type": "video_url", "video_url": {"url": "sample:star"}},
      {"type": "text", "text": "What color is the star?"}]}]}'
"""
#: The environment's variable with the keys, with commas between them: an option would stand in
#: every list of processes.
KEYS = "FVL_API_KEYS"


def add_commands(commands: Subparsers) -> None:
    """Add `serve`."""
    parser = add_command(
        commands, "serve", run, "serve an OpenAI-compatible API that takes videos", EXAMPLES
    )
    group = parser.add_argument_group("server")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help=f"where to listen (default: 127.0.0.1, this machine only); others need keys, in "
        f"{KEYS}, or --no-key",
    )
    group.add_argument(
        "--port", type=int, default=8000, metavar="N", help="default: 8000; 0 takes any free one"
    )
    group.add_argument("--no-key", action="store_true", help="let whoever reaches the machine ask")
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name under which the server may be called; several times",
    )
    group.add_argument(
        "--offer",
        action="append",
        default=[],
        metavar="NAME",
        help="a further model; several times",
    )
    group.add_argument("--plan", metavar="PLAN", help="where a request names none")
    group.add_argument(
        "--frames", type=positive, default=50, metavar="N", help="the same (default: 50)"
    )
    group.add_argument(
        "--jobs", type=Path, metavar="FOLDER", help="take jobs of many questions, kept here"
    )
    group.add_argument("--page", action="store_true", help="show the web page at / as well")
    group.add_argument(
        "--log", choices=("text", "json", "none"), default="text", help="on standard error"
    )
    group = parser.add_argument_group("videos that requests may name")
    group.add_argument(
        "--fetch-from",
        action="append",
        default=[],
        metavar="HOST",
        help="a host of web addresses, '*' for any of the public internet; several times "
        "(default: none)",
    )
    group.add_argument(
        "--fetch-private",
        action="store_true",
        help="also where a host is one of a private network, or this machine",
    )
    group.add_argument(
        "--folder",
        dest="folders",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="files below it; several times (default: none)",
    )
    group = parser.add_argument_group("limits")
    for flag, default, text in (
        ("--max-mb", 100, "of a request, a video in it included"),
        ("--max-video-mb", 1000, "of a video that is fetched"),
        ("--max-queue", 64, "requests under way; more are refused with 429"),
        ("--max-candidates", 3600, "frames of a video that may be looked at"),
        ("--batch", 8, "questions that are answered together"),
        ("--answer-seconds", 600, "from a request to its answer"),
        ("--grace-seconds", 30, "that running requests have when the server is stopped"),
    ):
        group.add_argument(
            flag, type=positive, default=default, metavar="N", help=f"{text} (default: {default:,})"
        )
    group.add_argument(
        "--memory-gb",
        type=float,
        default=2.0,
        metavar="GB",
        help="for videos that are kept, so that they are not encoded again (default: 2)",
    )
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from free_video_llm.models.choose import VARIABLE
    from free_video_llm.plans.notation import resolve_plan
    from free_video_llm.serve.server import check_extra, logged_to_stderr, runner, server
    from free_video_llm.serve.settings import LOCAL

    check_extra()
    options.model = options.model or os.environ.get(VARIABLE) or "tiny"
    options.plan = plan_of(options)
    resolve_plan(options.plan)  # a wrong plan is told before a model loads
    settings = _settings(options)
    if options.host not in LOCAL:
        who = "who has a key" if settings.keys else "whoever reaches this machine"
        print(
            f"warning: listening on {options.host}: {who} can ask; there is no encryption "
            "(docs/serve.md)",
            file=sys.stderr,
        )

    @functools.cache
    def load(name: str) -> VideoLLM:
        named = argparse.Namespace(**vars(options))
        named.model = name
        if name != options.model:  # what fits the one may not fit another
            named.scorer = named.conv_mode = named.revision = named.base_url = None
        return load_model(named)

    def ready(url: str) -> None:
        also = f", page at {url}" if options.page else ""
        print(f"fvl serve: {url}/v1{also}  (Ctrl-C ends it)", flush=True)

    # uvicorn raises again what it was told to stop by, when every request has ended; the default
    # would end the process there, without what is left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with (
        logged_to_stderr(form=options.log),
        _page(options, load) as page,
        server(settings, load, page=page) as made,
    ):
        with contextlib.suppress(KeyboardInterrupt):
            runner(made, settings, ready).run(sockets=[made.socket])
        print("fvl serve: stopping; what is being answered is finished", flush=True)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    """Raises ConfigError for what cannot be."""
    from free_video_llm.serve.settings import LOCAL, Bounds, Reach, Settings

    if not options.memory_gb > 0:
        raise ConfigError(f"--memory-gb is more than 0, not {options.memory_gb:g}")
    for folder in options.folders:
        if not folder.is_dir():
            raise ConfigError(f"--folder {folder}: there is no such folder")
    keys = tuple(key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip())
    if any(len(key) < 8 or not key.isascii() or not key.isprintable() for key in keys):
        raise ConfigError(f"a key in {KEYS} has at least 8 letters and digits, commas between keys")
    if options.no_key and keys:
        raise ConfigError(f"{KEYS} is set, and --no-key asks for none: choose one")
    if options.host not in LOCAL and not keys and not options.no_key:
        raise ConfigError(
            f"--host {options.host} lets other machines in: set keys in {KEYS}, or say --no-key"
        )
    return Settings(
        host=options.host,
        port=options.port,
        models=tuple(dict.fromkeys([options.model, *options.offer])),
        plan=options.plan,
        frames=options.frames,
        keys=keys,
        allowed_hosts=tuple(options.allow_host),
        reach=Reach(
            hosts=frozenset(host.lower() for host in options.fetch_from),
            private=options.fetch_private,
            folders=tuple(options.folders),
        ),
        bounds=Bounds(
            body_bytes=options.max_mb * 1_000_000,
            video_bytes=options.max_video_mb * 1_000_000,
            queue=options.max_queue,
            batch=options.batch,
            candidates=options.max_candidates,
            answer_seconds=options.answer_seconds,
            memory_bytes=round(options.memory_gb * 1e9),
        ),
        jobs=options.jobs,
        grace_seconds=options.grace_seconds,
    )


def _page(options: argparse.Namespace, load: Callable[[str], VideoLLM]) -> Any:
    """The web page's application, or None; a context manager."""
    if not options.page:
        return contextlib.nullcontext()
    from free_video_llm.cli.web import PASSWORD
    from free_video_llm.web.limits import Limits
    from free_video_llm.web.server import LOCAL, mounted
    from free_video_llm.web.server import Settings as PageSettings

    settings = PageSettings(
        host=options.host,
        models=tuple(dict.fromkeys([options.model, *options.offer, "tiny"])),
        plan=options.plan,
        frames=options.frames,
        allowed_hosts=tuple(options.allow_host),
        password=os.environ.get(PASSWORD) or None,
        limits=Limits(fetches=options.host in LOCAL),
    )
    return mounted(settings, load)
