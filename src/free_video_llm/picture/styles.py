"""How pathways look in pictures: a colour and a shape each, told apart by the colour-blind.

Knows nothing of drawing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Okabe and Ito's palette without black and yellow, in the order in which it is given out.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Matplotlib's names of marker shapes.
SHAPES = ("^", "o", "s", "D", "v", "P", "X")
#: What pathways of these names always wear, so that pictures can be compared.
_USUAL = {"slow": 0, "middle": 1, "fast": 2, "frames": 3, "grid": 4}


@dataclass(frozen=True)
class Mark:
    """A pathway's colour and marker shape."""

    color: str
    shape: str


def marks_for(names: Iterable[str]) -> dict[str, Mark]:
    """A mark for each pathway: of six no two share a colour, of 42 none has both in common."""
    names = list(dict.fromkeys(names))
    given = {name: _mark(_USUAL[name]) for name in names if name in _USUAL}
    free = [_mark(n) for n in range(len(COLORS) * len(SHAPES)) if n not in _USUAL.values()]
    for name in names:
        if name not in given:
            colors = {mark.color for mark in given.values()}
            mark = next((m for m in free if m.color not in colors), free[0])
            given[name] = mark
            if len(free) > 1:
                free.remove(mark)
    return given


def _mark(number: int) -> Mark:
    return Mark(COLORS[number % len(COLORS)], SHAPES[number % len(SHAPES)])
