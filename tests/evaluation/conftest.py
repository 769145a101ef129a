"""A small random model, clips and questions on them: everything that a run needs, for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from made_questions import write_csv

from free_video_llm import VideoLLM
from free_video_llm.evaluation.config import RunConfig, Task
from media import make_video, numbered
from tiny_checkpoints import write_original

PLAN = "slow=prompt:2/spatial_1d_max_pool+fast=all/adaptive_2d_pool:2x2"
VIDEOS, QUESTIONS = 8, 5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The model is so small that threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA of a few thousand parameters, in the original layout."""
    folder = tmp_path_factory.mktemp("model") / "random"
    write_original(folder)
    return folder


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> VideoLLM:
    """The same, loaded once."""
    return VideoLLM.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips that look different."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(VIDEOS):

        def picture(n: int, width: int, height: int, first: int = 25 * number):  # type: ignore[no-untyped-def]
            return numbered(first + n, width, height)

        make_video(folder / f"clip{number}.mp4", frames=10, picture=picture)
    return folder


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty questions, five on each clip, the videos taking turns."""
    rows = [
        (f"clip{video}", f"what is number {number} of {video}?", ["red", "two dogs"][number % 2])
        for number in range(QUESTIONS)
        for video in range(VIDEOS)
    ]
    return write_csv(tmp_path_factory.mktemp("questions") / "toy.csv", rows)


@pytest.fixture
def config(checkpoint: Path, clips: Path, questions: Path, tmp_path: Path) -> RunConfig:
    """A run over them that writes below the test's own folder."""
    return RunConfig(
        name="run",
        tasks=(Task(set="toy", questions=str(questions), videos=str(clips)),),
        model=str(checkpoint),
        plan=PLAN,
        frames=4,
        max_new_tokens=3,
        batch=3,
        outputs=str(tmp_path / "artifacts"),
        replies=str(tmp_path / "replies"),
        logs=str(tmp_path / "logs"),
    )


@pytest.fixture
def loader(model: VideoLLM) -> Callable[[RunConfig], VideoLLM]:
    """Gives the model that is loaded already."""
    return lambda config: model
