"""One question set of a configuration, with everything that is known before a model is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from free_video_llm.benchmarks import Question, QuestionSet, get_set, read_questions
from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.answering import Settings
from free_video_llm.evaluation.config import RunConfig, Task
from free_video_llm.evaluation.run_dir import RunFolder

if TYPE_CHECKING:
    from free_video_llm.pipeline import VideoLLM


@dataclass(frozen=True)
class RunTask:
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


def prepare_task(config: RunConfig, task: Task) -> RunTask:
    """Read a task's questions and lay out its run.

    Raises:
        ConfigError: an unknown set, or its questions cannot be read.
    """
    chosen = get_set(task.set)
    questions = tuple(read_questions(chosen, questions_source(config, task)))
    if not questions:
        raise ConfigError(f"{questions_source(config, task)} has no questions")
    settings = Settings(
        plan=config.resolved_plan(),
        frames=config.frames,
        fps=config.fps,
        max_candidates=config.max_candidates,
        search=config.search,
        decode=config.decode,
        resize=config.resize,
        max_new_tokens=config.max_new_tokens,
        blind=config.blind,
        choose=config.choose,
        batch=config.batch,
        conv_mode=task.conv_mode,
        videos=str(videos_source(config, task)),
        subtitles=task.subtitles,
    )
    folder = RunFolder(Path(config.outputs) / task.set / config.name)
    return RunTask(config, task, chosen, questions, settings, folder)


def load_model(config: RunConfig) -> VideoLLM:
    """The model of a configuration, on the devices it names."""
    if config.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = config.devices
    from free_video_llm.pipeline import VideoLLM

    return VideoLLM.from_pretrained(config.model, **config.load_options())
