"""The subcommands on a run's results: judge, report, compare. They only parse and print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.cli.common import Subparsers, add_command, positive
from free_video_llm.cli.progress import Bar, print_json
from free_video_llm.errors import ConfigError

if TYPE_CHECKING:
    from free_video_llm.evaluation.compare import Comparison
    from free_video_llm.evaluation.judge_server import Judge
    from free_video_llm.evaluation.page_frames import PageFrames

LOGS = "outputs/logs"


def add_commands(commands: Subparsers) -> None:
    """Add the subcommands."""
    _add_judge(commands)
    _add_report(commands)
    _add_compare(commands)


# --- judge --------------------------------------------------------------------------------------


def _add_judge(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "judge",
        run_judge,
        "have a run's answers judged by a language model; nothing is asked (or paid) twice",
        "  fvl judge outputs/artifacts/msvd/free_video_llm_7b --judge openai:gpt-3.5-turbo-0125\n"
        "  fvl judge RUN --judge openai:qwen --base-url http://127.0.0.1:8000/v1\n"
        "  fvl judge RUN --judge openai:o4-mini --without temperature --without max_tokens "
        "--param max_completion_tokens=1000\n"
        "  fvl judge RUN --judge openai:gpt-3.5-turbo-0125 --dry-run      what it would cost\n\n"
        "OPENAI_API_KEY and OPENAI_ORG are read from the environment.\n"
        "exit code: 0 if every answer was judged, else 1",
    )
    parser.set_defaults(keeps=True)
    parser.add_argument("results", metavar="RUN", help="a run's folder")
    parser.add_argument("--judge", required=True, metavar="openai:MODEL", help="the exact model")
    parser.add_argument("--base-url", metavar="URL", help="any OpenAI-compatible server")
    parser.add_argument("--replies", metavar="DIR",
                        help="where replies are kept (default: as configured)")  # fmt: skip
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="default: 8")
    parser.add_argument("--retries", type=int, default=5, metavar="N",
                        help="of a request, on 429, 5xx and timeouts (default: 5)")  # fmt: skip
    parser.add_argument("--attempts", type=positive, default=3, metavar="N",
                        help="for a readable reply (default: 3)")  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="default: 60"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--max-tokens", type=positive, default=64, metavar="N", help="default: 64")
    parser.add_argument("--reply-format", choices=("text", "json_object", "json_schema"),
                        default="text", help="what the server is asked for")  # fmt: skip
    parser.add_argument("--without", action="append", default=[], metavar="NAME",
                        choices=("temperature", "seed", "max_tokens"),
                        help="do not send temperature, seed or max_tokens, for servers that refuse "
                        "it; several times")  # fmt: skip
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", type=_param,
                        help="send this too, as in max_completion_tokens=1000")  # fmt: skip
    parser.add_argument("--price", type=_price, metavar="IN/OUT",
                        help="US dollars for a million tokens, as in 0.5/1.5")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="show what it would take, and stop")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def _price(text: str) -> tuple[float, float]:
    try:
        tokens_in, tokens_out = (float(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"two numbers as in 0.5/1.5, not {text!r}") from None
    return tokens_in, tokens_out


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"NAME=VALUE, as in max_tokens=64, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def run_judge(options: argparse.Namespace) -> int:
    from free_video_llm.evaluation.judge import Judging
    from free_video_llm.evaluation.judge_server import Judge, with_options
    from free_video_llm.evaluation.run_dir import find_run

    if not 0 <= options.retries <= 100 or not options.timeout > 0:
        raise ConfigError("--retries is 0 to 100, --timeout above 0")
    judge = with_options(
        Judge.parse(options.judge),
        base_url=options.base_url,
        concurrency=options.concurrency,
        retries=options.retries,
        attempts=options.attempts,
        timeout_seconds=options.timeout,
        seed=options.seed,
        max_tokens=options.max_tokens,
        reply_format=options.reply_format,
        price=options.price,
        without=tuple(options.without),
        extra=tuple(options.param),
    )
    run = find_run(options.results)
    about = run.read_run() or {}
    kept = about.get("full_config", {}).get("replies", "outputs/eval_save_dir")
    with Judging(run, judge, options.replies or kept) as judging:
        estimate = judging.estimate()
        if not options.json or options.dry_run:
            out = sys.stdout if options.dry_run and not options.json else sys.stderr
            print(
                f"{estimate.rows:,} answers; {estimate.requests:,} requests to make, about "
                f"{estimate.tokens_in:,} tokens in and {estimate.tokens_out:,} out"
                f"{_dollars(judge, estimate.cost)}",
                file=out,
            )
        if options.dry_run:
            if options.json:
                print_json(vars(estimate))
            return 0
        with Bar("judged") as bar:
            tally = judging.ask_all(bar)
    cost = judge.cost(tally.tokens_in, tally.tokens_out)
    if options.json:
        print_json(vars(tally) | {"cost": cost, "judge": judge.slug})
    else:
        models = ", ".join(tally.models) or "the server named none"
        print(
            f"{tally.rows:,} answers: {tally.judged:,} judged, {tally.judge_failed:,} judge "
            f"failed, {tally.not_judged:,} not judged (exact model: {models})\n"
            f"{tally.requests:,} requests, {tally.tokens_in:,} tokens in, {tally.tokens_out:,} out"
            f"{_dollars(judge, cost)}\nnext: fvl report {run.path}"
        )
    for reason, count in tally.reasons:
        print(f"fvl: no verdict for {count:,}: {reason}", file=sys.stderr)
    if tally.stopped:
        print(f"fvl: {tally.stopped}", file=sys.stderr)
    return 0 if tally.judged == tally.rows else 1


def _dollars(judge: Judge, cost: float | None) -> str:
    """As in ", $0.0123 (at $0.5 in and $1.5 out a million)": prices change, so they are shown."""
    if cost is None or judge.price is None:
        return ", price not known (--price)"
    amount = f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"
    return f", ${amount} (at ${judge.price[0]:g} in and ${judge.price[1]:g} out a million)"


# --- report -------------------------------------------------------------------------------------


def _add_report(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "report",
        run_report,
        "show a run's figures, and write them as JSON, Markdown and one HTML page",
        "  fvl report outputs/artifacts/msvd/free_video_llm_7b\n"
        "  fvl report RUN --json | jq .total.accuracy\n"
        "  fvl report RUN --truth cgbench.json\n"
        "  fvl report RUN --frames                        the page shows the kept frames\n"
        "  fvl report outputs/artifacts/*/sweep-* --table all.md --chart all.png\n"
        "  fvl report RUN --log trackio                   or wandb: figures to an experiment log",
    )
    parser.add_argument("results", metavar="RUN", nargs="+", help="a run's folder")
    parser.add_argument("--logs", metavar="DIR",
                        help="where to write (default: as configured)")  # fmt: skip
    parser.add_argument("--sample", type=positive, default=20, metavar="N",
                        help="rows in each sample (default: 20)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random sample")
    parser.add_argument("--truth", metavar="FILE",
                        help="what answers rest on, .json, .jsonl or .csv in the form of CG-Bench, "
                        "LV-Haystack, NExT-GQA or one's own, to score the evidence by")  # fmt: skip
    _add_frames(parser)
    parser.add_argument("--table", metavar="FILE", type=Path,
                        help="of several runs: method by set, .md, .tex or .csv")  # fmt: skip
    parser.add_argument("--chart", metavar="FILE", type=Path,
                        help="accuracy against tokens and seconds, .png, .svg or .pdf")  # fmt: skip
    parser.add_argument("--metric", metavar="NAME",
                        help="of table and chart: exact, contains, choice, or a judge's file name "
                        "(default: a judge, else choice, else contains)")  # fmt: skip
    add_log_options(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Where else figures go."""
    parser.add_argument("--log", metavar="NAME",
                        help="log the figures to trackio or wandb, as each is set up "
                        "(extra: tracking)")  # fmt: skip
    parser.add_argument("--project", default="free-video-llm", metavar="NAME",
                        help="of --log (default: free-video-llm)")  # fmt: skip


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", action="store_true",
                        help="decode the kept frames and put them into the page")  # fmt: skip
    parser.add_argument("--videos", metavar="DIR", help="of --frames (default: as the run had it)")


