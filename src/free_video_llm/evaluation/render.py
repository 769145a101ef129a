"""Shows a report as Markdown and as text for a terminal. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from free_video_llm.evaluation.report import Report
from free_video_llm.evaluation.statistics import Share
from free_video_llm.evaluation.summary import Group

#: The names of the offline metrics, for people.
METRICS = {
    "exact": "exact match",
    "contains": "containment",
    "choice": "right option",
}

Table = tuple[Sequence[str], list[Sequence[str]]]


def percent(share: Share) -> str:
    """A share with its interval, as in "56.2 % [53.1, 59.3]"."""
    if share.value is None or share.interval is None:
        return "–"
    low, high = share.interval
    return f"{100 * share.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def accuracy_table(report: Report) -> Table:
    """One line for each measure of the whole run."""
    total = report.total
    lines: list[Sequence[str]] = []
    for judge in report.judges:
        figures = total.judges[judge.name]
        exact = ", ".join(judge.about["exact_models"])
        exact = exact or f"{judge.about['judge']} (the server named no version)"
        lines.append((f"judge {exact}", percent(figures.accuracy), number(figures.score)))
        lines.append(
            (
                f"judge {exact}, judged rows only",
                percent(figures.accuracy_judged),
                number(figures.score),
            )
        )
    for name, share in total.accuracy.items():
        lines.append((METRICS[name], percent(share), ""))
    if total.f1 is not None:
        lines.append(("token F1", f"{100 * total.f1:.1f}", ""))
    return ("measure", "accuracy [95 % interval]", "score"), lines


def counts_table(report: Report) -> Table:
    """Where every row of the question file went."""
    total = report.total
    lines: list[Sequence[str]] = [
        ("rows of the question file", f"{total.asked:,}"),
        ("answered", f"{total.answered:,}"),
        ("failed", f"{total.failed:,}"),
        ("not reached", f"{total.not_reached:,}"),
    ]
    if "choice" in total.accuracy:
        lines.append(("answered without naming an option", f"{total.unreadable:,}"))
    for judge in report.judges:
        figures = total.judges[judge.name]
        lines += [
            (f"judged by {judge.name}", f"{figures.judged:,}"),
            ("  judge failed", f"{figures.judge_failed:,}"),
            ("  not judged", f"{figures.not_judged:,}"),
        ]
    return ("rows", "n"), lines


def kinds_table(report: Report) -> Table:
    """One line for each type of question."""
    metrics = list(report.total.accuracy)
    judges = [judge.name for judge in report.judges]
    header = ["type", "rows", "answered", "failed", *(METRICS[m] for m in metrics)]
    for name in judges:
        header += [f"judge {name} / score", "judged", "judge failed"]
    return header, [_kind_line(group, metrics, judges) for group in report.kinds]


def _kind_line(group: Group, metrics: Iterable[str], judges: Iterable[str]) -> list[str]:
    line = [group.name or "(none)", f"{group.asked:,}", f"{group.answered:,}", f"{group.failed:,}"]
    line += [percent(group.accuracy[m]) if m in group.accuracy else "–" for m in metrics]
    for name in judges:
        figures = group.judges[name]
        line.append(f"{percent(figures.accuracy)} / {number(figures.score)}")
        line += [f"{figures.judged:,}", f"{figures.judge_failed:,}"]
    return line


def agreement_table(report: Report) -> Table:
    """One line for every two judges."""
    lines: list[Sequence[str]] = [
        (
            f"{pair.first} and {pair.second}",
            f"{pair.same.n:,}",
            percent(pair.same),
            number(pair.kappa),
            f"{pair.yes[0]:,} and {pair.yes[1]:,}",
            "–" if pair.score_difference is None else f"{pair.score_difference:+.2f}",
        )
        for pair in report.agreement
    ]
    header = ("judges", "both judged", "the same", "Cohen's kappa", "yes", "score, second − first")
    return header, lines


def costs_table(report: Report) -> Table:
    """Tokens and seconds for a question."""
    costs = report.costs
    lines: list[Sequence[str]] = [
        ("visual tokens", number(costs.visual_tokens, 1)),
        ("prompt tokens, the visual ones among them", number(costs.prompt_tokens, 1)),
        ("answer tokens", number(costs.answer_tokens, 1)),
        ("seconds", number(costs.seconds, 3)),
    ]
    lines += [(f"  {step}", number(s, 3)) for step, s in costs.seconds_by_step.items()]
    return ("per answered question", "mean"), lines


def evidence_table(report: Report) -> Table:
    """How well what was kept meets what answers are known to rest on."""
    figures = report.evidence
    if figures is None:
        return (), []
    lines: list[Sequence[str]] = [
        ("questions whose truth is known", f"{figures.rows:,}"),
        ("a kept frame lies in a moment", number(figures.hit, 3)),
        ("share of kept frames that do", number(figures.precision, 3)),
        ("time IoU", number(figures.time_iou, 3)),
    ]
    if figures.boxes:
        lines += [
            ("questions with a true box of a kept frame", f"{figures.boxes:,}"),
            ("box IoU", number(figures.box_iou, 3)),
            ("share of the true box inside the region", number(figures.box_inside, 3)),
        ]
    return ("evidence", "mean"), lines


def failures_table(report: Report) -> Table:
    """Why questions failed."""
    return ("reason (names left out)", "rows"), [(r, f"{n:,}") for r, n in report.reasons]


def run_table(report: Report) -> Table:
    """What was run."""
    run = report.run
    lines: list[Sequence[str]] = [
        ("question set", f"{run['title']} ({run['questions']['videos']:,} videos)"),
        ("model", f"{run['model']['name']} {run['model']['fingerprint']}"),
        ("plan", run["paths"]["plan"]),
        ("frames", str(run["settings"]["frames"])),
        ("begun", run["created"]),
    ]
    for judge in report.judges:
        about = judge.about
        models = ", ".join(about["exact_models"]) or "the server named no version"
        text = (
            f"{about['judge']} at {about['server']}: {models}; temperature 0, seed {about['seed']}"
        )
        lines.append(("judge", f"{text}, protocol {about['protocol']}"))
    versions = run["versions"]
    told = ", ".join(f"{k} {versions[k]}" for k in ("free-video-llm", "torch", "transformers"))
    lines.append(("versions", told))
    return ("run", report.name), lines


NOTE = (
    "Accuracy counts failed questions as wrong; intervals are Wilson's, 95 %, over rows. "
    "Rows that a judge failed on, or has not seen, are left out of its figures and counted above."
)


def sections(report: Report) -> list[tuple[str, Table]]:
    """All tables with their titles, without the empty ones."""
    found = [
        ("Run", run_table(report)),
        ("Accuracy", accuracy_table(report)),
        ("Judges agree", agreement_table(report)),
        ("Rows", counts_table(report)),
        ("By type of question", kinds_table(report)),
        ("Evidence", evidence_table(report)),
        ("Cost", costs_table(report)),
        ("Failures", failures_table(report)),
    ]
    return [(title, table) for title, table in found if table[1]]


# --- Markdown ---------------------------------------------------------------------------------


def render_markdown(report: Report) -> str:
    """The tables as a Markdown page."""
    parts = [f"# {report.run['title']}: {report.name}", ""]
    for title, table in sections(report):
        parts += [f"## {title}", "", markdown_table(table), ""]
        if title == "Accuracy":
            parts += [NOTE, ""]
    return "\n".join(parts)


def markdown_table(table: Table) -> str:
    """One table; what its cells hold cannot end a cell or a line, nor become HTML."""
    header, lines = table
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)


def _cell(text: str) -> str:
    plain = " ".join(text.split())
    for bad, good in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        plain = plain.replace(bad, good)
    return plain


# --- terminal ---------------------------------------------------------------------------------


def render_text(report: Report) -> str:
    """The tables for a terminal."""
    parts = []
    for title, table in sections(report):
        parts += [title.upper(), text_table(table), ""]
    return "\n".join([*parts, NOTE])


def text_table(table: Table) -> str:
    """Columns of equal width; control characters are not passed on to the terminal."""
    header, lines = table
    rows = [[printable(cell) for cell in row] for row in (header, *lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in rows
    )


def printable(text: str) -> str:
    """A text that a terminal shows as it is."""
    return "".join(c if c.isprintable() else "?" for c in text)
