"""Finds a checkpoint's folder and reads its small files, each as a stranger's word.

Nothing is built and no weights are read. What a family makes of it is left to others.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from free_video_llm.encoder.pixels import Normalisation
from free_video_llm.errors import CheckpointError, shown
from free_video_llm.small_files import read_json

TINY = Path(__file__).parent.parent / "tiny" / "weights"
#: What we keep beside a checkpoint's own files: the prompt template and where its scorer is.
OWN_SETTINGS = "free_video_llm.json"

#: Entries of a config.json that make transformers fetch or run something, or spread the model.
_NEVER_READ = frozenset(
    {
        "auto_map",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "experts_implementation",
        "_experts_implementation",
        "kernel_config",
        "fusion_config",
        "distributed_config",
        "transformers_weights",
        "base_model_tp_plan",
        "_name_or_path",
    }
)


def find_folder(
    name: str | Path, *, relative_to: Path | None = None, revision: str | None = None
) -> Path:
    """The folder of a model: "tiny", a folder, or a Hub id (downloaded, or from the local cache).

    Args:
        relative_to: a folder in which the name is looked for first.
        revision: of a Hub id; a folder has none.

    Raises:
        CheckpointError: there is no such model, or no such revision of it.
    """
    folder = _local_folder(name, relative_to)
    if folder is not None:
        if revision is not None:
            raise CheckpointError(
                f"{str(name)!r} lies on this machine and has no revision {shown(revision)}: "
                "leave revision out, or give a Hub id"
            )
        return folder
    if not is_hub_id(name):
        raise CheckpointError(
            f"no model {str(name)!r}: give 'tiny', a folder that exists, or a Hub id such as "
            "llava-hf/llava-v1.6-vicuna-7b-hf"
        )
    return _from_hub(str(name).rstrip("/"), revision=revision)


def _local_folder(name: str | Path, relative_to: Path | None) -> Path | None:
    if str(name) == "tiny":
        return TINY
    path = Path(name).expanduser()
    for candidate in [relative_to / path] if relative_to else []:
        if candidate.is_dir():
            return candidate
    return path if path.is_dir() else None


def is_hub_id(name: str | Path) -> bool:
    parts = str(name).rstrip("/").split("/")  # released files write "liuhaotian/llava-v1.6-34b/"
    return len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~")


def named_inside(name: str, folder: Path, *, only_config: bool = False) -> Path:
    """The folder of a model that a checkpoint's own files name.

    They may come from a stranger: a path leads into the checkpoint's folder or nowhere, and before
    anything is fetched from the Hub it is said.

    Raises:
        CheckpointError: a path out of the folder, or neither a folder nor a Hub id.
    """
    path = Path(name)
    inside = folder / path
    if not path.is_absolute() and inside.is_dir():
        if not inside.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(
                f"{folder} names {shown(name)}, which leads out of it: only what lies inside of a "
                "checkpoint is opened; name the model yourself with scorer="
            )
        return inside
    if not is_hub_id(name):
        raise CheckpointError(
            f"{folder} names {shown(name)}, which is neither a folder inside of it nor a Hub id; "
            "name the model yourself with scorer="
        )
    return _from_hub(name.rstrip("/"), ["config.json"] if only_config else None, named_by=folder)


def _from_hub(
    name: str,
    only: list[str] | None = None,
    *,
    named_by: Path | None = None,
    revision: str | None = None,
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = only or ["*.json", "*.model", "*.safetensors", "*.txt"]
    if named_by is not None:
        with contextlib.suppress(HFValidationError, LocalEntryNotFoundError, OSError):
            return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        warnings.warn(
            f"{named_by.name} names {name} for its vision: it is fetched from the Hub", stacklevel=2
        )
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        if not only and not any(folder.glob("*.safetensors")):  # older ones have only pickles
            wanted = [*wanted, "*.bin"]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except HFValidationError:
        raise CheckpointError(f"{name!r} is neither a folder nor a Hub id") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"cannot get {name!r}{f' at revision {shown(revision)}' if revision else ''} from the "
            f"Hub and it is not in the local cache ({type(error).__name__}): check the name and "
            "the network, or give a folder"
        ) from None
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, without the entries that are never followed."""
    path = folder / "config.json"
    if not path.exists():
        raise CheckpointError(f"{folder} has no config.json: it is not a checkpoint's folder")
    data = read_json(path)
    if "quantization_config" in data:
        raise CheckpointError(
            f"{path}: the checkpoint is quantised already; give the full-precision one, "
            "with load_in_4bit or load_in_8bit if it has to be smaller"
        )
    return _inert(data)


def _inert(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _inert(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if key not in _NEVER_READ
    }


def read_normalisation(folder: Path) -> Normalisation | None:
    """Mean and standard deviation from `preprocessor_config.json`, if there is one."""
    data = read_json(folder / "preprocessor_config.json")
    mean, std = data.get("image_mean"), data.get("image_std")
    if mean is None or std is None:
        return None
    for values in (mean, std):
        three = isinstance(values, list) and len(values) == 3 and all(map(_is_number, values))
        if not three or (values is std and not all(v > 0 for v in values)):
            raise CheckpointError(
                f"{folder / 'preprocessor_config.json'}: image_mean and image_std are three "
                f"numbers each, those of image_std above 0, not {shown(values)}"
            )
    return Normalisation(tuple(mean), tuple(std))


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e9  # a whole number of any length may stand in a JSON
        and math.isfinite(value)
    )
