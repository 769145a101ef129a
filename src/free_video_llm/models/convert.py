"""Writes any checkpoint that can be opened as a folder in transformers' layout.

Tensors are copied from file to file as they are stored: no model is built, and no more memory is
needed than for one shard. Knows nothing of videos and plans.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.errors import CheckpointError, first_line
from free_video_llm.models.checkpoint import Checkpoint
from free_video_llm.models.folder import OWN_SETTINGS, find_folder, read_normalisation
from free_video_llm.models.load import open_checkpoint
from free_video_llm.models.weights import Tensors
from free_video_llm.small_files import read_json

#: Where the scoring CLIP model lies in a converted folder.
SCORER = "clip"
SHARD_BYTES = 5_000_000_000

_TOKENIZER = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def convert(
    source: str | Path,
    out: str | Path,
    *,
    scorer: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write `source` to the folder `out` in transformers' layout, and its scorer beside it.

    The folder holds everything: config.json, the weights as safetensors, the tokenizer,
    generation_config.json, preprocessor_config.json, the scoring CLIP model in `clip/`, and the
    prompt template in free_video_llm.json. It gives the same answers as the source.

    Args:
        source: a Hub id, a folder of either layout, or "tiny".
        out: a folder that does not exist yet, or is empty.
        scorer: the CLIP model to score with; None takes the matching one.
        shard_bytes: the most that one file of weights holds.

    Returns:
        The folder.

    Raises:
        CheckpointError: the source does not fit together, `out` holds something, or it cannot be
            written. Nothing is left behind then.
    """
    out = Path(out).expanduser()
    _refuse_to_overwrite(out)
    folder = find_folder(source)
    _, opened = open_checkpoint(folder, scorer=scorer)
    if not isinstance(opened, Checkpoint):
        raise CheckpointError(
            f"{folder} is in transformers' layout already, and a {opened.config.model_type} has no "
            "other: there is nothing to convert"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
            draft = Path(name) / "converted"
            (draft / SCORER).mkdir(parents=True)
            _write_model(opened, draft, shard_bytes)
            _write_scorer(opened, draft / SCORER, shard_bytes)
            _refuse_to_overwrite(out)
            if out.is_dir():
                out.rmdir()
            draft.replace(out)
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {first_line(error)}") from None
    return out


def _refuse_to_overwrite(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} holds something already: name a new or an empty folder")


def _write_model(opened: Checkpoint, out: Path, shard_bytes: int) -> None:
    _write_weights(opened.tensors, out, shard_bytes)
    _write_config(opened.config, opened.tensors, opened.kind.__name__, out)
    _copy_tokenizer(opened.folder, out)
    _write_json(out / "generation_config.json", dict(opened.token_ids))
    own = read_normalisation(opened.folder) or read_normalisation(opened.scorer.folder)
    _write_preprocessor(own, opened.config.vision_config.image_size, out)
    settings = {**opened.settings, "conv_mode": opened.conv_mode, "scorer": SCORER}
    _write_json(out / OWN_SETTINGS, settings)


def _write_scorer(opened: Checkpoint, out: Path, shard_bytes: int) -> None:
    clip = opened.scorer
    _write_weights(clip.tensors, out, shard_bytes)
    _write_config(clip.config, clip.tensors, "CLIPModel", out)
    _copy_tokenizer(clip.folder, out)
    size = clip.config.vision_config.image_size
    _write_preprocessor(read_normalisation(clip.folder), size, out)


def _write_weights(tensors: Tensors, out: Path, shard_bytes: int) -> None:
    from huggingface_hub import save_torch_state_dict

    state = {name: stored.tensor.contiguous() for name, stored in tensors.items()}
    save_torch_state_dict(state, out, max_shard_size=shard_bytes)


def _write_config(config: Any, tensors: Tensors, architecture: str, out: Path) -> None:
    config = copy.deepcopy(config)
    config.architectures = [architecture]
    config.dtype = next(iter(tensors.values())).tensor.dtype
    config.save_pretrained(out)


def _copy_tokenizer(source: Path, out: Path) -> None:
    for name in _TOKENIZER:
        if not (source / name).is_file():
            continue
        if name == "tokenizer_config.json":
            config = read_json(source / name)
            config.pop("auto_map", None)  # names code, which is neither copied nor run
            _write_json(out / name, config)
        else:
            shutil.copyfile(source / name, out / name)


def _write_preprocessor(normalisation: Normalisation | None, size: int, out: Path) -> None:
    normalisation = normalisation or Normalisation()
    square = {"height": size, "width": size}
    values = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(normalisation.mean),
        "image_std": list(normalisation.std),
    }
    _write_json(out / "preprocessor_config.json", values)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
