"""One configuration with lists is a sweep: a run for each combination, named for what differs.

sets: [toy]
model: tiny
plan: [paper, lean, uniform]
frames: [20, 50]
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from free_video_llm.errors import ConfigError, shown
from free_video_llm.evaluation.config import RunConfig

#: Runs of one sweep at most: more are a slip of a list.
MOST_RUNS = 500
#: What a list means more than one run of; a plan spelt out is a mapping.
_AXES = tuple(
    field.name
    for field in fields(RunConfig)
    if field.name not in ("name", "tasks", "outputs", "replies", "logs", "data", "gt", "devices")
)


def expand(data: Mapping[str, Any], *, name: str) -> list[dict[str, Any]]:
    """The configurations that one with lists stands for; itself where it has none.

    Args:
        name: where the data gives none; "paper-small" of a plan and 20 of frames become
            "name-paper-small-20".

    Raises:
        ConfigError: a list is empty, or says the same twice; or there are too many runs.

    Examples:
        >>> [c["name"] for c in expand({"plan": ["lean", "paper"], "frames": 8}, name="toy")]
        ['toy-lean', 'toy-paper']
    """
    axes = {key: value for key, value in data.items() if key in _AXES and isinstance(value, list)}
    if not axes:
        return [dict(data)]
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"{key} is an empty list: name at least one")
        slugs = [_slug(value) for value in values]
        if len(set(slugs)) < len(slugs):
            raise ConfigError(f"{key} names the same twice: {shown(values, 200)}")
    runs = list(itertools.product(*axes.values()))
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"the lists make {len(runs):,} runs; at most {MOST_RUNS} are one sweep")
    base = str(data.get("name") or name)
    return [
        {
            **data,
            **dict(zip(axes, values, strict=True)),
            "name": "-".join([base, *map(_slug, values)])[:150],
        }
        for values in runs
    ]


def _slug(value: Any) -> str:
    """A value as a part of a folder's name."""
    text = re.sub(r"[^A-Za-z0-9._+@=,]+", "-", str(value).rsplit("/", 1)[-1])
    return text.strip("-.") or "none"
