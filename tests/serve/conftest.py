"""One server for the tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from running import serving

from free_video_llm import VideoLLM


@pytest.fixture(scope="session")
def tiny() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def made(tiny) -> Iterator[Any]:
    with serving(tiny) as server:
        yield server


@pytest.fixture(scope="module")
def client(made) -> Any:
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0)
