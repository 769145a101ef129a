"""Answers units on many GPUs or machines by Ray Data (extra `cluster`): a model in every actor.

One process, the caller's, writes the results; how a unit is answered is `answering.py`'s.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import ConfigError, FreeVideoLLMError, MissingExtraError

if TYPE_CHECKING:
    from free_video_llm.evaluation.answering import Row
    from free_video_llm.evaluation.run import Plans
    from free_video_llm.evaluation.units import Unit

Identity = tuple[int, str, str]


def answer_on_cluster(
    plans: Plans, units: list[Unit], done: set[Identity], workers: int
) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """The model and the rows of every unit, in whatever order they are finished.

    `workers` actors: one GPU each where the cluster has GPUs, else one CPU slot each.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster has not enough slots.
    """
    ray = _start_ray(plans.config.devices, workers)
    gpus, cpus = _slots(ray, workers)
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
        fn_constructor_args=(plans,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    for result in answered.iter_rows():
        value = json.loads(result["result"])
        if "error" in value:
            raise ConfigError(f"a worker could not start: {value['error']}")
        yield value["model"], value["rows"]


class _Worker:
    """One actor: loads the model once, answers units."""

    def __init__(self, plans: Plans) -> None:
        from free_video_llm.benchmarks.videos import VideoFolder
        from free_video_llm.evaluation.run import describe_model, load_model

        self.plans = plans
        self.questions = {question.row: question for question in plans.questions}
        self.error = ""
        try:
            # Ray sets CUDA_VISIBLE_DEVICES to this actor's own GPU.
            from dataclasses import replace

            self.llm = load_model(replace(plans.config, devices=None))
            self.model = describe_model(self.llm)
            self.folder = VideoFolder(plans.settings.videos)
        except FreeVideoLLMError as error:
            self.error = str(error)

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
            self.plans.settings,
            self.folder,
            missing=lambda question: question.row not in finished,
        )
        return {"model": self.model, "rows": [row for part in answered for row in part]}


def _start_ray(devices: str | None, workers: int) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError(
            "several workers need Ray: pip install 'free-video-llm[cluster]'"
        ) from None
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)  # a cluster that runs already
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            # One slot more than workers: actors on every slot would leave none for reading.
            ray.init(
                num_cpus=max(workers + 1, os.cpu_count() or 1),
                include_dashboard=False,
                log_to_driver=False,
            )
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _slots(ray: Any, workers: int) -> tuple[float, float]:
    """GPUs and CPUs of one actor."""
    resources = ray.cluster_resources()
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 0)
    if gpus and workers > gpus:
        raise ConfigError(f"{workers} workers need as many GPUs, the cluster has {gpus:g}")
    if not gpus and workers >= cpus:
        raise ConfigError(
            f"{workers} workers need {workers + 1} CPU slots (one for reading), "
            f"the cluster has {cpus:g}"
        )
    return (1, 0) if gpus else (0, 1)
