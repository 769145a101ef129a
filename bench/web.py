"""Time the web page as a visitor meets it: start, page, upload, first and second answer.

    python bench/web.py                     # about two minutes; needs .[web,dev] and chromium
    python bench/web.py --visits 3 --clip holiday.mp4
    python bench/web.py --starts 1 --visits 1 --pictures docs/images     # the pages of docs/web.md

Starts `fvl web` anew for the first figure; then each visit is a fresh browser context, so nothing
is cached. Prints a table of medians and ranges.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from free_video_llm.samples import find

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
QUESTIONS = ("What color is the star?", "Where is the moon?")


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """The address of a new server, and the seconds from its start until it can be opened."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "free_video_llm.cli.main", "web", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TRANSFORMERS_VERBOSITY": "error"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise SystemExit("the server did not start")
        yield found[0], time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def visit(browser: Browser, url: str, clip: Path) -> dict[str, float]:
    """Seconds of each step of one visit."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    took: dict[str, float] = {}

    def timed(name: str, act: Any, wait: Any) -> None:
        begun = time.perf_counter()
        act()
        wait()
        took[name] = time.perf_counter() - begun

    timed(
        "page load, until it can be used",
        lambda: page.goto(url),
        lambda: page.wait_for_selector("#fvl-ask"),
    )
    timed(
        f"upload of {clip.stat().st_size / 1000:,.0f} kB",
        lambda: page.set_input_files("#fvl-clip input[type=file]", str(clip)),
        lambda: page.wait_for_selector("#fvl-facts .fvl-facts"),
    )
    for name, question in zip(("first answer", "second answer"), QUESTIONS, strict=True):
        page.fill("#fvl-question textarea", question)
        shown = "q => document.querySelector('#fvl-result .fvl-question')?.textContent === q"
        timed(
            name + ", from the click to the page",
            lambda: page.click("#fvl-ask"),
            lambda shown=shown, question=question: page.wait_for_function(shown, arg=question),
        )
        took[name + ", of that the model"] = float(
            page.get_attribute("#fvl-result .fvl-answer", "data-seconds") or "nan"
        )
    context.close()
    return took


def save_pictures(browser: Browser, url: str, folder: Path) -> None:
    """The page after a question, on a desk's screen and on a telephone's."""
    for name, wide, high, scale in (("web", 1280, 960, 1), ("web-phone", 390, 844, 2)):
        context = browser.new_context(
            viewport={"width": wide, "height": high}, device_scale_factor=scale
        )
        page = context.new_page()
        page.goto(url)
        page.click("#fvl-sample-star")
        page.wait_for_function("document.querySelector('#fvl-clip video')?.duration > 0")
        page.fill("#fvl-question textarea", QUESTIONS[0])
        page.click("#fvl-ask")
        page.wait_for_selector("#fvl-result .fvl-said")
        second = page.get_attribute(".fvl-thumb >> nth=1", "data-second")
        page.click(".fvl-thumb >> nth=1")
        page.wait_for_function(
            f"Math.abs(document.querySelector('#fvl-clip video').currentTime - {second}) < 0.02"
        )
        scroll = "document.querySelector('.fvl-answer').getBoundingClientRect().top + scrollY - 12"
        page.evaluate(f"window.scrollTo(0, {'0' if name == 'web' else scroll})")
        picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(folder / f"{name}.png", optimize=True)
        context.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--visits", type=int, default=7)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--clip", type=Path, default=find("sample:star"))
    parser.add_argument("--pictures", type=Path, help="save the page's pictures in this folder")
    args = parser.parse_args()
    program = next((path for path in CHROMIUM if Path(path).exists()), None)
    if program is None:
        raise SystemExit("no chromium: apt-get install chromium")
    starts: list[float] = []
    visits: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        clip = Path(folder) / ("clip" + args.clip.suffix)
        clip.write_bytes(args.clip.read_bytes())
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for number in range(args.starts):
            with served() as (url, seconds):
                starts.append(seconds)
                if number == args.starts - 1:
                    visits = [visit(browser, url, clip) for _ in range(args.visits)]
                    if args.pictures is not None:
                        save_pictures(browser, url, args.pictures)
        browser.close()
    rows = {"start of fvl web, until it can be opened": starts}
    rows |= {name: [took[name] for took in visits] for name in visits[0]}
    print("| step | median, s | range |\n|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | {statistics.median(values):.2f} | "
              f"{min(values):.2f} to {max(values):.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
