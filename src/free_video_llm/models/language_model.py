"""`fvl convert --language-model`: a checkpoint's language model alone, for a vLLM server that
decodes our visual tokens (`llm/remote_tokens.py`)."""

from __future__ import annotations

from pathlib import Path

from free_video_llm.errors import ConfigError
from free_video_llm.llm.alone import write_alone
from free_video_llm.llm.generate import ImageLLM
from free_video_llm.models.load import load
from free_video_llm.models.options import LoadOptions


def write_language_model(
    source: str | Path, out: str | Path, *, dtype: str | None = None, revision: str | None = None
) -> Path:
    """Write the language model of a checkpoint whose visual tokens we build.

    Args:
        dtype: of the weights; the checkpoint's own where None.

    Raises:
        CheckpointError: it cannot be loaded.
        ConfigError: its visual tokens are its own, or the folder is not empty.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: name another folder")
    loaded = load(source, LoadOptions(device="cpu", dtype=dtype, revision=revision, scorer="tiny"))
    if not isinstance(loaded.llm, ImageLLM):
        raise ConfigError(
            f"the visual tokens of {loaded.name} are its own: serve the whole model, and ask it as "
            "a picture model (vllm:NAME)"
        )
    assert loaded.folder is not None
    write_alone(loaded.llm, loaded.folder, out)
    return out
