"""What Prometheus may read of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from free_video_llm.serve.engine import Answered, Engine
from free_video_llm.serve.replies import usage_of

#: Seconds of an answer: from a small model's on a GPU to a large one's on a CPU.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server; several servers of one process have their own."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self._registry, "namespace": "fvl"}
        self._requests = Counter("requests", "By path and status.", ["path", "status"], **named)
        self._seconds = Histogram(
            "answer_seconds", "From a question to its answer.", buckets=_SECONDS, **named
        )
        self._waited = Histogram(
            "wait_seconds", "In which a question waited for its turn.", buckets=_SECONDS, **named
        )
        self._together = Histogram(
            "batch_questions", "Answered together.", buckets=(1, 2, 4, 8, 16, 32), **named
        )
        self._tokens = Counter("tokens", "By kind: prompt, visual, answer.", ["kind"], **named)
        self._registry.register(_State(engine))

    def request(self, path: str, status: int) -> None:
        """A request was answered; `path` is one of the server's, not whatever was called."""
        self._requests.labels(path, str(status)).inc()

    def answer(self, answered: Answered, seconds: float) -> None:
        """A question was answered."""
        self._seconds.observe(seconds)
        self._waited.observe(answered.waited)
        self._together.observe(answered.together)
        used = usage_of(answered.answer)
        for kind, name in (("prompt", "prompt"), ("visual", "visual"), ("answer", "completion")):
            self._tokens.labels(kind).inc(used[f"{name}_tokens"])

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)


class _State:
    """What is read off the engine whenever somebody asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Any]:
        watched = self._engine.watched
        yield GaugeMetricFamily("fvl_waiting", "Questions in the queue.", self._engine.waiting)
        yield GaugeMetricFamily("fvl_watched_videos", "Kept in memory.", len(watched))
        yield GaugeMetricFamily("fvl_watched_bytes", "Of these.", watched.nbytes)
        looked = CounterMetricFamily(
            "fvl_videos", "Asked about, by whether they had been watched.", labels=["watched"]
        )
        looked.add_metric(["before"], watched.found)
        looked.add_metric(["anew"], watched.missed)
        yield looked
