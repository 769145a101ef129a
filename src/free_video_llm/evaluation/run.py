"""Runs a configuration over a question set: every question ends as a row, answered or failed.

Resumable at any moment: what has a row is not done again, and another configuration is refused.
How an answer is made is the pipeline's; figures are made by `report.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.benchmarks.videos import VideoFolder
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.answering import answer_unit
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.evaluation.provenance import (
    describe_device,
    describe_model,
    questions_hash,
    versions,
)
from free_video_llm.evaluation.row import Identity, Row
from free_video_llm.evaluation.task import RunTask, load_model, prepare_task, questions_source
from free_video_llm.evaluation.units import Shard, Unit, divide

if TYPE_CHECKING:
    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.pipeline import VideoLLM

SCHEMA = 1


@dataclass(frozen=True)
class Progress:
    """How far a run is. `wanted` counts the questions of this call, done before it or by it."""

    set: str
    wanted: int
    done: int
    failed: int
    new: int


@dataclass(frozen=True)
class Outcome:
    """What a call of `run_task` ended with."""

    folder: Path
    set: str
    rows: int
    answered: int
    failed: int
    new: int
    seconds: float

    @property
    def not_reached(self) -> int:
        return self.rows - self.answered - self.failed

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self) | {"folder": str(self.folder), "not_reached": self.not_reached}
        return values | {"seconds": round(self.seconds, 3)}


def run_task(
    config: RunConfig,
    task: Task,
    *,
    limit: int | None = None,
    shard: Shard | None = None,
    retry_failed: bool = False,
    workers: int = 0,
    cache: FeatureCache | None = None,
    load: Callable[[RunConfig], VideoLLM] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Answer a task's questions, as far as they have no row yet.

    Args:
        limit: only the first so many rows of the question file.
        shard: only one part of the units, for several machines.
        retry_failed: try the failed rows again.
        workers: 0 for this process alone, else so many Ray actors (extra `cluster`).
        cache: where features are kept from one run to the next; the answers are the same with it.
        load: how the model is loaded; `VideoLLM.from_pretrained` by the configuration.
        progress: called at the start and after every batch.

    Raises:
        ConfigError: something is wrong with the configuration, or the run's folder holds a run
            with another one.
        CheckpointError: the model cannot be loaded.
        MissingExtraError: `workers` without Ray.
    """
    begun = time.perf_counter()
    run = prepare_task(config, task)
    asked = run.questions[:limit] if limit is not None else run.questions
    units = divide(asked, config.batch)
    if shard is not None:
        units = shard.take(units)
    wanted = [question for unit in units for question in unit.questions]
    with run.folder.held(shard):
        before = run.folder.read_run() or {}
        run.folder.check_same(describe_run(run) | {k: before[k] for k in ("model",) if k in before})
        if retry_failed:
            run.folder.drop_failed(shard)
        with LineWriter(run.folder.results_file(shard)) as writer:
            status = _read_status(run)
            done = Counter(status[q.identity] for q in wanted if q.identity in status)
            new = 0

            def tell() -> None:
                if progress is not None:
                    progress(Progress(task.set, len(wanted), done.total(), done["failed"], new))

            tell()
            pending = [u for u in units if any(q.identity not in status for q in u.questions)]
            for rows in _answers(run, pending, status, workers, cache, load):
                fresh = [row for row in rows if row.identity not in status]
                writer.append(row.to_dict() for row in fresh)
                status.update({row.identity: row.status for row in fresh})
                done.update(row.status for row in fresh)
                new += len(fresh)
                tell()
        counts = Counter(_read_status(run).values())
    return Outcome(
        run.folder.path,
        task.set,
        len(run.questions),
        counts["answered"],
        counts["failed"],
        new,
        time.perf_counter() - begun,
    )


def _answers(
    run: RunTask,
    units: list[Unit],
    status: dict[Identity, str],
    workers: int,
    cache: FeatureCache | None,
    load: Callable[[RunConfig], VideoLLM] | None,
) -> Iterator[list[Row]]:
    """The rows of units, batch by batch; before the first, what answers them is recorded."""
    if not units:
        return
    if workers:
        from free_video_llm.evaluation.cluster import answer_on_cluster

        recorded = False
        for model, rows in answer_on_cluster(run, units, set(status), workers, cache):
            if not recorded:  # only the workers know the model
                record_run(run, model)
                recorded = True
            yield rows
        return
    videos = VideoFolder(run.settings.videos)
    llm = (load or load_model)(run.config)
    record_run(run, describe_model(llm))
    for unit in units:
        yield from answer_unit(
            llm,
            unit,
            run.settings,
            videos,
            missing=lambda q: q.identity not in status,
            cache=cache,
        )


# --- what was run ------------------------------------------------------------------------------


def describe_run(run: RunTask) -> dict[str, Any]:
    """What decides a run's answers, apart from the model's fingerprint."""
    settings = asdict(run.settings)
    settings.pop("videos")
    for name, usual in (("subtitles", None), ("blind", False), ("choose", "generate")):
        if settings[name] == usual:  # as runs say that were begun before there were any
            settings.pop(name)
    settings["plan"] = run.settings.plan.to_dict()
    return {
        "schema": SCHEMA,
        "set": run.task.set,
        "title": run.set.title or run.task.set,
        "settings": settings,
        "load": {"model": run.config.model, **run.config.load_options()},
        "questions": {
            "rows": len(run.questions),
            "videos": len({question.video for question in run.questions}),
            "kinds": dict(sorted(Counter(q.kind for q in run.questions).items())),
            "hash": questions_hash(run.questions),
        },
    }


def record_run(run: RunTask, model: dict[str, Any]) -> None:
    """Write what is run into the run's folder: once, or of a resumed run its other versions.

    Raises:
        ConfigError: the folder's run is of another configuration or model.
    """
    about = describe_run(run) | {"model": model}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if run.folder.check_same(about):
        before = run.folder.read_run() or {}
        known = [before.get("versions"), *(e["versions"] for e in before.get("resumed", []))]
        if versions() in known:
            return
        entry = {"at": now, "versions": versions(), "device": describe_device()}
        run.folder.write_run(before | {"resumed": [*before.get("resumed", []), entry]})
        return
    about |= {
        "created": now,
        "versions": versions(),
        "device": describe_device(),
        "paths": {
            "questions": str(questions_source(run.config, run.task)),
            "videos": run.settings.videos,
            "plan": str(run.settings.plan),
        },
        "full_config": run.config.to_dict(),
    }
    run.folder.write_run(about)


def _read_status(run: RunTask) -> dict[Identity, str]:
    """The status of every question that has a row.

    Raises:
        ConfigError: a row that is none of the question file's.
    """
    known = {question.identity for question in run.questions}
    status: dict[Identity, str] = {}
    for row in run.folder.rows():
        if row.identity not in known:
            raise ConfigError(
                f"{run.folder.path} has a row that is not in the question file: row "
                f"{row.question.row}"
            )
        status[row.identity] = row.status
    return status
