"""Fixtures that several test files share."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

#: The tests' own clips are of coloured shapes; what is done without it is tested by itself.
os.environ["FVL_MODEL"] = "tiny"
#: And what whoever runs them has settled for themselves is no part of them.
for _name in ("FVL_CONFIG", "FVL_SCORER", "FVL_DEVICE", "FVL_PLAN", "FVL_BASE_URL"):
    os.environ.pop(_name, None)
os.environ["XDG_CONFIG_HOME"] = os.devnull


@pytest.fixture(autouse=True)
def _loud():
    """A command that was told to be quiet has not silenced the tests after it."""
    yield
    logging.getLogger("free_video_llm").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the golden files and clips: $FVL_SHARED, else `shared` beside the repo."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("FVL_SHARED", beside))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden files in {folder}: set FVL_SHARED to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """What the released code gave: checkpoints, and its outputs for four cases (METHOD §6)."""
    return shared / "golden"
