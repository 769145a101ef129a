"""What several subcommands share: model and plan options, tables, durations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm import samples
from free_video_llm.cli.progress import WatchBars
from free_video_llm.errors import ConfigError

if TYPE_CHECKING:
    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.pipeline import Video, VideoLLM
    from free_video_llm.plans.plan import Plan
    from free_video_llm.video.ranges import TimeRange

Subparsers = Any  # argparse keeps its type private


def add_command(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    examples: str | Callable[[], str],
) -> argparse.ArgumentParser:
    """Add a subcommand with examples at the end of its help: a text, or what makes it when the help
    is asked for."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plain = parser.format_help

    def format_help() -> str:
        parser.epilog = "examples:\n" + (examples if isinstance(examples, str) else examples())
        return plain()

    parser.format_help = format_help  # type: ignore[method-assign]
    parser.set_defaults(run=run)
    parser.add_argument("-v", "--verbose", action="store_true", help="tell on stderr what is done")
    parser.add_argument(
        "--log-file", type=Path, metavar="FILE", help="append what is done, and what goes wrong"
    )
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, --scorer, --dtype, --device-map, --load-in-8bit, --load-in-4bit, …"""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="Hub id or folder, LLaVA's original layout or transformers'; or behind a server: "
        "openai:NAME, ollama:NAME, lmstudio:, llamacpp:, vllm:, sglang: (fvl models); "
        "default: $FVL_MODEL, or the model of one's settings; for a bundled clip tiny, the "
        "embedded one",
    )
    group.add_argument(
        "--scorer",
        metavar="NAME",
        help="CLIP or SigLIP model that scores frames, a Hub id, folder or 'tiny' "
        "(default: the one that matches)",
    )
    group.add_argument(
        "--revision", metavar="REF", help="commit, tag or branch of a Hub id (default: the newest)"
    )
    group.add_argument("--dtype", choices=("float32", "float16", "bfloat16"))
    group.add_argument(
        "--device", metavar="NAME", help="cuda, cuda:1, mps, cpu (default: the best there is)"
    )
    group.add_argument("--device-map", metavar="MAP", help='as in transformers: "auto", "cpu", …')
    group.add_argument("--load-in-8bit", action="store_true", help="needs a GPU and bitsandbytes")
    group.add_argument("--load-in-4bit", action="store_true", help="needs a GPU and bitsandbytes")
    group.add_argument(
        "--rope-scaling-factor",
        type=float,
        default=1.0,
        metavar="X",
        help="2 lets a Vicuna model hold 8,192 tokens",
    )
    group.add_argument(
        "--conv-mode", metavar="MODE", help="prompt template (default: fits the model)"
    )
    group.add_argument(
        "--engine-url",
        metavar="URL",
        help="a vLLM server that decodes the visual tokens that are built here (docs/servers.md)",
    )
    group.add_argument(
        "--engine", choices=("vllm",), help="decode them by vLLM in this process (if installed)"
    )
    group = parser.add_argument_group("models that are shown pictures, here or behind a server")
    group.add_argument(
        "--level",
        choices=("tokens", "pictures"),
        help="of a model here that can be asked either way (default: tokens)",
    )
    group.add_argument(
        "--base-url",
        metavar="URL",
        help="address of a server (default: OpenAI's, or the local server's)",
    )
    group.add_argument(
        "--frames-as",
        choices=("pictures", "video", "video-twice"),
        default="pictures",
        help="video: whole frames with their places, for a video model behind vLLM; video-twice: "
        "for a Qwen-VL (docs/servers.md)",
    )
    group.add_argument(
        "--max-images", type=positive, metavar="N", help="pictures that are sent at most"
    )
    group.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="of one picture (default: 589824), or of a Qwen-VL's frame (default: 200704)",
    )


def plan_of(options: argparse.Namespace) -> str:
    """The plan that the options name, or one's settings, or the paper's."""
    from free_video_llm.settings import setting

    return options.plan or setting("plan").value or "paper"


def load_model(options: argparse.Namespace, videos: Sequence[str] = ()) -> VideoLLM:
    """The model that the options name, or that fits the videos."""
    from free_video_llm.models.choose import model_for
    from free_video_llm.models.options import LoadOptions
    from free_video_llm.pipeline import VideoLLM
    from free_video_llm.profiling.memory import total_gb

    if options.model is None:
        sources = list(videos) or [options.video]
        own = [video for video in sources if not video.startswith(samples.PREFIX)]
        options.model = model_for((own or sources)[0], memory_gb=total_gb())
    from free_video_llm.models.servers import server_of
    from free_video_llm.settings import setting

    named = {field.name: getattr(options, field.name) for field in fields(LoadOptions)}
    behind = server_of(options.model) is not None
    for name in ("scorer", "device", *(["base_url"] if behind else [])):
        if named[name] is None:
            named[name] = setting(name).value
    return VideoLLM.from_pretrained(options.model, **named)


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """--frames, --fps, --decode, --resize, --cache, --cache-gb, --cache-half."""
    group = parser.add_argument_group("video")
    group.add_argument(
        "--frames",
        type=positive,
        default=50,
        metavar="N",
        help="frames to sample evenly (default: 50)",
    )
    group.add_argument(
        "--start", metavar="TIME", help="look from here on, in seconds or as in 1:02:03"
    )
    group.add_argument("--end", metavar="TIME", help="look up to here")
    group.add_argument(
        "--range",
        dest="ranges",
        action="append",
        default=[],
        metavar="A-B",
        help="a stretch to look at, as in 1:00-1:30; give it several times for several",
    )
    group.add_argument("--fps", type=float, metavar="X", help="so many frames a second instead")
    group.add_argument(
        "--max-candidates",
        type=positive,
        default=3600,
        metavar="N",
        help="of --fps, at most (default: 3600)",
    )
    group.add_argument(
        "--search",
        nargs="?",
        type=float,
        const=0.1,
        metavar="SHARE",
        help="of frames at --fps (default 1), score this share alone (without SHARE: 0.1), where "
        "the picture changes and near what the question is about; for hours",
    )
    group.add_argument(
        "--subtitles",
        metavar="FILE",
        help="a .srt or .vtt file; auto: the one beside the video or within it; or speech: what is "
        "said, written down by faster-whisper. It stands in the prompt, and guides the choice",
    )
    group.add_argument(
        "--decode",
        choices=("exact", "keyframes"),
        default="exact",
        help="keyframes: faster on long films, times are those of the nearest keyframe",
    )
    group.add_argument(
        "--resize",
        choices=("bicubic", "pil"),
        help="pil: frames as the released code makes them, to the bit (default "
        "for a plan @released); bicubic: faster (default otherwise)",
    )
    add_cache_options(group)
    group.add_argument(
        "--cache-half", action="store_true", help="keep half precision: half the room, not exact"
    )


def add_cache_options(parser: Any) -> None:
    """--cache, --cache-gb, to a parser or a group of one."""
    parser.add_argument(
        "--cache",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FOLDER",
        help="keep what the towers say of a video, so that it is not encoded again next time "
        "(without FOLDER: $FVL_CACHE, else ~/.cache/free_video_llm; see fvl cache)",
    )
    parser.add_argument(
        "--cache-gb",
        type=float,
        default=20.0,
        metavar="GB",
        help="room for the cache, the least recently used goes first (default: 20)",
    )


def feature_cache(options: argparse.Namespace, *, half: bool = False) -> FeatureCache | None:
    """The cache that the options name, None if they name none."""
    if options.cache is None:
        return None
    from free_video_llm.encoder.cache import FeatureCache, default_folder

    if not options.cache_gb > 0:
        raise ConfigError(f"--cache-gb is more than 0, not {options.cache_gb:g}")
    folder = default_folder() if options.cache == Path() else options.cache
    return FeatureCache(folder, disk_bytes=round(options.cache_gb * 1e9), half=half)


def ranges_of(options: argparse.Namespace) -> tuple[TimeRange, ...]:
    """The stretches that --start, --end and --range name."""
    from free_video_llm.video.ranges import check_ranges, parse_range

    ranges = check_ranges([parse_range(text) for text in options.ranges])
    if options.start is not None or options.end is not None:
        ranges += check_ranges([(options.start, options.end)])
    return ranges


def watch(
    llm: VideoLLM,
    source: str,
    options: argparse.Namespace,
    *,
    plans: Sequence[Plan],
    ranges: Sequence[TimeRange] | None = None,
) -> Video:
    """Decode and encode the video with a progress bar, after the notice that `tiny` needs.

    Frames are read and encoded as the plans that will be asked for need it.
    """
    all_released = all(plan.rules == "released" for plan in plans)
    if llm.name == "tiny" and not samples.is_sample(samples.find(source)) and not is_quiet(options):
        print(
            "note: the embedded model 'tiny' knows only coloured shapes, not the real world; name "
            "a real one with --model, e.g. --model llava-hf/llava-v1.6-vicuna-7b-hf (fvl models)",
            file=sys.stderr,
        )
    with WatchBars() as bars:
        return llm.watch(
            source,
            frames=options.frames,
            fps=options.fps,
            max_candidates=options.max_candidates,
            search=options.search,
            subtitles=options.subtitles,
            ranges=ranges_of(options) if ranges is None else ranges,
            mode=options.decode,
            rules="released" if all_released else "corrected",
            resize=options.resize,
            cache=feature_cache(options, half=options.cache_half),
            plan=plans,
            progress=bars,
        )


def is_quiet(options: argparse.Namespace) -> bool:
    """Whether nothing but the answer is wanted."""
    return bool(getattr(options, "quiet", False))


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return value


def clock(seconds: float) -> str:
    """1:02.5 for 62.5 seconds."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def table(rows: Sequence[tuple[str, ...]], *, indent: str = "") -> str:
    """Left-aligned columns under a heading, the last one free: on a terminal by Rich, the heading
    bold and long cells folded within its width; elsewhere plain."""
    if sys.stdout.isatty():
        return _rich_table(rows, indent=indent)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append(indent + "  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def _rich_table(rows: Sequence[tuple[str, ...]], *, indent: str) -> str:
    import io

    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(rows[0]):
        made.add_column(name, no_wrap=place < len(rows[0]) - 1, overflow="fold")
    for row in rows[1:]:
        made.add_row(*row)
    held = io.StringIO()
    Console(file=held, force_terminal=True, highlight=False, markup=False).print(
        Padding(made, (0, 0, 0, len(indent)))
    )
    return "\n".join(line.rstrip() for line in held.getvalue().rstrip("\n").splitlines())
