"""How long the command and the library take to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measure import Figure, Series, interleaved

SECTION = "Starting"
FVL = str(Path(sys.executable).with_name("fvl"))


def figures(repeats: int) -> list[Figure]:
    """Whole processes, less what the bare interpreter takes for the import."""

    def run(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    times = interleaved(
        {
            "fvl --help": lambda: run(FVL, "--help"),
            "import free_video_llm": lambda: run(sys.executable, "-c", "import free_video_llm"),
            "nothing": lambda: run(sys.executable, "-c", "pass"),
        },
        repeats, what="start",
    )  # fmt: skip
    spent = zip(times["import free_video_llm"].values, times["nothing"].values, strict=True)
    imported = Series("import free_video_llm", tuple(a - b for a, b in spent))
    return [
        Figure(SECTION, "`fvl --help`", times["fvl --help"], bound=0.5, at_least=False),
        Figure(
            SECTION, "`import free_video_llm`, less the bare interpreter", imported, bound=0.3,
            at_least=False,
        ),
    ]  # fmt: skip
