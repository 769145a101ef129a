"""Which model answers where none is named: the user's own, or for a bundled clip the embedded one.

An answer about coloured shapes helps nobody who asks about a video of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from free_video_llm.errors import CheckpointError
from free_video_llm.models.known import MODELS, ImageModel
from free_video_llm.models.servers import running
from free_video_llm.samples import PREFIX
from free_video_llm.settings import VARIABLES, setting, settings_file
from free_video_llm.video.fetch import is_address

#: The environment's variable with the name of the model to take.
VARIABLE = VARIABLES["model"]
#: Parameters of a model that is recommended for a CPU: a larger one takes minutes for an answer.
MOST_BILLIONS = 3


def model_for(source: str, *, memory_gb: float | None = None) -> str:
    """The model for a video, where its user named none.

    Args:
        source: the video, as given.
        memory_gb: main memory, to say which model fits; None where it is not known.

    Raises:
        CheckpointError: a video of one's own, and neither FVL_MODEL nor the settings name a model;
            with commands that would do.
        ConfigError: the settings cannot be read.
    """
    named = setting("model").value
    if named:
        return named
    there = os.path.isfile(source) or os.path.isdir(source) or is_address(source)
    if source.startswith(PREFIX) or not there:  # the video's own fault comes first
        return "tiny"
    ways = "\n".join(f"  {way}" for way in _ways(running(), memory_gb))
    raise CheckpointError(
        f"no model is named: add --model, set {VARIABLE}, or fvl config set model NAME, which "
        f"writes {settings_file()} (tiny, the embedded one, knows only coloured shapes):\n{ways}"
    )


def largest_fitting(memory_gb: float | None) -> ImageModel | None:
    """The largest known model that answers on a CPU of so much main memory without minutes."""
    room = 0.9 * (memory_gb or 0)
    fitting = [m for m in MODELS if 0.1 < m.billions < MOST_BILLIONS and m.memory_gb(32) <= room]
    return max(fitting, key=lambda model: model.billions, default=None)


def _ways(servers: Mapping[str, Sequence[str]], memory_gb: float | None) -> list[str]:
    """Ready options: the largest model that fits, what runs here, and a hosted one."""
    ways = []
    if (largest := largest_fitting(memory_gb)) is not None:
        ways.append(f"--model {largest.name:<34} downloads {largest.download_gb:.0f} GB")
    for prefix, models in servers.items():
        ways += [f"--model {prefix + ':' + name:<34} runs here" for name in models[:2]]
    if not servers:
        ways.append(f"--model {'ollama:qwen2.5vl:3b':<34} after: ollama pull qwen2.5vl:3b")
    ways.append(f"--model {'openai:gpt-4o-mini':<34} hosted; OPENAI_API_KEY, costs money")
    return ways
