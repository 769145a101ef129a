"""Reads the released YAML files (Free Video-LLM's, SlowFast-LLaVA's) as a `RunConfig`.

Their SCRIPT entries are shell commands; they are recognised by name and never run. Values for the
whole file, or one for each SCRIPT, as the released code takes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks import get_set
from free_video_llm.errors import ConfigError, one_of
from free_video_llm.evaluation.config import RunConfig, Task, show, whole

KEYS = (
    "SCRIPT", "CUDA_VISIBLE_DEVICES", "CONFIG_NAME", "DATA_DIR", "GT_QA_DIR", "MODEL_PATH",
    "OUTPUT_DIR", "TEMP_DIR", "CONV_MODE", "NUM_FRAMES", "INPUT_STRUCTURE", "IMAGE_ASPECT_RATIO",
    "TEMPORAL_AGGREGATION", "ROPE_SCALING_FACTOR", "SAVE_DIR",
)  # fmt: skip

#: What each released script evaluates, by its name without `run_eval_` and `.sh`.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "videoqabench": ("msvd", "msrvtt", "tgif", "activitynet"),
    "multiplechoiceqabench": ("nextqa", "egoschema", "intentqa"),
    "msvd": ("msvd",),
    "msrvtt": ("msrvtt",),
    "tgif": ("tgif",),
    "activitynet": ("activitynet",),
    "nextqa": ("nextqa",),
    "egoschema": ("egoschema",),
    "intentqa": ("intentqa",),
    "star": ("star",),
}
_TEXT_GENERATION = ("generativebench", "generic", "temporal", "consistency")
_FOLDERS = {
    "OUTPUT_DIR": "outputs",
    "TEMP_DIR": "replies",
    "SAVE_DIR": "logs",
    "GT_QA_DIR": "gt",
}
_EACH = ("DATA_DIR", "CONV_MODE")


def is_released(data: Mapping[Any, Any]) -> bool:
    """Whether a file is of the released form: its keys are in capitals."""
    return any(isinstance(key, str) and key.isupper() for key in data)


def from_released(data: Mapping[Any, Any], *, name: str) -> RunConfig:
    """The same run as a `RunConfig`: released rules, PIL's resizing, 128 new tokens.

    Raises:
        ConfigError: naming the wrong entry, with the nearest right one.
    """
    for key in data:
        one_of("key of a released configuration", key, KEYS, ConfigError)
    if "SCRIPT" not in data:
        raise ConfigError("SCRIPT is missing: it names what is evaluated")
    scripts = data["SCRIPT"] if isinstance(data["SCRIPT"], list) else [data["SCRIPT"]]
    values: dict[str, Any] = {}
    for key, value in data.items():
        items = _for_each(key, value, len(scripts))
        values[key] = items if key in _EACH or key == "SCRIPT" else _same(key, items)
    _only("INPUT_STRUCTURE", values, "image_seq")
    _only("IMAGE_ASPECT_RATIO", values, "resize")
    options: dict[str, Any] = {
        ours: _text(key, values[key]) for key, ours in _FOLDERS.items() if key in values
    }
    named = values.get("CONFIG_NAME", "auto")
    options["name"] = name if named == "auto" else named
    if "MODEL_PATH" in values:
        path = _text("MODEL_PATH", values["MODEL_PATH"])
        options["model"] = path.rstrip("/") or path
    if "TEMPORAL_AGGREGATION" in values:
        options["plan"] = values["TEMPORAL_AGGREGATION"]
    if "NUM_FRAMES" in values:
        options["frames"] = whole("NUM_FRAMES", _number(values["NUM_FRAMES"]), most=10_000)
    if "ROPE_SCALING_FACTOR" in values:
        options["rope_scaling_factor"] = _number(values["ROPE_SCALING_FACTOR"])
    if "CUDA_VISIBLE_DEVICES" in values:
        options["devices"] = values["CUDA_VISIBLE_DEVICES"]
    tasks = _tasks(scripts, values.get("DATA_DIR"), values.get("CONV_MODE"))
    return RunConfig(tasks=tasks, rules="released", **options)


def _for_each(key: str, value: Any, count: int) -> list[Any]:
    items = value if isinstance(value, list) else [value] * count
    if len(items) != count:
        raise ConfigError(
            f"{key} has {len(items)} values for {count} entries of SCRIPT: give one, or as many"
        )
    return items


def _same(key: str, items: list[Any]) -> Any:
    if any(item != items[0] for item in items[1:]):
        raise ConfigError(f"{key} must be the same for every SCRIPT here: split the file")
    return items[0] if items else None


def _tasks(scripts: list[Any], data: list[Any] | None, modes: list[Any] | None) -> tuple[Task, ...]:
    tasks = []
    for number, script in enumerate(scripts):
        for name in _sets_of(script):
            videos = None
            if data is not None:
                videos = str(Path(_text("DATA_DIR", data[number])) / get_set(name).video_folder)
            mode = None if modes is None else _text("CONV_MODE", modes[number])
            tasks.append(Task(set=name, videos=videos, conv_mode=mode))
    return tuple(tasks)


def _sets_of(script: Any) -> tuple[str, ...]:
    text = _text("SCRIPT", script)
    match = re.fullmatch(r"\s*(?:bash\s+|sh\s+)?(?:[\w./-]*/)?run_eval_(\w+)\.sh\s*", text)
    if match is None:
        raise ConfigError(
            f"SCRIPT {show(text)} is not one of the released scripts, as in "
            "'bash scripts/run_eval_videoqabench.sh' (commands are recognised, never run)"
        )
    if match[1] in _TEXT_GENERATION:
        raise ConfigError(
            f"SCRIPT {show(text)}: the text generation benchmark is not evaluated here; "
            "take it out of SCRIPT (and its values out of DATA_DIR and CONV_MODE)"
        )
    one_of("script", match[1], SCRIPTS, ConfigError)
    return SCRIPTS[match[1]]


def _only(key: str, values: Mapping[str, Any], allowed: str) -> None:
    if key in values and values[key] != allowed:
        raise ConfigError(f"{key} can only be {allowed!r} here, not {show(values[key])}")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} is a text, not {show(value)}")
    return value


def _number(value: Any) -> Any:
    """The released files write some numbers as texts."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", value.strip()):
        return float(value)
    return value
