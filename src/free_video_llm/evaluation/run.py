"""Runs a configuration over a question set: every question ends as a row, answered or failed.

Resumable at any moment: what has a row is not done again, and another configuration is refused.
How an answer is made is the pipeline's; figures are made by `report.py`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.benchmarks import Question, QuestionSet, get_set
from free_video_llm.benchmarks.videos import VideoFolder
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.answering import Row, Settings, answer_unit, identity_of
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.jsonl import LineWriter
from free_video_llm.evaluation.provenance import (
    describe_device,
    describe_model,
    questions_hash,
    versions,
)
from free_video_llm.evaluation.run_dir import RunFolder
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


@dataclass(frozen=True)
class Plans:
    """A task with everything that is known before a model is loaded."""

    config: RunConfig
    task: Task
    set: QuestionSet
    questions: tuple[Question, ...]
    settings: Settings
    folder: RunFolder


def questions_source(config: RunConfig, task: Task) -> Path:
    """Where a task's questions are read from: what it says, or the released layout."""
    return Path(task.questions) if task.questions else Path(config.gt)


def videos_source(config: RunConfig, task: Task) -> Path:
    """Where a task's videos are: what it says, or the released layout."""
    if task.videos:
        return Path(task.videos)
    chosen = get_set(task.set)
    return Path(config.data) / chosen.group / chosen.video_folder


def prepare_task(config: RunConfig, task: Task) -> Plans:
    """Read a task's questions and lay out its run.

    Raises:
        ConfigError: an unknown set, or its questions cannot be read.
    """
    chosen = get_set(task.set)
    questions = tuple(chosen.read(questions_source(config, task)))
    if not questions:
        raise ConfigError(f"{questions_source(config, task)} has no questions")
    settings = Settings(
        plan=config.resolved_plan(),
        frames=config.frames,
        decode=config.decode,
        resize=config.resize,
        max_new_tokens=config.max_new_tokens,
        batch=config.batch,
        conv_mode=task.conv_mode,
        videos=str(videos_source(config, task)),
    )
    folder = RunFolder(Path(config.outputs) / task.set / config.name)
    return Plans(config, task, chosen, questions, settings, folder)


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
    plans = prepare_task(config, task)
    asked = plans.questions[:limit] if limit is not None else plans.questions
    videos = VideoFolder(plans.settings.videos)
    units = divide(asked, config.batch)
    if shard is not None:
        units = shard.take(units)
    wanted = [question for unit in units for question in unit.questions]
    with plans.folder.held(shard):
        started = plans.folder.check_same(describe_run(plans) | _known_model(plans.folder))
        if retry_failed:
            plans.folder.drop_failed(shard)
        with LineWriter(plans.folder.results_file(shard)) as writer:
            status = _read_status(plans)
            done = Counter(status[q.identity] for q in wanted if q.identity in status)
            new = 0

            def tell() -> None:
                if progress is not None:
                    progress(Progress(task.set, len(wanted), done.total(), done["failed"], new))

            tell()
            pending = [u for u in units if any(q.identity not in status for q in u.questions)]
            if pending:
                source = _answers(plans, pending, status, workers, cache, load, videos)
                for model, rows in source:
                    if not started:
                        _begin(plans, model)
                        started = True
                    elif new == 0:
                        _check_model(plans, model)
                    fresh = [row for row in rows if identity_of(row) not in status]
                    writer.append(fresh)
                    status.update({identity_of(row): row["status"] for row in fresh})
                    done.update(row["status"] for row in fresh)
                    new += len(fresh)
                    tell()
        counts = Counter(_read_status(plans).values())
    return Outcome(
        plans.folder.path,
        task.set,
        len(plans.questions),
        counts["answered"],
        counts["failed"],
        new,
        time.perf_counter() - begun,
    )


def load_model(config: RunConfig) -> VideoLLM:
    """The model of a configuration, on the devices it names."""
    if config.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = config.devices
    from free_video_llm.pipeline import VideoLLM

    return VideoLLM.from_pretrained(config.model, **config.load_options())


def _answers(
    plans: Plans,
    units: list[Unit],
    status: dict[tuple[int, str, str], str],
    workers: int,
    cache: FeatureCache | None,
    load: Callable[[RunConfig], VideoLLM] | None,
    videos: VideoFolder,
) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """The model that answered and the rows, batch by batch."""
    if workers:
        from free_video_llm.evaluation.cluster import answer_on_cluster

        yield from answer_on_cluster(plans, units, set(status), workers, cache)
        return
    llm = (load or load_model)(plans.config)
    model = describe_model(llm)
    for unit in units:
        rows = answer_unit(
            llm,
            unit,
            plans.settings,
            videos,
            missing=lambda q: q.identity not in status,
            cache=cache,
        )
        for batch in rows:
            yield model, batch


# --- what was run ------------------------------------------------------------------------------


def describe_run(plans: Plans) -> dict[str, Any]:
    """What decides a run's answers, apart from the model's fingerprint."""
    settings = asdict(plans.settings)
    settings.pop("videos")
    settings["plan"] = plans.settings.plan.to_dict()
    return {
        "schema": SCHEMA,
        "set": plans.task.set,
        "title": plans.set.title or plans.task.set,
        "settings": settings,
        "load": {"model": plans.config.model, **plans.config.load_options()},
        "questions": {
            "rows": len(plans.questions),
            "videos": len({question.video for question in plans.questions}),
            "kinds": dict(sorted(Counter(q.kind for q in plans.questions).items())),
            "hash": questions_hash(plans.questions),
        },
    }


def _known_model(folder: RunFolder) -> dict[str, Any]:
    """The model that the run was begun with: it is only known again once it is loaded."""
    before = folder.read_run()
    return {"model": before.get("model")} if before else {}


def _begin(plans: Plans, model: dict[str, Any]) -> None:
    plan = plans.settings.plan
    run: dict[str, Any] = describe_run(plans) | {"model": model}
    if plans.folder.check_same(run):  # another shard was quicker
        return
    run |= {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "device": describe_device(),
        "paths": {
            "questions": str(questions_source(plans.config, plans.task)),
            "videos": plans.settings.videos,
            "plan": str(plan),
        },
        "full_config": plans.config.to_dict(),
    }
    plans.folder.write_run(run)


def _check_model(plans: Plans, model: dict[str, Any]) -> None:
    """A resumed run has the model that it was begun with; other versions are noted.

    Raises:
        ConfigError: it is another model.
    """
    plans.folder.check_same(describe_run(plans) | {"model": model})
    run = plans.folder.read_run() or {}
    known = [run.get("versions"), *(entry["versions"] for entry in run.get("resumed", []))]
    if versions() not in known:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"at": now, "versions": versions(), "device": describe_device()}
        plans.folder.write_run(run | {"resumed": [*run.get("resumed", []), entry]})


def _read_status(plans: Plans) -> dict[tuple[int, str, str], str]:
    """The status of every question that has a row.

    Raises:
        ConfigError: a row that is none of the question file's.
    """
    known = {question.identity for question in plans.questions}
    status: dict[tuple[int, str, str], str] = {}
    for row in plans.folder.rows():
        if identity_of(row) not in known:
            raise ConfigError(
                f"{plans.folder.path} has a row that is not in the question file: row {row['row']}"
            )
        status[identity_of(row)] = str(row["status"])
    return status
