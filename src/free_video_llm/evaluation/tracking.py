"""A run's figures into an experiment log: trackio (local, in the browser by `trackio show`) or
Weights & Biases. Both take the same three calls; each keeps its own settings (`WANDB_MODE`,
`TRACKIO_DIR`, …)."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

from free_video_llm.errors import ConfigError, FreeVideoLLMError, MissingExtraError, one_of
from free_video_llm.evaluation.report import Report
from free_video_llm.evaluation.summary import Group

TRACKERS = ("trackio", "wandb")
#: What of a run's settings and surroundings is logged as its configuration.
_CONFIG = ("set", "settings", "load", "model", "versions", "device")


def log_report(report: Report, *, to: str, project: str) -> None:
    """Log a run's figures as one run of that project, under the run's name.

    Args:
        to: "trackio" or "wandb".

    Raises:
        ConfigError: another name.
        MissingExtraError: it is not installed.
        FreeVideoLLMError: it failed.
    """
    one_of("experiment log", to, TRACKERS, ConfigError)
    try:
        tracker = importlib.import_module(to)
    except ImportError:
        raise MissingExtraError(
            f"{to} is not installed: pip install 'free-video-llm[tracking]'"
        ) from None
    config = {name: report.run[name] for name in _CONFIG if name in report.run}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the report's
            tracker.init(project=project, name=f"{report.run['set']}-{report.name}", config=config)
            tracker.log(figures(report))
            tracker.finish()
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise FreeVideoLLMError(
            f"{to} could not log the run ({type(error).__name__}: {told}); its report is written"
        ) from None


def figures(report: Report) -> dict[str, float]:
    """A report's numbers by name, as in "contains", "judge/NAME/accuracy" and
    "kind/color/contains"; what has no value is left out."""
    found: dict[str, float | None] = dict(_of_group(report.total))
    found["seconds"] = report.costs.seconds
    found |= {f"seconds/{step}": value for step, value in report.costs.seconds_by_step.items()}
    found["visual_tokens"] = report.costs.visual_tokens
    found["prompt_tokens"] = report.costs.prompt_tokens
    found["answer_tokens"] = report.costs.answer_tokens
    if report.evidence is not None:
        found |= {f"evidence/{k}": v for k, v in report.evidence.to_dict().items()}
    for group in report.kinds:
        found |= {f"kind/{group.name or 'none'}/{k}": v for k, v in _of_group(group).items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_group(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {name: share.value for name, share in group.accuracy.items()}
    found |= {"f1": group.f1, "rows": group.asked, "answered": group.answered}
    found |= {"failed": group.failed, "not_reached": group.not_reached}
    for name, judge in group.judges.items():
        found[f"judge/{name}/accuracy"] = judge.accuracy.value
        found[f"judge/{name}/score"] = judge.score
    return found
