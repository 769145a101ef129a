"""The configuration of an evaluation run, typed and frozen: read from YAML, checked, written back.

Our own YAML is described in docs/evaluation.md; the released files (METHOD: `SCRIPT`, `MODEL_PATH`,
…) are recognised by their keys and read into the same `RunConfig` by `released_config.py`. Nothing
in a file is executed, and no model or question file is opened here.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, get_args

from free_video_llm.asking import Choose
from free_video_llm.benchmarks import get_set
from free_video_llm.errors import ConfigError, PlanError, one_of
from free_video_llm.llm.prompts import check_mode
from free_video_llm.plans.plan import Plan, rules_of_geometry
from free_video_llm.video.read import Mode, Resize

#: A configuration is a page of text; what is longer is not one.
MAX_BYTES = 1_000_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=,-]{0,149}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question set of a run.

    Attributes:
        set: the set's name, such as "msvd" (`free_video_llm.benchmarks.SETS`).
        questions: a CSV file, a JSON file, or the folder of the released two-file layout.
        videos: the folder of the videos; None is the released layout below `data`.
        conv_mode: the prompt template; None takes the model's own.
        subtitles: the folder of the videos' subtitles (.srt, .vtt, or LongVideoBench's .json), or
            "auto", those beside or within the videos; None is none.
    """

    set: str
    questions: str | None = None
    videos: str | None = None
    conv_mode: str | None = None
    subtitles: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the answers of a run, and where they are written.

    Attributes:
        name: names the run's folders; the file's name unless given.
        tasks: the question sets, in order.
        model: "tiny", a Hub id, or a folder.
        plan: a preset's name or a notation (see `Plan.parse`), or a plan spelt out.
        rules: "corrected" or "released", over the plan's own.
        frames: how many frames are sampled of each video.
        fps, max_candidates: so many frames a second instead, and of those at most.
        search: the share of the frames at `fps` that is scored (see `VideoLLM.watch`).
        decode: "exact" or "keyframes".
        resize: "bicubic" or "pil" (as the released code); None takes the one that the rules need.
        blind: ask without anything of the video, as a baseline.
        choose: how one of the options is chosen: "generate", "letters" or "options".
        max_new_tokens: of an answer.
        batch: questions that are answered together.
        dtype, device, device_map, load_in_8bit, load_in_4bit, rope_scaling_factor, scorer,
            revision, base_url, engine_url, engine, max_images, max_pixels, frames_as, level: how
            the model is loaded (see `LoadOptions`).
        devices: the GPUs to use, as CUDA_VISIBLE_DEVICES says it; None leaves it as it is.
        data: the folder of the released layout, with `video_qa`, `multiple_choice_qa`.
        gt: the folder of the released question files.
        outputs, replies, logs: where answers, judges' replies and reports are written.
    """

    name: str
    tasks: tuple[Task, ...]
    model: str = "tiny"
    plan: str | Plan = "paper"
    rules: str | None = None
    frames: int = 50
    fps: float | None = None
    max_candidates: int = 3600
    search: float | None = None
    decode: Mode = "exact"
    resize: Resize | None = None
    blind: bool = False
    choose: Choose = "generate"
    max_new_tokens: int = 128
    batch: int = 8
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    rope_scaling_factor: float = 1.0
    scorer: str | None = None
    revision: str | None = None
    base_url: str | None = None
    engine_url: str | None = None
    engine: str | None = None
    max_images: int | None = None
    max_pixels: int | None = None
    frames_as: str = "pictures"
    level: str | None = None
    devices: str | None = None
    data: str = "playground/data"
    gt: str = "playground/gt_qa_files"
    outputs: str = "outputs/artifacts"
    replies: str = "outputs/eval_save_dir"
    logs: str = "outputs/logs"

    def __post_init__(self) -> None:
        for key, check in _CHECKS.items():
            object.__setattr__(self, key, check(key, getattr(self, key)))
        if not self.tasks:
            raise ConfigError("a run needs at least one question set: sets: [msvd]")
        names = [task.set for task in self.tasks]
        if len(set(names)) < len(names):
            raise ConfigError(f"each question set is named once, not {', '.join(names)}")
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("choose load_in_8bit or load_in_4bit, not both")
        if self.search is not None and self.resolved_plan().rules == "released":
            raise ConfigError("the released rules sample frames evenly: leave search out")
        self.resolved_plan()

    def resolved_plan(self) -> Plan:
        """The plan with the rules asked for.

        Raises:
            ConfigError: the plan cannot be read.
        """
        try:
            plan = self.plan if isinstance(self.plan, Plan) else Plan.parse(self.plan)
            return plan if self.rules is None else replace(plan, rules=self.rules)  # type: ignore[arg-type]
        except PlanError as error:
            raise ConfigError(f"plan: {error}") from None

    def load_options(self) -> dict[str, Any]:
        """The keyword options for `VideoLLM.from_pretrained`."""
        from free_video_llm.models.options import LoadOptions

        ours = {field.name for field in fields(self)}  # a set of questions has its own conv_mode
        named = [field.name for field in fields(LoadOptions) if field.name in ours]
        return {name: getattr(self, name) for name in named}

    def to_dict(self) -> dict[str, Any]:
        """As plain values for YAML and JSON, without what has its default value."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "tasks":
                values["sets"] = [_bare_task(task) for task in value]
            elif field.default is MISSING or value != field.default:
                values[field.name] = value.to_dict() if isinstance(value, Plan) else value
        return values

    @staticmethod
    def from_dict(data: Mapping[str, Any], *, name: str | None = None) -> RunConfig:
        """The inverse of `to_dict`; `name` where the data gives none.

        Raises:
            ConfigError: naming the wrong entry, with the nearest right one.
        """
        values = _without_old_names(data)
        allowed = [f.name for f in fields(RunConfig) if f.name != "tasks"]
        for key in values:
            one_of("configuration key", key, [*allowed, "sets"], ConfigError)
        if "sets" not in values:
            raise ConfigError("a configuration names its question sets: sets: [msvd, tgif]")
        values["tasks"] = _read_tasks(values.pop("sets"))
        values.setdefault("name", name)
        return RunConfig(**values)