def _page_frames(
    options: argparse.Namespace, run: dict[str, Any], rows: list[dict[str, Any]]
) -> PageFrames | None:
    """The kept frames of some rows, if they are wanted."""
    if not options.frames:
        return None
    from free_video_llm.benchmarks.videos import VideoFolder
    from free_video_llm.evaluation.page_frames import PageFrames

    kept = PageFrames(VideoFolder(options.videos or run["paths"]["videos"]))
    with Bar("rows") as bar:
        kept.read(rows, bar)
    return kept


def run_report(options: argparse.Namespace) -> int:
    from free_video_llm.evaluation.render import render_text
    from free_video_llm.evaluation.report import make_report
    from free_video_llm.evaluation.run_dir import find_run
    from free_video_llm.evaluation.tracking import log_report
    from free_video_llm.evaluation.write_report import write_report

    truth = None
    if options.truth is not None:
        from free_video_llm.evaluation.truth import read_truth

        truth = read_truth(options.truth)
    reports, made = [], []
    for path in options.results:
        report = make_report(find_run(path), sample=options.sample, seed=options.seed, truth=truth)
        logs = options.logs or report.run.get("full_config", {}).get("logs", LOGS)
        kept = _page_frames(options, report.run, [*report.worst, *report.random])
        written = write_report(report, logs, kept=kept)
        if options.log is not None:
            log_report(report, to=options.log, project=options.project)
        reports.append(report.to_dict())
        made.append(report)
        if not options.json and len(options.results) == 1:
            print(render_text(report))
        if not options.json:
            print("written: " + ", ".join(str(path) for path in written))
    if len(made) > 1 or options.table or options.chart:
        _show_together(made, options)
    if options.json:
        print_json(reports[0] if len(reports) == 1 else reports)
    return 0


