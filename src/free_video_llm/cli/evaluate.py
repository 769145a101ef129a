"""The subcommands prepare, check and eval, and those of `judging.py`: they parse and print."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from free_video_llm.cli import judging
from free_video_llm.cli.common import (
    Subparsers,
    add_cache_options,
    add_command,
    feature_cache,
    positive,
)
from free_video_llm.cli.progress import Bar, RunBar, print_json
from free_video_llm.errors import ConfigError

GT = "playground/gt_qa_files"
HUB = "playground/hub"


def add_commands(commands: Subparsers) -> None:
    """Add the subcommands; each sets `run`, a function from its options to an exit code."""
    _add_prepare(commands)
    _add_check(commands)
    _add_eval(commands)
    judging.add_commands(commands)


# --- prepare ------------------------------------------------------------------------------------


PREPARE = """\
  fvl prepare msvd --csv MSVD_QA.csv      into playground/gt_qa_files/MSVD_Zero_Shot_QA/
  fvl prepare toy --out toy --videos 20   makes toy/Toy_QA.csv and toy/videos/
  fvl prepare videomme                    what the Hub has of it, how large, under which licence
  fvl prepare videomme --fetch            its questions, into playground/hub/videomme/
  fvl prepare mvbench --fetch --with-videos       what is there already is not fetched again
