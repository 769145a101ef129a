"""Draw the pictures of docs/gallery.md and fill in its tables; `make gallery` runs it.

Every answer comes from the embedded model at that moment, on the bundled samples. The page's own
words are written by hand; what stands between its `answers` marks is written here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from free_video_llm import VideoLLM
from free_video_llm.answer import Answer
from free_video_llm.picture import save_comparison, save_picture
from free_video_llm.samples import all_samples

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "gallery.md"
IMAGES = DOCS / "images"
MANY = "slow=prompt:24/spatial_1d_max_pool/crop:0.6"


@dataclass(frozen=True)
class Shown:
    """A picture of the page: an evidence picture of one plan, a comparison of several."""

    image: str
    sample: str
    question: str
    plans: tuple[str, ...]

    @property
    def truth(self) -> str:
        sample = all_samples()[self.sample]
        return dict((*sample.questions, *sample.contrasts))[self.question]


GALLERY = (
    Shown("evidence", "star", "What color is the star?", ("paper",)),
    Shown("gallery-many", "crossing", "What color is the circle?", (MANY,)),
    Shown(
        "gallery-plans",
        "needle",
        "What color is the diamond?",
        ("paper", "slowfast", "ig-vlm", "prompt-3", "uniform-3"),
    ),
    Shown(
        "gallery-glimpse", "glimpse", "What color is the star?", ("prompt-3", "uniform-3", "paper")
    ),
    Shown(
        "gallery-edge",
        "edge",
        "What shape is the green object?",
        ("prompt-3", "uniform-3", "paper"),
    ),
)


def ask(llm: VideoLLM, shown: Shown) -> list[Answer]:
    """The question of a picture under each of its plans."""
    video = llm.watch(all_samples()[shown.sample].path)
    video.ask(shown.question, plan=shown.plans[0])  # warms up, so that the times are fair
    return [video.ask(shown.question, plan=plan) for plan in shown.plans]


def table(shown: Shown, answers: Sequence[Answer]) -> str:
    """What each plan kept, cost and answered, as Markdown."""
    lines = ["| plan | tokens | frames in detail, at seconds | answer | |", "|---|---|---|---|---|"]
    for answer in answers:
        coarse = {p.name for p in answer.plan.pathways if p.pool.grid is not None}
        seconds = sorted(
            {
                kept.second
                for part in answer.evidence.pathways
                if part.name not in coarse
                for kept in part.kept
            }
        )
        times = ", ".join(f"{second:.1f}" for second in seconds[:10])
        if len(seconds) > 10:
            times = f"{len(seconds)} from {seconds[0]:.1f} to {seconds[-1]:.1f}"
        verdict = "right" if answer.text.strip().lower() == shown.truth else "wrong"
        tokens = f"{len(answer.visual_tokens):,}"
        lines.append(f"| `{answer.plan}` | {tokens} | {times} | **{answer.text}** | {verdict} |")
    return "\n".join(lines)


def filled(page: str, shown: Shown, written: str) -> str:
    """The page with the table of a picture put in its place.

    Raises:
        ValueError: the page has no place for it.
    """
    block = re.compile(rf"(<!-- answers {shown.image} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(page):
        raise ValueError(f"{PAGE.name} has no `<!-- answers {shown.image} -->` … `<!-- end -->`")
    return block.sub(lambda found: found[1] + written + "\n" + found[2], page)


def main() -> None:
    llm = VideoLLM.from_pretrained("tiny")
    page = PAGE.read_text(encoding="utf-8")
    for shown in GALLERY:
        answers = ask(llm, shown)
        path = IMAGES / f"{shown.image}.png"
        if len(answers) == 1:
            save_picture(answers[0], path)
        else:
            save_comparison(answers, path)
        page = filled(page, shown, table(shown, answers))
        print(f"{path.relative_to(DOCS)}  {path.stat().st_size / 1000:.0f} kB")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
