"""Scoring models by the model type of their config.json: opened, checked, built, with tokenizer.

One entry of `KINDS` each; what they compute is in `encoder/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_video_llm.encoder.clip_scorer import ClipScorer
from free_video_llm.encoder.scorer import Scorer
from free_video_llm.encoder.siglip_scorer import SiglipScorer
from free_video_llm.errors import CheckpointError, first_line
from free_video_llm.models import llava_layout
from free_video_llm.models.building import build, check_fits, config_of
from free_video_llm.models.folder import (
    OWN_SETTINGS,
    TINY,
    find_folder,
    named_inside,
    read_config,
    read_normalisation,
)
from free_video_llm.models.options import LoadOptions
from free_video_llm.models.weights import Tensors, read_tensors, weight_files
from free_video_llm.small_files import check_regular, read_json

#: Scores frames for models that have no text encoder of their own: the smallest CLIP (151 M
#: parameters, 4.4 GFLOP a frame), which two cores run at some twenty frames a second.
DEFAULT_SCORER = "openai/clip-vit-base-patch32"
#: The embedded model's own.
TINY_SCORER = TINY / "clip"


@dataclass(frozen=True, kw_only=True)
class ScorerKind:
    """One kind of scoring model.

    Attributes:
        vision: the model type of its vision encoder's config.
        classes: gives transformers' classes of its config and of the model.
        tokenizer: reads a folder's.
        make: the model, its tokenizer and the pixels' mean and deviation to a `Scorer`.
    """

    vision: str
    classes: Callable[[], tuple[Any, Any]]
    tokenizer: Callable[[Path], Any]
    make: Callable[..., Scorer]


@dataclass(frozen=True)
class ScorerFiles:
    """A scoring model that is opened but not built; `tensors` by parameter name."""

    folder: Path
    model_type: str
    config: Any
    tensors: Tensors = field(repr=False)


def find_scorer(name: str | Path, *, relative_to: Path | None = None) -> Path:
    """The folder of a scoring model: "tiny", a folder, or a Hub id. Raises CheckpointError."""
    if str(name) == "tiny":
        return TINY_SCORER
    return find_folder(name, relative_to=relative_to)


def scorer_beside(folder: Path, named: str | None) -> ScorerFiles:
    """The user's scorer, the one noted or lying beside a checkpoint, or the small default: for
    towers that were tuned with the language model, whose own text encoder nobody has."""
    if named:
        return open_scorer(find_scorer(named, relative_to=folder))
    if (folder / "clip" / "config.json").is_file():
        return open_scorer(folder / "clip")
    noted = read_json(folder / OWN_SETTINGS).get("scorer")
    if noted:
        return open_scorer(named_inside(str(noted), folder))
    return open_scorer(find_scorer(DEFAULT_SCORER))


def open_scorer(folder: Path) -> ScorerFiles:
    """Read and check the scoring model in a folder, without building it. Raises CheckpointError."""
    data = read_config(folder)
    name = data.get("model_type")
    kind = KINDS.get(str(name))
    if kind is None:
        allowed = " or ".join(f"'{known}'" for known in KINDS)
        raise CheckpointError(
            f"{folder} holds a model of type {name!r}; a scorer is a {allowed} model, with its "
            "text encoder"
        )
    config_class, model_class = kind.classes()
    config = config_of(config_class, data, folder, vision=kind.vision)
    stored = read_tensors(weight_files(folder))
    tensors = {name: t for name, t in stored.items() if not llava_layout.is_buffer(name)}
    check_fits(model_class, config, tensors, folder)
    return ScorerFiles(folder, str(name), config, tensors)


def build_scorer(files: ScorerFiles, options: LoadOptions) -> Scorer:
    """The model that scores, with its tokenizer. Raises CheckpointError."""
    kind, placement = KINDS[files.model_type], options.scorer_placement()
    model = build(kind.classes()[1], files.config, files.tensors, files.folder, placement)
    return kind.make(model, kind.tokenizer(files.folder), read_normalisation(files.folder))


# --- the kinds -------------------------------------------------------------------------------


def _clip_classes() -> tuple[Any, Any]:
    from transformers import CLIPConfig, CLIPModel

    return CLIPConfig, CLIPModel


def _clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    return _tokenizer(CLIPTokenizer, folder, [{"tokenizer.json"}, {"vocab.json", "merges.txt"}])


def _siglip_classes() -> tuple[Any, Any]:
    from transformers import SiglipConfig, SiglipModel

    return SiglipConfig, SiglipModel


def _siglip_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer  # SigLIP's own, or Gemma's for SigLIP 2

    return _tokenizer(AutoTokenizer, folder, [{"tokenizer.json"}, {"spiece.model"}])


def _tokenizer(kind: Any, folder: Path, files: list[set[str]]) -> Any:
    """A folder's tokenizer, which needs one of these sets of files."""
    there = {path.name for path in folder.iterdir()}
    if not any(needed <= there for needed in files):
        words = ", or ".join(" and ".join(sorted(needed, reverse=True)) for needed in files)
        raise CheckpointError(f"{folder} has no tokenizer for its text encoder: {words} are needed")
    for name in sorted(there & set().union(*files)):
        check_regular(folder / name)
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of several libraries
        raise CheckpointError(f"{folder}: cannot read its tokenizer: {first_line(error)}") from None


KINDS: dict[str, ScorerKind] = {
    "clip": ScorerKind(
        vision="clip_vision_model",
        classes=_clip_classes,
        tokenizer=_clip_tokenizer,
        make=ClipScorer,
    ),
    "siglip": ScorerKind(
        vision="siglip_vision_model",
        classes=_siglip_classes,
        tokenizer=_siglip_tokenizer,
        make=SiglipScorer,
    ),
}
