"""A model that is opened and checked but not built.

What belongs to one family of models is its own file's; this is what all have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from free_video_llm.errors import CheckpointError, shown
from free_video_llm.llm.prompts import END_OF_TURN, check_mode, choose_mode
from free_video_llm.llm.tokenizer import load_tokenizer, token_id
from free_video_llm.models.building import check_fits
from free_video_llm.models.folder import OWN_SETTINGS
from free_video_llm.models.scorers import ScorerFiles
from free_video_llm.models.weights import Tensors
from free_video_llm.small_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that is opened and checked but not built.

    Attributes:
        layout: for people: "original", "transformers", "pictures".
        config: transformers'.
        scorer: the model that scores frames.
        conv_mode: the prompt template that fits, None where none is known to.
        settings: what `fvl convert` or the training of `tiny` noted beside it.
    """

    folder: Path
    layout: str
    config: Any
    scorer: ScorerFiles
    conv_mode: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Opened):
    """The same of a model whose tensors we map ourselves, in transformers' names.

    Attributes:
        kind: the transformers class.
        tensors: by parameter name, memory-mapped; the vision tower's among them.
        token_ids: bos_token_id, eos_token_id and pad_token_id, as far as the checkpoint has them.
    """

    kind: type[PreTrainedModel]
    tensors: Tensors = field(repr=False)
    tokenizer: Any
    token_ids: Mapping[str, Any]


def finish_opening(
    folder: Path,
    layout: str,
    kind: type[PreTrainedModel],
    config: Any,
    tensors: Tensors,
    scorer: ScorerFiles,
    *,
    name_in_file: Callable[[str], str] = str,
) -> Checkpoint:
    """What every family does with what it has found: check the tensors, read tokenizer and prompt.

    Raises:
        CheckpointError: naming what does not fit.
    """
    check_fits(kind, config, tensors, folder, name_in_file)
    settings = read_json(folder / OWN_SETTINGS)
    tokenizer = load_tokenizer(folder)
    conv_mode = settings.get("conv_mode") or choose_mode(
        config.text_config.model_type,
        config.text_config.vocab_size,
        chatml=token_id(tokenizer, END_OF_TURN) is not None,
        has_chat=bool(getattr(tokenizer, "chat_template", None)),
    )
    if conv_mode is not None:
        check_mode(conv_mode)
    return Checkpoint(
        folder=folder,
        layout=layout,
        kind=kind,
        config=config,
        tensors=tensors,
        scorer=scorer,
        tokenizer=tokenizer,
        conv_mode=conv_mode,
        token_ids=_token_ids(folder, config),
        settings=settings,
    )


def _token_ids(folder: Path, config: Any) -> dict[str, Any]:
    noted = read_json(folder / "generation_config.json")
    found = {}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = noted.get(key, getattr(config.text_config, key, None))
        if key == "pad_token_id" and value == -1:  # how early Llamas say that there is none
            value = None
        if value is not None:
            source = folder / ("generation_config.json" if key in noted else "config.json")
            _check_token_id(key, value, int(config.text_config.vocab_size), source)
            found[key] = value
    return found


def _check_token_id(key: str, value: Any, vocabulary: int, source: Path) -> None:
    several = key == "eos_token_id" and isinstance(value, list) and value
    for number in value if several else [value]:
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or not 0 <= number < vocabulary:
            raise CheckpointError(
                f"{source}: {key} is a whole number from 0 to {vocabulary - 1:,}"
                f"{', or a list of them' if key == 'eos_token_id' else ''}, not {shown(value)}"
            )
