"""A running page, a real browser, and what the tests of the page share."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from free_video_llm import VideoLLM
from free_video_llm.samples import find
from free_video_llm.web.limits import Limits
from free_video_llm.web.sessions import Sessions
from free_video_llm.web.uploads import Uploads

CHROMIUM = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser")
                 if Path(p).exists()), None)  # fmt: skip
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="session")
def llm() -> VideoLLM:
    return VideoLLM.from_pretrained("tiny")


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return Uploads(folder)


@pytest.fixture
def upload(uploads: Uploads) -> Callable[..., Path]:
    """Puts a file into the folder as the server would: in a folder of its own."""

    numbers = itertools.count()

    def put(source: str | Path, name: str | None = None) -> Path:
        path = Path(find(source))
        place = uploads.folder / f"{next(numbers):064x}"
        place.mkdir()
        return Path(shutil.copy(path, place / (name or path.name)))

    return put


@pytest.fixture
def sessions(uploads: Uploads) -> Sessions:
    return Sessions(uploads, Limits())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no /usr/bin/chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
