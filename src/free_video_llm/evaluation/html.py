"""What the pages of a run are made of: the page itself, tables, timelines, frames with regions.

Every text is escaped; a page loads nothing and has no script: pictures lie within it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from free_video_llm.evaluation.page_frames import PageFrame
from free_video_llm.evaluation.render import Table

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #2a78d6; --bad: #c0392b;
  --good: #1e8449 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a7a; --good: #6fd39a; --mark: #6aa9f0 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap }
th:first-child, td:first-child { white-space: pre-wrap; min-width: 7rem; max-width: 32rem;
  overflow-wrap: anywhere }
.words td:last-child { white-space: normal; overflow-wrap: anywhere; width: 100% }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem;
  margin: .7rem 0 }
article p { margin: .2rem 0; overflow-wrap: anywhere }
.small { opacity: .75; font-size: .87rem }
.good { color: var(--good) } .bad { color: var(--bad) }
svg { display: block; width: 100%; min-width: 42rem; height: auto; margin-top: .4rem }
svg text { font: 9px system-ui, sans-serif; fill: currentColor }
svg .end { text-anchor: end }
.frames { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .5rem }
.frames figure { margin: 0 } .frames img { display: block; height: 7.5rem; width: auto }
.frames div { position: relative }
.frames i { position: absolute; border: 2px solid var(--mark); box-sizing: border-box;
  box-shadow: 0 0 0 1px #fff9 }
.frames figcaption { font-size: .8rem; opacity: .8 }
.both { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 0 1.5rem }
.both > div { min-width: 0 } .both svg { min-width: 28rem } .both svg text { font-size: 12px }
"""
_WIDTH, _LANE = 720.0, 26.0
#: Where the time begins and ends in a timeline, and how large a frame is in it.
_LEFT, _RIGHT, _FRAME = 122.0, 702.0, (24.0, 20.0)


def document(title: str, body: Sequence[str]) -> str:
    """A whole page. `title` is a text; `body` is HTML."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def table(content: Table, *, words: bool = False) -> str:
    """A table of figures, which scrolls where it is too wide, or of words, which are broken."""
    header, lines = content

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(line, "td") for line in lines)
    kind = "wide words" if words else "wide"
    return f'<div class="{kind}"><table>{row(header, "th")}{body}</table></div>'


def question(row: dict[str, Any]) -> list[str]:
    """A row's question, its options and the correct answer."""
    parts = [f"<p><strong>{escape(row['question'])}</strong></p>"]
    for i, option in enumerate(row["options"]):
        parts.append(f'<p class="small">({chr(65 + i)}) {escape(option)}</p>')
    return parts


def frames(kept: Sequence[PageFrame]) -> str:
    """Kept frames side by side, each with its region and its second."""
    found = []
    for frame in kept:
        data = base64.b64encode(frame.jpeg).decode()
        left, top, right, bottom = (100 * edge for edge in frame.region)
        whole = (left, top, right, bottom) == (0, 0, 100, 100)
        box = (
            ""
            if whole
            else f'<i style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;'
            f'height:{bottom - top:.2f}%"></i>'
        )
        told = f"{frame.second:.2f} s"
        found.append(
            f'<figure><div><img alt="frame at {told}" src="data:image/jpeg;base64,{data}">{box}'
            f"</div><figcaption>{told}</figcaption></figure>"
        )
    return f'<div class="frames">{"".join(found)}</div>' if found else ""


def timeline(evidence: dict[str, Any]) -> str:
    """When the kept frames were, lane by lane; a box shows the region that was kept."""
    length = max(evidence["duration_seconds"], *evidence["sampled"]["seconds"], 1e-6)
    lanes = evidence["pathways"]
    height = _LANE * (len(lanes) + 1) + 14
    wide, high = _FRAME
    shapes = [_scores(evidence["sampled"], length)]
    for number, pathway in enumerate(lanes, start=1):
        top = _LANE * number
        label = escape(f"{pathway['name']}: {pathway['tokens']} tokens")
        shapes.append(f'<text x="0" y="{top + 15:.0f}">{label}</text>')
        for kept in pathway["frames"]:
            x = _x(kept["second"], length) - wide / 2
            tip = escape(f"{kept['second']:.2f} s, similarity {kept['score']:.3f}")
            left, up, right, down = kept.get("region", (0.0, 0.0, 1.0, 1.0))
            shapes.append(
                f'<g><title>{tip}</title><rect x="{x:.1f}" y="{top + 2:.1f}" '
                f'width="{wide:.0f}" height="{high:.0f}" '
                'fill="none" stroke="currentColor" stroke-opacity=".5"/>'
                f'<rect x="{x + wide * left:.1f}" y="{top + 2 + high * up:.1f}" '
                f'width="{wide * (right - left):.1f}" height="{high * (down - up):.1f}" '
                'fill="var(--mark)" fill-opacity=".45"/></g>'
            )
    shapes.append(
        f'<text x="{_LEFT:.0f}" y="{height - 3:.0f}">0 s</text>'
        f'<text class="end" x="{_RIGHT:.0f}" y="{height - 3:.0f}">{length:.1f} s</text>'
    )
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="frames and regions that were kept">{"".join(shapes)}</svg></div>'
    )


def _x(second: float, length: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * second / length


def _scores(sampled: dict[str, Any], length: float) -> str:
    """How similar each sampled frame is to the question."""
    low, high = min(sampled["scores"]), max(sampled["scores"])
    span = (high - low) or 1.0
    points = " ".join(
        f"{_x(second, length):.1f},{22 - 18 * (score - low) / span:.1f}"
        for second, score in zip(sampled["seconds"], sampled["scores"], strict=True)
    )
    return (
        '<text x="0" y="10">similarity</text>'
        f'<text x="0" y="21" opacity=".7">{low:.3f} to {high:.3f}</text>'
        f'<polyline points="{points}" fill="none" stroke="var(--mark)" stroke-width="1.5"/>'
    )
