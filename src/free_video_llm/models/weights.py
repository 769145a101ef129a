"""A checkpoint's files as tensors: reads safetensors, or `.bin` without running what is pickled.

Checks them against a model's parameters. Knows nothing of layouts, names or what a model is for.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from free_video_llm.errors import CheckpointError, first_line, shown
from free_video_llm.small_files import check_regular, read_json


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file; `name` is its name there."""

    tensor: torch.Tensor
    file: Path
    name: str


#: Tensors by the name of the parameter that they are for.
Tensors = Mapping[str, Stored]


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before pickles, by the index if sharded."""
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{ending}.index.json"
        if index.is_file():
            return _indexed_files(index)
        single = folder / f"{stem}.{ending}"
        if single.exists():  # what it is, is checked when it is read
            return [single]
    raise CheckpointError(
        f"{folder} holds no weights: model.safetensors, pytorch_model.bin or a sharded form of "
        "either is needed"
    )


def _indexed_files(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index} has no weight_map of tensor names to files")
    for name in sorted(set(names.values())):
        inside = len(name) < 256 and Path(name).name == name and "\0" not in name
        if not inside or not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names {shown(name)}, which is not in {index.parent}")
    return [index.parent / name for name in sorted(set(names.values()))]


def read_tensors(files: Iterable[Path]) -> dict[str, Stored]:
    """All tensors of the files, memory-mapped, so that only what is used is read.

    Raises:
        CheckpointError: naming a file that is damaged, or that holds other things than tensors.
    """
    tensors: dict[str, Stored] = {}
    for file in files:
        check_regular(file)
        part = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
        for name, tensor in part.items():
            if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
                raise CheckpointError(f"{file}: {name!r} is not a tensor; only tensors are read")
            tensors[name] = Stored(tensor, file, name)
    return tensors


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)  # type: ignore[no-any-return]
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {file}: {first_line(error)}") from None


def _read_pickle(file: Path) -> dict[str, torch.Tensor]:
    try:
        # Files older than PyTorch 1.6 are not zip archives and cannot be mapped.
        part = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} holds more than tensors, or is damaged: pickled code and objects are never "
            "run or read; get the checkpoint as safetensors"
        ) from None
    except Exception as error:  # PyTorch's reader has many
        raise CheckpointError(f"cannot read {file}: {first_line(error)}") from None
    if not isinstance(part, dict):
        raise CheckpointError(f"{file} holds no table of tensors but a {type(part).__name__}")
    return part


def check_tensors(
    model: torch.nn.Module,
    tensors: Tensors,
    source: str,
    *,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Every parameter has its tensor of the right shape, and no tensor is left over.

    Args:
        model: may be on the meta device.
        tensors: by parameter name.
        source: what to call the checkpoint's files where a tensor is in none of them.
        name_in_file: from a parameter's name to the tensor's name in the files.

    Raises:
        CheckpointError: naming the tensor and the file.
    """
    wanted = dict(model.named_parameters())  # tied parameters once
    for name, parameter in wanted.items():
        stored = tensors.get(name)
        if stored is None:
            raise CheckpointError(
                f"{source}: the tensor {name_in_file(name)!r} "
                f"(shape {list(parameter.shape)}) is missing"
            )
        if stored.tensor.shape != parameter.shape:
            raise CheckpointError(
                f"{stored.file}: the tensor {stored.name!r} has shape "
                f"{list(stored.tensor.shape)}, config.json asks for {list(parameter.shape)}"
            )
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, stored in tensors.items():
        if name not in wanted and name not in tied:
            raise CheckpointError(
                f"{stored.file}: the tensor {stored.name!r} has no place in this model"
            )


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two modules have the same parameters, bit for bit."""
    ours, theirs = dict(first.named_parameters()), dict(second.named_parameters())
    if ours.keys() != theirs.keys():
        return False
    return all(
        p.shape == theirs[name].shape
        and p.dtype == theirs[name].dtype
        and torch.equal(p.data, theirs[name].data.to(p.device))
        for name, p in ours.items()
    )
