"""A visitor to the page: a browser of its own, and what a person does there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Kept by CI.
SCREENSHOTS = Path(__file__).resolve().parents[2] / "outputs" / "ci"
PLAYER = "#fvl-clip video"
QUESTION = "#fvl-question textarea"
#: Collects what the progress shows, which may be gone before a test can look.
_COLLECT = """
window.shown = [];
new MutationObserver(() => {
  const text = document.querySelector('.fvl-progress')?.textContent;
  if (text && window.shown.at(-1) !== text) window.shown.push(text);
}).observe(document, {childList: true, subtree: true});
"""


class Visitor:
    """One browser context with one page; nothing is shared with another visitor."""

    def __init__(
        self,
        browser: Any,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        password: str | None = None,
    ) -> None:
        self.url = url
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            http_credentials=password and {"username": "me", "password": password},
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(300_000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        # Asked for from the start: a chooser that opens before would be the browser's own.
        self.page.on("filechooser", lambda chooser: None)
        self.page.add_init_script(_COLLECT)
        self.page.goto(url)
        self.page.wait_for_selector("#fvl-ask")

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def upload(self, path: Path) -> None:
        self.page.set_input_files("#fvl-clip input[type=file]", str(path))

    def wait_for_clip(self) -> None:
        self.page.wait_for_selector("#fvl-facts .fvl-facts")
        self.page.wait_for_function(f"document.querySelector('{PLAYER}')?.duration > 0")

    def example(self, name: str) -> None:
        self.page.click(f"#fvl-sample-{name}")
        self.wait_for_clip()

    def ask(self, question: str) -> None:
        self.page.fill(QUESTION, question)
        self.page.click("#fvl-ask")

    def answer_to(self, question: str) -> str:
        """The answer, once the page shows that question."""
        self.page.wait_for_function(
            "q => document.querySelector('#fvl-result .fvl-question')?.textContent === q",
            arg=question,
        )
        return str(self.page.text_content("#fvl-result .fvl-said"))

    def fact(self, name: str) -> str:
        """A data attribute of the answer."""
        return str(self.page.get_attribute("#fvl-result .fvl-answer", f"data-{name}"))

    def error(self) -> str:
        return str(self.page.text_content("#fvl-status .fvl-error"))

    def wait_for_player_at(self, second: float) -> None:
        self.page.wait_for_function(
            f"s => Math.abs(document.querySelector('{PLAYER}').currentTime - s) < 0.02", arg=second
        )

    def outside(self) -> list[str]:
        """Requests that left this machine."""
        here = urlsplit(self.url).netloc
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != here
        ]

    def too_wide(self) -> list[str]:
        """What is cut off at the right, or makes the page scroll sideways."""
        found: list[str] = self.page.evaluate(
            """() => {
              const wide = document.documentElement.clientWidth;
              const out = [];
              if (document.documentElement.scrollWidth > wide) out.push('the page scrolls');
              for (const e of document.querySelectorAll('body *')) {
                const box = e.getBoundingClientRect();
                const seen = box.width > 0 && getComputedStyle(e).visibility !== 'hidden';
                if (seen && box.right > wide + 0.5) out.push(e.tagName + '.' + e.className);
              }
              return out;
            }"""
        )
        return found

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path), full_page=True)
