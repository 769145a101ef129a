"""Answers units on many GPUs or machines by Ray Data (extra `cluster`): a model in every actor.

One process, the caller's, writes the results; how a unit is answered is `answering.py`'s.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import ConfigError, FreeVideoLLMError, MissingExtraError
from free_video_llm.evaluation.row import Row

if TYPE_CHECKING:
    from free_video_llm.encoder.cache import FeatureCache
    from free_video_llm.evaluation.task import RunTask
    from free_video_llm.evaluation.units import Unit

Identity = tuple[int, str, str]


@dataclass(frozen=True)
class _Slot:
    """What one actor is given: GPUs and CPU slots of Ray's, and threads (None: as they are)."""

    gpus: float
    cpus: float
    threads: int | None


@dataclass(frozen=True)
class _Shared:
    """What all actors are told: the run, the caller's folder, the cache's folder and bytes."""

    run: RunTask
    folder: str
    cache: tuple[Path | None, int] | None
    threads: int | None


def answer_on_cluster(
    run: RunTask,
    units: list[Unit],
    done: set[Identity],
    workers: int,
    cache: FeatureCache | None = None,
) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """The model and the rows of every unit, in whatever order they are finished.

    `workers` actors: one GPU each where the cluster has GPUs, else one CPU slot each.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster has not enough slots, or a worker could not start.
        FreeVideoLLMError: Ray gave up, as when workers die again and again.
    """
    ray, own = _start_ray(run.config.devices, workers)
    slot = _slot(ray, workers, own=own)
    shared = _Shared(
        run=run,
        folder=os.getcwd(),
        cache=None if cache is None else (cache.folder, cache.disk_bytes),
        threads=slot.threads,
    )
    items = [
        {
            "rows": json.dumps([question.row for question in unit.questions]),
            "done": json.dumps([q.row for q in unit.questions if q.identity in done]),
        }
        for unit in units
    ]
    data = ray.data.from_items(items, override_num_blocks=len(items))
    answered = data.map_batches(
        _Worker,
        fn_constructor_args=(shared,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=slot.cpus,
        num_gpus=slot.gpus,
    )
    try:
        for result in answered.iter_rows():
            value = json.loads(result["result"])
            if "error" in value:
                raise ConfigError(f"a worker could not start: {value['error']}")
            yield value["model"], [Row.from_dict(row) for row in value["rows"]]
    except ray.exceptions.RayError as error:
        raise FreeVideoLLMError(
            f"Ray gave up ({type(error).__name__}: {_last_line(error)}); what was finished is "
            "kept: the same command goes on"
        ) from None


class _Worker:
    """One actor: loads the model once, answers units."""

    def __init__(self, shared: _Shared) -> None:
        import torch

        from free_video_llm.benchmarks.videos import VideoFolder
        from free_video_llm.encoder.cache import FeatureCache
        from free_video_llm.evaluation.provenance import describe_model
        from free_video_llm.evaluation.task import load_model

        run = self.run = shared.run
        if os.path.isdir(shared.folder):
            os.chdir(shared.folder)  # so that relative paths mean the same on every machine
        if shared.threads is not None:
            torch.set_num_threads(shared.threads)
        self.questions = {question.row: question for question in run.questions}
        self.cache = None
        if shared.cache is not None:
            self.cache = FeatureCache(shared.cache[0], disk_bytes=shared.cache[1])
        self.error = ""
        try:
            # Ray sets CUDA_VISIBLE_DEVICES to this actor's own GPU.
            self.llm = load_model(replace(run.config, devices=None))
            self.model = describe_model(self.llm)
            self.folder = VideoFolder(run.settings.videos)
        except FreeVideoLLMError as error:
            self.error = str(error)
        except Exception as error:  # else Ray starts the actor again and again
            self.error = f"{type(error).__name__}: {_last_line(error)}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {
            "result": [
                json.dumps(self._answer(*pair)) for pair in zip(batch["rows"], batch["done"])
            ]
        }

    def _answer(self, rows: str, done: str) -> dict[str, Any]:
        from free_video_llm.evaluation.answering import answer_unit
        from free_video_llm.evaluation.units import Unit

        if self.error:
            return {"error": self.error}
        unit = Unit(tuple(self.questions[row] for row in json.loads(rows)))
        finished = set(json.loads(done))
        answered = answer_unit(
            self.llm,
            unit,
            self.run.settings,
            self.folder,
            missing=lambda question: question.row not in finished,
            cache=self.cache,
        )
        return {"model": self.model, "rows": [row.to_dict() for part in answered for row in part]}


def _start_ray(devices: str | None, workers: int) -> tuple[Any, bool]:
    """Ray, and whether it was started here for this run alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest goes to Ray's own logs
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError(
            "several workers need Ray: pip install 'free-video-llm[cluster]'"
        ) from None
    own = not ray.is_initialized() and not os.environ.get("RAY_ADDRESS")
    if own:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # One slot more than workers: actors on every slot would leave none for reading.
        ray.init(
            num_cpus=max(workers + 1, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    elif not ray.is_initialized():
        # A cluster that runs already.
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # progress is ours to show
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray, own


def _slot(ray: Any, workers: int, *, own: bool) -> _Slot:
    """What one actor gets. Raises ConfigError where the cluster has too little."""
    resources = ray.cluster_resources()
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 0)
    if gpus and workers > gpus:
        raise ConfigError(f"{workers} workers need as many GPUs, the cluster has {gpus:g}")
    if not gpus and workers >= cpus:
        raise ConfigError(
            f"{workers} workers need {workers + 1} CPU slots (one for reading), "
            f"the cluster has {cpus:g}"
        )
    if gpus:
        return _Slot(1, 0, None)
    # On a machine of its own the workers share the cores; elsewhere a slot is a thread, as Ray has
    # it, for nobody knows what else runs there.
    return _Slot(0, 1, max(1, (os.cpu_count() or 1) // workers) if own else None)


def _last_line(error: BaseException) -> str:
    """Ray's texts are a traceback; what went wrong stands in its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
