"""Where the material is that these tests look for beside the project: the real question files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FVL_SHARED", Path(__file__).parents[3] / "shared"))
CSV = {
    "msvd": "open_ended_qa/MSVD_QA.csv",
    "msrvtt": "open_ended_qa/MSRVTT_QA.csv",
    "tgif": "open_ended_qa/TGIF_FrameQA.csv",
    "activitynet": "open_ended_qa/ActivityNet_QA.csv",
    "nextqa": "multiple_choice_qa/NExT_QA.csv",
    "intentqa": "multiple_choice_qa/IntentQA.csv",
    "egoschema": "multiple_choice_qa/EgoSchema.csv",
    "star": "multiple_choice_qa/STAR.csv",
}


def real_csv(name: str) -> Path:
    """A set's real CSV file; the test is skipped where there is none."""
    path = SHARED / "data" / "igvlm" / CSV[name]
    if not path.is_file():
        pytest.skip(f"no {path}: set FVL_SHARED to the folder with data/igvlm")
    return path