"""


def set_names() -> list[str]:
    """The question sets, those of other packages too."""
    from free_video_llm.benchmarks.registry import all_sets

    return [chosen.name for chosen in all_sets()]


def _add_prepare(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "prepare",
        run_prepare,
        "write a question set's files in the released layout, fetch one, or make the toy set",
        lambda: PREPARE + "\nsets: " + ", ".join(set_names()),
    )
    parser.add_argument("set", metavar="SET", help="the question set")
    parser.add_argument("--csv", metavar="FILE", help="its CSV file, in IG-VLM's form")
    parser.add_argument("--gt", default=GT, metavar="DIR", help=f"where to write (default: {GT})")
    hub = parser.add_argument_group("sets on the Hugging Face Hub")
    hub.add_argument("--fetch", action="store_true", help="fetch the questions")
    hub.add_argument("--with-videos", action="store_true", help="and the videos' archives")
    hub.add_argument("--into", default=HUB, metavar="DIR", help=f"where to (default: {HUB})")
    toy = parser.add_argument_group("toy set")
    toy.add_argument("--out", default="toy", metavar="DIR", help="where to write (default: toy)")
    toy.add_argument("--videos", type=positive, default=20, metavar="N", help="default: 20")
    toy.add_argument("--questions", type=positive, default=5, metavar="N",
                     help="at most, for each video (default: 5)")  # fmt: skip
    toy.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run_prepare(options: argparse.Namespace) -> int:
    from free_video_llm.benchmarks import get_set

    chosen = get_set(options.set)
    written: dict[str, Any]
    if options.csv is None and chosen.name == "toy":
        from free_video_llm.benchmarks.toy import write_toy_set

        with Bar("videos") as bar:
            csv, videos, rows = write_toy_set(
                options.out,
                videos=options.videos,
                questions=options.questions,
                seed=options.seed,
                progress=bar,
            )
        written = {"set": "toy", "rows": rows, "files": [str(csv)], "videos": str(videos)}
    elif options.csv is None:
        return _prepare_from_hub(chosen, options)
    elif chosen.tabular:
        raise ConfigError(
            f"{chosen.title} is read as it is: fvl eval names its file in `questions`"
        )
    else:
        from free_video_llm.benchmarks.read import write_layout

        rows, files = write_layout(chosen, Path(options.csv), Path(options.gt))
        written = {"set": chosen.name, "rows": rows, "files": [str(file) for file in files]}
    if options.json:
        print_json(written)
    else:
        print(f"{rows:,} rows written to {' and '.join(written['files'])}")
    return 0


def _prepare_from_hub(chosen: Any, options: argparse.Namespace) -> int:
    """Say what the Hub has of a set, and fetch it where that is asked for."""
    from free_video_llm.benchmarks.hub import fetch_set, list_set

    if chosen.hub is None:
        raise ConfigError(f"give the CSV file of {chosen.title}: --csv FILE")
    found = list_set(chosen)
    paths: list[Path] = []
    folder = Path(options.into) / chosen.name
    if options.fetch or options.with_videos:
        with Bar("files") as bar:
            paths = fetch_set(found, folder, videos=options.with_videos, progress=bar)
    if options.json:
        print_json(found.to_dict() | {"set": chosen.name, "fetched": [str(p) for p in paths]})
        return 0
    print(f"{chosen.title}: https://huggingface.co/datasets/{found.repository}")
    notes = [f"licence: {found.licence}", found.note, "access is asked for there" * found.gated]
    print("  " + "; ".join(dict.fromkeys(filter(None, notes))))
    for what, files in (("questions", found.questions), ("videos", found.videos)):
        size = sum(file.bytes for file in files)
        print(f"  {what}: {len(files)} files, {_size(size)}" if files else f"  {what}: not there")
    if not paths:
        print(f"  next: fvl prepare {chosen.name} --fetch (--with-videos)")
        return 0
    print(f"  {len(paths)} files in {folder}")
    asked = sorted({str(path.parent) for path in paths[: len(found.questions)]})
    if options.with_videos:
        print("  next: unpack the archives there")
    print(f"  in a configuration: {{set: {chosen.name}, questions: {asked[0]}, videos: DIR}}")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


# --- check --------------------------------------------------------------------------------------


def _add_check(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "check",
        run_check,
        "check a question set before a run: rows, videos, what is missing or unreadable",
        "  fvl check msvd                              the released layout\n"
        "  fvl check tgif --questions TGIF_FrameQA.csv --videos gifs/\n\n"
        "exit code: 0 if every row can be asked, else 1",
    )
    parser.add_argument("set", metavar="SET", help="the question set, or a run's YAML file")
    parser.add_argument("--questions", metavar="PATH", help=f"CSV, JSON or folder (default: {GT})")
    parser.add_argument("--videos", metavar="DIR", help="default: the released layout's folder")
    parser.add_argument("--no-open", action="store_true", help="only find the videos")
    parser.add_argument("--json", action="store_true", help="print as JSON, with every name")


def run_check(options: argparse.Namespace) -> int:
    from free_video_llm.benchmarks import get_set
    from free_video_llm.evaluation.check import check_set
    from free_video_llm.evaluation.config import RunConfig, Task
    from free_video_llm.evaluation.config_file import read_config
    from free_video_llm.evaluation.task import questions_source, videos_source

    if options.set.endswith((".yaml", ".yml")):
        config = read_config(options.set)
    else:
        task = Task(set=options.set, questions=options.questions, videos=options.videos)
        config = RunConfig(name="check", tasks=(task,))
    checks = []
    for task in config.tasks:
        with Bar("videos") as bar:
            checks.append(
                check_set(
                    get_set(task.set),
                    options.questions or questions_source(config, task),
                    options.videos or videos_source(config, task),
                    open_videos=not options.no_open,
                    progress=bar,
                )
            )
    if options.json:
        print_json([check.to_dict() for check in checks])
    else:
        for check in checks:
            print("\n".join(_check_lines(check)))
    return 0 if all(check.good for check in checks) else 1


def _check_lines(check: Any) -> list[str]:
    from free_video_llm.evaluation.render import printable

    lines = [f"{check.set}: {check.rows:,} rows on {check.videos:,} videos"]
    lines.append(f"  found       {check.found:,}")
    lines.append(f"  missing     {len(check.missing):,}")
    unreadable = f"{len(check.unreadable):,}" if check.opened else "not looked at"
    lines.append(f"  unreadable  {unreadable}")
    if check.rows_without_video:
        lines.append(f"  rows that would fail for it: {check.rows_without_video:,}")
    lines += [f"  {rows:,} rows: {problem}" for problem, rows in check.problems.items()]
    for names in (check.missing, check.unreadable):
        lines += [f"    {printable(reason)}" for reason in list(names.values())[:5]]
        if len(names) > 5:
            lines.append(f"    … and {len(names) - 5:,} more (--json names all)")
    return lines


# --- eval ---------------------------------------------------------------------------------------


def _add_eval(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "eval",
        run_eval,
        "answer the question sets of a configuration; the same command goes on after a stop",
        "  fvl eval configs/toy.yaml\n"
        "  fvl eval cfgs/free_video_llm_7b.yaml --set msvd      a released file, one of its sets\n"
        "  fvl eval run.yaml --limit 100                        the first 100 rows\n"
        "  fvl eval run.yaml --shard 2/8                        one of eight machines\n"
        "  fvl eval run.yaml --workers 8                        Ray: one model for each GPU\n"
        "  fvl eval run.yaml --cache                            never encode a video again\n"
        "  fvl eval sweep.yaml            with lists, as in plan: [paper, lean]: a run for each\n"
        "  fvl eval my.csv --videos films/ --model NAME         questions of one's own: columns\n"
        "      video, question, answer; where wanted options, start, end (.jsonl, .parquet too)\n\n"
        "exit code: 0 if every row wanted was answered, else 1 (failed rows: --retry-failed)",
    )
    parser.set_defaults(keeps=True)
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="a YAML file, ours or a released one; or a file of questions",
    )
    parser.add_argument("--set", metavar="SET", help="only this one of its question sets")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N rows of a set"
    )
    parser.add_argument("--shard", metavar="I/N", help="only part I of N, for N machines")
    parser.add_argument("--workers", type=positive, metavar="N",
                        help="N Ray actors, one for each GPU or CPU (extra: cluster)")  # fmt: skip
    parser.add_argument("--retry-failed", action="store_true", help="try failed rows again")
    add_cache_options(parser)
    own = parser.add_argument_group("a file of questions, in the place of a configuration")
    own.add_argument("--videos", metavar="DIR", help="their folder (default: the file's own)")
    own.add_argument("--subtitles", metavar="DIR", help="of the subtitles, or auto")
    own.add_argument("--name", help="of the run (default: the file's)")
    own.add_argument("--model", metavar="NAME", help="a Hub id, a folder, a server's model, 'tiny'")
    own.add_argument("--plan", metavar="PLAN", help="a preset or a notation")
    own.add_argument("--frames", type=positive, metavar="N", help="default: 50")
    own.add_argument("--fps", type=float, metavar="X", help="so many frames a second instead")
    parser.add_argument("--print-config", action="store_true",
                        help="print the configuration as our YAML and stop")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run_eval(options: argparse.Namespace) -> int:
    from free_video_llm.evaluation.config_file import print_config, read_configs
    from free_video_llm.evaluation.units import Shard

    own = is_own(options.config)
    configs = [own_config(options)] if own else read_configs(options.config)
    if options.print_config:
        print("---\n".join(map(print_config, configs)), end="")
        return 0
    from free_video_llm.errors import one_of
    from free_video_llm.evaluation.run import run_task

    shard = Shard.parse(options.shard) if options.shard else None
    cache = feature_cache(options)
    load = _Models()
    tasks = [(config, task) for config in configs for task in config.tasks]
    if options.set is not None:
        names = [task.set for _, task in tasks]
        one_of("question set of this file", options.set, dict.fromkeys(names), ConfigError)
        tasks = [pair for pair in tasks if pair[1].set == options.set]
    outcomes = []
    for config, task in tasks:
        with RunBar() as bar:
            outcomes.append(
                run_task(
                    config,
                    task,
                    limit=options.limit,
                    shard=shard,
                    retry_failed=options.retry_failed,
                    workers=options.workers or 0,
                    cache=cache,
                    load=load,
                    progress=bar,
                )
            )
        if not options.json:
            print(_outcome_line(outcomes[-1]))
    if options.json:
        print_json([outcome.to_dict() for outcome in outcomes])
    whole = options.limit is None and shard is None
    good = all(not o.failed and not (whole and o.not_reached) for o in outcomes)
    return 0 if good else 1


class _Models:
    """Loads a run's model, once for all runs in a row that have the same, and not where nothing is
    left to do."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._held: Any = None

    def __call__(self, config: Any) -> Any:
        from free_video_llm.evaluation.task import load_model

        key = repr((config.model, config.load_options(), config.devices))
        if key != self._key:
            self._held = None  # the one before makes room first
            self._held, self._key = load_model(config), key
        return self._held