def _show_together(made: list[Any], options: argparse.Namespace) -> None:
    """Several runs in one table, and as a chart."""
    from free_video_llm.cli.common import table
    from free_video_llm.evaluation.results_table import table_of, write_chart, write_table

    together = table_of(made, metric=options.metric)
    if not options.json:
        print("\n" + table(together.rows()))
    for path, write in ((options.table, write_table), (options.chart, write_chart)):
        if path is not None:
            written = write(together, path)
            if not options.json:
                print(f"written: {written}")


# --- compare ------------------------------------------------------------------------------------


def _add_compare(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "compare",
        run_compare,
        "compare runs over the same questions, pair by pair, with an interval",
        "  fvl compare outputs/artifacts/msvd/paper outputs/artifacts/msvd/slowfast\n"
        "  fvl compare RUN RUN RUN --metric exact --json\n"
        "  fvl compare RUN RUN --page apart.html --frames     where they part, side by side",
    )
    parser.add_argument("results", metavar="RUN", nargs="+", help="folders; the first is the base")
    parser.add_argument("--metric", metavar="NAME",
                        help="exact, contains, f1, choice, or a judge's file name "
                        "(default: a judge that all have, else choice or contains)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resampling")
    parser.add_argument("--page", metavar="FILE", type=Path,
                        help="an HTML page of it, with the rows on which they part")  # fmt: skip
    parser.add_argument("--sample", type=positive, default=20, metavar="N",
                        help="of these rows, on each side (default: 20)")  # fmt: skip
    _add_frames(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run_compare(options: argparse.Namespace) -> int:
    from free_video_llm.cli.common import table
    from free_video_llm.evaluation.compare import compare_runs, describe
    from free_video_llm.evaluation.run_dir import find_run

    folders = [find_run(path) for path in options.results]
    if options.frames and options.page is None:
        raise ConfigError("--frames puts pictures into a page: give --page FILE.html")
    comparisons = compare_runs(folders, metric=options.metric, seed=options.seed)
    if options.page is not None:
        _write_comparison(options, folders[0].read_run() or {}, comparisons)
    if options.json:
        print_json([comparison.to_dict() for comparison in comparisons])
    else:
        print("\n\n".join(table(list(describe(comparison))) for comparison in comparisons))
    return 0


def _write_comparison(
    options: argparse.Namespace, run: dict[str, Any], comparisons: Sequence[Comparison]
) -> None:
    from free_video_llm.evaluation.comparison_page import render_comparison, shown_pairs
    from free_video_llm.evaluation.jsonl import write_whole

    rows = [
        row.to_dict()
        for comparison in comparisons
        for pair in shown_pairs(comparison, options.sample)
        for row in (pair.first, pair.second)
    ]
    kept = _page_frames(options, run, rows)
    page = render_comparison(comparisons, sample=options.sample, kept=kept)
    written = write_whole(options.page, page)
    if not options.json:
        print(f"written: {written}\n")
