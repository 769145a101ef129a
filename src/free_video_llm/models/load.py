"""From a name or a folder to a running model: finds its folder and lets its family do the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_video_llm.encoder.tower import Towers
from free_video_llm.errors import CheckpointError, ConfigError
from free_video_llm.llm.chat import ChatRequest, PictureLimits
from free_video_llm.llm.generate import Decoding, Generation, ImageLLM
from free_video_llm.llm.prompts import CHAT, TEMPLATES
from free_video_llm.models import (  # noqa: F401 (register their families)
    gemma3,
    internvl,
    llava,
    llava_onevision,
    pictures,
    qwen_vl,
    smolvlm,
)
from free_video_llm.models.checkpoint import Opened
from free_video_llm.models.family import LLM, Family, Level, family_of
from free_video_llm.models.folder import TINY, find_folder, read_config
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.scorers import DEFAULT_SCORER, build_scorer, find_scorer, open_scorer
from free_video_llm.models.servers import Server, open_server, server_of

__all__ = ["TINY", "LoadOptions", "Loaded", "load", "open_checkpoint"]


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: its parts, its prompt template, and where it came from.

    A model behind a server has no folder and no template: its server makes the prompt.
    """

    name: str
    layout: str
    folder: Path | None = field(repr=False)
    towers: Towers = field(repr=False)
    llm: LLM = field(repr=False)
    conv_mode: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def open_checkpoint(
    folder: Path, *, scorer: str | None = None, level: Level | None = None
) -> tuple[Family, Opened]:
    """A checkpoint's family, and the checkpoint read and checked without being built.

    Raises CheckpointError; see `load`.
    """
    config = read_config(folder)
    family = family_of(config, folder, level)
    return family, family.open(folder, config, scorer)


def fetch(name: str, *, revision: str | None = None, scorer: str | None = None) -> Path:
    """Download a model and the scorer that belongs to it, as far as they are not here; nothing is
    built.

    Raises:
        CheckpointError: it cannot be had, or does not fit together.
        ConfigError: it is behind a server.
    """
    if (served := server_of(name)) is not None:
        raise ConfigError(f"{name} is the affair of {served[0].title}: fetch it there")
    folder = find_folder(name, revision=revision)
    open_checkpoint(folder, scorer=scorer)
    return folder


def load(name: str | Path, options: LoadOptions | None = None) -> Loaded:
    """Load a model by Hub id, folder, the name "tiny", or a server's ("openai:NAME").

    Raises:
        CheckpointError: it cannot be found or does not fit together; names the tensor and file.
        ConfigError: an option that cannot be met on this machine.
    """
    options = options or LoadOptions()
    if (served := server_of(name)) is not None:
        return _behind_server(str(name), *served, options)
    if options.base_url is not None:
        raise ConfigError(f"base_url is for a model behind a server, as in openai:{name}")
    options.placement()  # what this machine cannot do is told before anything is read
    folder = find_folder(name, revision=options.revision)
    family, opened = open_checkpoint(folder, scorer=options.scorer, level=options.level)
    if family.level == "tokens" and options.max_images is not None:
        raise ConfigError(f"max_images is for models that are shown pictures, and {name} is not")
    if options.frames_as != "pictures":
        raise ConfigError(
            f"frames_as={options.frames_as} is for models behind a vLLM server, and {name} is here"
        )
    conv_mode = options.conv_mode or opened.conv_mode
    if conv_mode is None:
        raise CheckpointError(
            f"{opened.folder}: no prompt is known for a language model of type "
            f"{opened.config.text_config.model_type!r}, and its tokenizer has no chat template: "
            f"name one with conv_mode ({', '.join(TEMPLATES)})"
        )
    towers, llm = family.build(opened, options)
    if options.engine_url is not None or options.engine is not None:
        llm = _by_engine(llm, opened.folder, options, name)
    return Loaded(str(name), opened.layout, opened.folder, towers, llm, conv_mode, opened.settings)


def _by_engine(llm: LLM, folder: Path, options: LoadOptions, name: str | Path) -> LLM:
    """A language model that is decoded by vLLM, a server's or in this process."""
    from free_video_llm.llm.remote_tokens import RemoteTokens
    from free_video_llm.llm.vllm_engine import VllmTokens

    if not isinstance(llm, ImageLLM):
        raise ConfigError(
            f"an engine is for models whose visual tokens are built here, and those of {name} are "
            "its own: serve the whole model, and ask it as vllm:NAME"
        )
    if options.engine_url is not None:
        return RemoteTokens(llm, options.engine_url)
    return VllmTokens(llm, folder)


class FramesOnly:
    """In the place of a language model where frames are chosen and nothing is asked."""

    limits = PictureLimits()
    identity = "none"

    def reply(self, requests: Sequence[ChatRequest], decoding: Decoding) -> list[Generation]:
        """Raises ConfigError: there is nobody to answer."""
        raise ConfigError("no language model is loaded, only a scorer: VideoLLM.from_pretrained")


def load_scorer(options: LoadOptions) -> Loaded:
    """A scorer alone, which chooses frames and regions. Raises as `load` does."""
    options.placement()
    name = options.scorer or DEFAULT_SCORER
    towers = Towers(scorer=build_scorer(open_scorer(find_scorer(name)), options))
    return Loaded(name, "scorer", None, towers, FramesOnly(), CHAT)


def _behind_server(name: str, server: Server, model: str, options: LoadOptions) -> Loaded:
    """A picture model behind a server, and a scorer here that chooses what it is shown."""
    if options.level == "tokens":
        raise ConfigError(f"{name} is behind a server, which is shown pictures: no level=tokens")
    llm = open_server(server, model, options)
    scorer = open_scorer(find_scorer(options.scorer or DEFAULT_SCORER))
    towers = Towers(scorer=build_scorer(scorer, options))
    return Loaded(name, "server", None, towers, llm, CHAT)