def is_own(path: str) -> bool:
    """Whether a file is one of questions, not a configuration."""
    return path.endswith((".csv", ".jsonl", ".parquet"))


def own_config(options: argparse.Namespace) -> Any:
    """The configuration of a run over a file of one's own. Raises ConfigError, or CheckpointError
    where no model is named."""
    from free_video_llm.cli.common import plan_of
    from free_video_llm.evaluation.config import RunConfig, Task
    from free_video_llm.models.choose import model_for
    from free_video_llm.profiling.memory import total_gb
    from free_video_llm.settings import setting

    path = Path(options.config)
    if not path.is_file():
        raise ConfigError(f"no question file {path}: check the path")
    task = Task(
        set="own",
        questions=str(path),
        videos=options.videos or str(path.parent),
        subtitles=options.subtitles,
    )
    name = re.sub(r"[^A-Za-z0-9._+@=,-]+", "_", path.stem).lstrip("._+@=,-") or "own"
    given = {"frames": options.frames, "fps": options.fps, "scorer": setting("scorer").value}
    return RunConfig(
        name=options.name or name,
        tasks=(task,),
        model=options.model or model_for(str(path), memory_gb=total_gb()),
        plan=plan_of(options),
        **{key: value for key, value in given.items() if value is not None},
    )


def _outcome_line(outcome: Any) -> str:
    speed = f", {outcome.new / outcome.seconds:.2f} questions/s" if outcome.new else ""
    return (
        f"{outcome.set}: {outcome.rows:,} rows: {outcome.answered:,} answered, "
        f"{outcome.failed:,} failed, {outcome.not_reached:,} not reached ({outcome.new:,} new in "
        f"{outcome.seconds:.1f} s{speed})\n  {outcome.folder}\n  next: fvl report {outcome.folder}"
    )