def _without_old_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in today's words; `geometry` is what `rules` was called once."""
    values = dict(data)
    if "geometry" in values and "rules" not in values:
        values["rules"] = rules_of_geometry(values.pop("geometry"))
        warnings.warn(f"geometry is now called rules: write rules: {values['rules']}", stacklevel=2)
    return values


# --- checks ----------------------------------------------------------------------------------


def _read_tasks(data: Any) -> tuple[Task, ...]:
    items = data if isinstance(data, list | tuple) else [data]
    tasks = []
    for item in items:
        if isinstance(item, str):
            item = {"set": item}
        if not isinstance(item, Mapping):
            raise ConfigError(
                f"sets: a question set is a name or a mapping with 'set', not {show(item)}"
            )
        for key in item:
            one_of("key of a question set", key, [f.name for f in fields(Task)], ConfigError)
        if "set" not in item:
            raise ConfigError("sets: a question set needs its name: set: msvd")
        tasks.append(Task(**item))
    return tuple(tasks)


def _bare_task(task: Task) -> Any:
    values = {key: value for key, value in asdict(task).items() if value is not None}
    return task.set if list(values) == ["set"] else values


def show(value: object) -> str:
    """A wrong value for an error's text: short, and never a whole nested structure."""
    if isinstance(value, str | int | float | bool) or value is None:
        line = repr(value)
        return line if len(line) <= 60 else line[:59] + "…"
    return f"a {type(value).__name__}"


def whole(key: str, value: Any, least: int = 1, most: int = 1_000_000) -> int:
    """A whole number within bounds. Raises ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{key} is a whole number from {least} to {most}, not {show(value)}")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{key} is a text, not {show(value)}")
    return value


def _optional_text(key: str, value: Any) -> str | None:
    return None if value is None else _text(key, value)


def _choice(*allowed: str | None) -> Callable[[str, Any], Any]:
    def check(key: str, value: Any) -> Any:
        if not (value is None and None in allowed):
            one_of(key, value, [a for a in allowed if a is not None], ConfigError)
        return value

    return check


def _yes_no(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key} is true or false, not {show(value)}")
    return value


def _share(key: str, value: Any, *, most: float) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and (not number or not 0 < value <= most):
        raise ConfigError(f"{key} is a number above 0, at most {most:g}, not {show(value)}")
    return None if value is None else float(value)


def _factor(key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 1 <= value <= 1000:
        raise ConfigError(f"{key} is a number of 1 or more, not {show(value)}")
    return float(value)


def _run_name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(
            f"{key} names a folder: letters, digits, . _ + @ = , and -, not {show(value)}"
        )
    return value


def _plan(key: str, value: Any) -> str | Plan:
    try:
        if isinstance(value, Mapping):
            return Plan.from_dict(value)
        if isinstance(value, Plan):
            return value
        if not isinstance(value, str):
            raise ConfigError(f"{key} is a plan's name, notation or mapping, not {show(value)}")
        Plan.parse(value)
    except PlanError as error:
        raise ConfigError(f"{key}: {error}") from None
    return value


def _devices(key: str, value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not re.fullmatch(r"\d{1,4}(,\d{1,4})*", str(value)):
        raise ConfigError(f"{key} are numbers of GPUs, as in '0,1,2,3', not {show(value)}")
    return None if value is None else str(value)


def _tasks(_: str, value: Any) -> tuple[Task, ...]:
    for task in value:
        for key in (field.name for field in fields(Task)):
            given = getattr(task, key)
            _text(f"sets: {key}", given) if key == "set" else _optional_text(f"sets: {key}", given)
        get_set(task.set)
        if task.conv_mode is not None:
            check_mode(task.conv_mode)
    return tuple(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "name": _run_name,
    "tasks": _tasks,
    "model": _text,
    "plan": _plan,
    "rules": _choice("corrected", "released", None),
    "frames": lambda key, value: whole(key, value, most=10_000),
    "fps": lambda key, value: _share(key, value, most=1000),
    "max_candidates": lambda key, value: whole(key, value, most=100_000),
    "search": lambda key, value: _share(key, value, most=1),
    "decode": _choice("exact", "keyframes"),
    "resize": _choice("bicubic", "pil", None),
    "blind": _yes_no,
    "choose": _choice(*get_args(Choose)),
    "max_new_tokens": lambda key, value: whole(key, value, most=100_000),
    "batch": lambda key, value: whole(key, value, most=10_000),
    "dtype": _choice("float32", "float16", "bfloat16", None),
    "device": _optional_text,
    "device_map": _optional_text,
    "load_in_8bit": _yes_no,
    "load_in_4bit": _yes_no,
    "rope_scaling_factor": _factor,
    "scorer": _optional_text,
    "revision": _optional_text,
    "base_url": _optional_text,
    "engine_url": _optional_text,
    "engine": _choice("vllm", None),
    "max_images": lambda key, value: None if value is None else whole(key, value, most=10_000),
    "max_pixels": lambda key, value: (
        None if value is None else whole(key, value, least=1024, most=100_000_000)
    ),
    "frames_as": _choice("pictures", "video", "video-twice"),
    "level": _choice("tokens", "pictures", None),
    "devices": _devices,
    "data": _text,
    "gt": _text,
    "outputs": _text,
    "replies": _text,
    "logs": _text,
}
