"""Fetches a question set's files from the Hugging Face Hub: what there is, under which licence, how
large; whole files that a second call does not fetch again."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_video_llm.benchmarks.base import Hub, QuestionSet
from free_video_llm.errors import ConfigError, first_line


@dataclass(frozen=True)
class HubFile:
    """A file of a dataset: its name there, and its bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Listing:
    """What the Hub has of a set.

    Attributes:
        revision: the commit that is looked at.
        licence: as the dataset's card says, or "not said".
        gated: whether access has to be asked for.
        questions, videos: its files.
    """

    repository: str
    revision: str
    licence: str
    gated: bool
    note: str
    questions: tuple[HubFile, ...]
    videos: tuple[HubFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.__dict__,
            "questions": [file.__dict__ for file in self.questions],
            "videos": [file.__dict__ for file in self.videos],
        }


def list_set(chosen: QuestionSet, *, endpoint: str | None = None) -> Listing:
    """What the Hub has of a set.

    Args:
        endpoint: another Hub's address.

    Raises:
        ConfigError: the Hub does not have it, or cannot be reached.
    """
    from huggingface_hub import HfApi

    hub = _hub_of(chosen)
    try:
        info = HfApi(endpoint=endpoint).dataset_info(hub.repository, files_metadata=True)
    except Exception as error:
        raise _failed(hub, error) from None
    files = [HubFile(s.rfilename, int(s.size or 0)) for s in info.siblings or ()]
    card = info.card_data or {}
    return Listing(
        repository=hub.repository,
        revision=str(info.sha),
        licence=str(card.get("license") or "not said"),
        gated=bool(info.gated),
        note=hub.note,
        questions=_matching(files, hub.questions),
        videos=_matching(files, hub.videos),
    )


def fetch_set(
    listing: Listing,
    folder: Path,
    *,
    videos: bool = False,
    endpoint: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Fetch a set's questions, and where wanted its videos, into a folder; files that are whole are
    not fetched again, and of one that is not, what is missing.

    Args:
        progress: told how many files are there, and of how many.

    Raises:
        ConfigError: a file cannot be fetched, or is not as large as the Hub says.
    """
    from huggingface_hub import hf_hub_download

    files = [*listing.questions, *(listing.videos if videos else ())]
    paths = []
    for number, file in enumerate(files, start=1):
        path = folder / file.name
        if not (path.is_file() and path.stat().st_size == file.bytes):
            try:
                path = Path(
                    hf_hub_download(
                        listing.repository,
                        file.name,
                        repo_type="dataset",
                        revision=listing.revision,
                        local_dir=folder,
                        endpoint=endpoint,
                    )
                )
            except Exception as error:
                raise _failed(Hub(repository=listing.repository, questions=()), error) from None
            if path.stat().st_size != file.bytes:
                raise ConfigError(
                    f"{path} has {path.stat().st_size:,} bytes, and the Hub says {file.bytes:,}: "
                    "delete it, and fetch it again"
                )
        paths.append(path)
        if progress is not None:
            progress(number, len(files))
    return paths


def _hub_of(chosen: QuestionSet) -> Hub:
    if chosen.hub is None:
        raise ConfigError(
            f"{chosen.title or chosen.name} is not on the Hub in a form that is known here: name "
            "its file with --csv"
        )
    return chosen.hub


def _matching(files: list[HubFile], patterns: tuple[str, ...]) -> tuple[HubFile, ...]:
    return tuple(f for f in files if any(fnmatch.fnmatch(f.name, p) for p in patterns))


def _failed(hub: Hub, error: BaseException) -> ConfigError:
    name = type(error).__name__
    if name == "GatedRepoError":
        return ConfigError(
            f"access to {hub.repository} is asked for on https://huggingface.co/datasets/"
            f"{hub.repository}, then: hf auth login"
        )
    if name in ("RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError"):
        return ConfigError(f"the Hub has no dataset {hub.repository} as it is known here")
    return ConfigError(f"{hub.repository} cannot be fetched: {name}: {first_line(error)}")
