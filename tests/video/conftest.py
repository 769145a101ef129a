"""The clips, made once; and a way to forbid what would hide a wrong seek."""

from __future__ import annotations

import pytest
from video_clips import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def no_counting(monkeypatch):
    """Forbid the pass over every frame, which would make good what seeking got wrong."""

    def refuse(*_):
        raise AssertionError("every frame was decoded and counted")

    monkeypatch.setattr("free_video_llm.video.read.decode_counting", refuse)
