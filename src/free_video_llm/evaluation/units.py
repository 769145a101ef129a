"""Divides a set's questions into units of work: whole videos, with enough questions for a batch.

Units and their batches depend on the questions alone, not on who answers them or what is done
already: one process, two workers and a resumed run make the same batches, so the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from free_video_llm.benchmarks.base import Question
from free_video_llm.errors import ConfigError

#: A unit is what a worker is given at once, so it has no more videos than this.
MOST_VIDEOS = 8
#: A unit is large enough once so much of its batches is filled.
FULL = 7 / 8


@dataclass(frozen=True)
class Unit:
    """Questions that one worker answers in one go, all of their videos' among them."""

    questions: tuple[Question, ...]

    def batches(self, size: int) -> list[tuple[Question, ...]]:
        """The unit's questions, `size` at a time."""
        return [self.questions[i : i + size] for i in range(0, len(self.questions), size)]


def group_by_video(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The questions of each video; videos in the order in which they first appear."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.video, []).append(question)
    return groups


def divide(questions: Iterable[Question], batch: int) -> list[Unit]:
    """Units of whole videos: as many as fill their batches, at most `MOST_VIDEOS`.

    Batches go across videos: three videos of ten questions make four batches of eight, eight,
    eight and six, not six of which every other one is all but empty.
    """
    units: list[Unit] = []
    waiting: list[Question] = []
    videos = 0
    for group in group_by_video(questions).values():
        waiting += group
        videos += 1
        room = -(-len(waiting) // batch) * batch
        if len(waiting) >= FULL * room or videos == MOST_VIDEOS:
            units.append(Unit(tuple(waiting)))
            waiting, videos = [], 0
    if waiting:
        units.append(Unit(tuple(waiting)))
    return units


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a run, numbered from 1; more shards than units leave some empty."""

    number: int
    count: int

    @staticmethod
    def parse(text: str) -> Shard:
        """From "2/8". Raises ConfigError."""
        number, slash, count = text.partition("/")
        digits = number.isdecimal() and count.isdecimal() and len(text) < 20
        if slash and digits and 1 <= int(number) <= int(count):
            return Shard(int(number), int(count))
        raise ConfigError(f"a shard is written i/n with 1 ≤ i ≤ n, as in 2/8, not {text[:40]!r}")

    def take(self, units: Sequence[Unit]) -> list[Unit]:
        """Every count-th unit."""
        return list(units[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
