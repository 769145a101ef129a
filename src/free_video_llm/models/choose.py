"""Which model answers where none is named: the user's own, or for a bundled clip the embedded one.

An answer about coloured shapes helps nobody who asks about a video of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from free_video_llm.errors import CheckpointError
from free_video_llm.models.known import MODELS
from free_video_llm.models.servers import running
from free_video_llm.samples import PREFIX

#: The environment's variable with the name of the model to take.
VARIABLE = "FVL_MODEL"
#: Parameters of a model that is recommended for a CPU: a larger one takes minutes for an answer.
MOST_BILLIONS = 3


def model_for(source: str, *, memory_gb: float | None = None) -> str:
    """The model for a video, where its user named none.

    Args:
        source: the video, as given.
        memory_gb: main memory, to say which model fits; None where it is not known.

    Raises:
        CheckpointError: a video of one's own, and FVL_MODEL is not set; with commands that would
            do.
    """
    named = (os.environ.get(VARIABLE) or "").strip()
    if named:
        return named
    if source.startswith(PREFIX) or not os.path.exists(source):  # the video's own fault comes first
        return "tiny"
    ways = "\n".join(f"  {way}" for way in _ways(running(), memory_gb))
    raise CheckpointError(
        f"no model is named: add --model, or set {VARIABLE} (tiny, the embedded one, knows only "
        f"coloured shapes):\n{ways}"
    )


def _ways(servers: Mapping[str, Sequence[str]], memory_gb: float | None) -> list[str]:
    """Ready options: the largest model that fits, what runs here, and a hosted one."""
    ways = []
    room = 0.9 * (memory_gb or 0)
    fitting = [m for m in MODELS if 0.1 < m.billions < MOST_BILLIONS and m.memory_gb(32) <= room]
    if fitting:
        largest = max(fitting, key=lambda model: model.billions)
        ways.append(f"--model {largest.name:<34} downloads {largest.download_gb:.0f} GB")
    for prefix, models in servers.items():
        ways += [f"--model {prefix + ':' + name:<34} runs here" for name in models[:2]]
    if not servers:
        ways.append(f"--model {'ollama:qwen2.5vl:3b':<34} after: ollama pull qwen2.5vl:3b")
    ways.append(f"--model {'openai:gpt-4o-mini':<34} hosted; OPENAI_API_KEY, costs money")
    return ways
