"""The bundled sample clips, by name: short clips of the toy world that `tiny` understands."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from pathlib import Path

from free_video_llm.errors import VideoError, one_of

FOLDER = Path(__file__).parent / "tiny" / "samples"
PREFIX = "sample:"


@dataclass(frozen=True)
class Sample:
    """A bundled clip with what to ask about it.

    Attributes:
        questions: with their true answers, which `tiny` gives under the default plan.
        contrasts: the same of questions that some plans get right and others wrong
            (docs/gallery.md shows which).
    """

    name: str
    about: str
    questions: tuple[tuple[str, str], ...]
    contrasts: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.mp4"


def all_samples() -> dict[str, Sample]:
    """Every bundled clip by name, as `samples.json` beside them says."""
    import json

    listed = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    return {
        name: Sample(
            name,
            entry["about"],
            tuple((q, a) for q, a in entry["questions"]),
            tuple((q, a) for q, a in entry.get("contrasts", [])),
        )
        for name, entry in listed.items()
    }


def find(source: str | Path) -> str:
    """The path of a source: `sample:NAME` is a bundled clip, anything else stays what it is.

    Raises:
        VideoError: there is no sample of that name.
    """
    source = str(source)
    if not source.startswith(PREFIX):
        return source
    known = all_samples()
    one_of("sample", source.removeprefix(PREFIX), known, VideoError)
    return str(known[source.removeprefix(PREFIX)].path)


def is_sample(path: str | Path) -> bool:
    """Whether a file is one of the bundled clips, wherever it lies."""
    path = Path(path)
    if not path.is_file():
        return False
    return any(
        path.stat().st_size == ours.stat().st_size and filecmp.cmp(path, ours, shallow=False)
        for ours in FOLDER.glob("*.mp4")
    )
