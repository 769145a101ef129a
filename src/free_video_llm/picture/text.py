"""Text for pictures: fonts for any script, and lines that fit a width that is measured.

Knows nothing of what is drawn. Text is set in DejaVu Sans, which ships with matplotlib; a character
that it lacks comes from a font of this machine, and where there is none stands as a box.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

MAIN_FONT = "DejaVu Sans"
#: Stands for a character that no font of this machine has.
MISSING = "□"
ELLIPSIS = "…"
#: Longer texts are cut before they are measured: no picture shows so much.
LONGEST_TEXT = 3_000

#: Asked first for characters that DejaVu lacks, as they look well beside it.
_PREFERRED = (
    "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC",
    "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "PingFang SC", "Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo", "Microsoft YaHei",
    "Yu Gothic", "Malgun Gothic", "SimHei", "Segoe UI", "Arial Unicode MS", "Arial",
    "Noto Sans Symbols2", "Noto Emoji", "Symbola", "Segoe UI Emoji", "Segoe UI Symbol",
)  # fmt: skip
#: Their glyphs are little pictures, which matplotlib cannot set.
_PICTURE_FONTS = ("Color Emoji", "Emoji One", "Twemoji", "LastResort", "Last Resort", "Adobe Blank")
_NEVER_BEGINS_A_LINE = frozenset(
    "、。，．：；！？）」』】〉》〕｝ー々ぁぃぅぇぉっゃゅょ”’…,.:;!?)]}%"
)
_NEVER_ENDS_A_LINE = frozenset("（「『【〈《〔｛“‘([{")
_BREAKS_AFTER = frozenset("-/_\\|–—")
#: Choose a variant of the emoji before them, which one-coloured fonts do not have.
_MODIFIERS = frozenset("\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

_lock = threading.Lock()


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    """Keeps matplotlib from logging, in this thread, that a font has no bold or slanted form."""
    here = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger = logging.getLogger("matplotlib.font_manager")
    logger.addFilter(is_of_others)
    try:
        yield
    finally:
        logger.removeFilter(is_of_others)


def _has(path: str, character: str) -> bool:
    try:
        font = FT2Font(path)
        return bool(font.scalable) and font.get_char_index(ord(character)) != 0
    except (OSError, RuntimeError, ValueError):
        return False


@lru_cache(maxsize=1)
def _main_font() -> str:
    return str(fontManager.findfont(MAIN_FONT))


@lru_cache(maxsize=1)
def _other_fonts() -> tuple[tuple[str, str], ...]:
    """Family and file of this machine's upright fonts, those that look well first."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in set(findSystemFonts()) - known:  # installed after matplotlib made its list
        with suppress(OSError, RuntimeError, ValueError):  # not a font that it can read
            fontManager.addfont(path)
    found: dict[str, str] = {}
    for entry in sorted(fontManager.ttflist, key=lambda e: (str(e.weight) not in _BOOK, e.fname)):
        plain = entry.style == "normal" and not any(part in entry.name for part in _PICTURE_FONTS)
        if plain and entry.name != MAIN_FONT:
            found.setdefault(entry.name, entry.fname)
    rank = {name: number for number, name in enumerate(_PREFERRED)}

    def order(family: str) -> tuple[int, bool, bool, str]:
        place = rank.get(family, len(rank))
        return place, "Serif" in family or "Mono" in family, "Noto Sans" not in family, family

    return tuple((family, found[family]) for family in sorted(found, key=order))


_BOOK = ("400", "normal", "regular", "book", "500", "medium")


@lru_cache(maxsize=8_192)
def _family_with(character: str) -> str | None:
    """The family to set a character in, None if no font of this machine has it."""
    if _has(_main_font(), character):
        return MAIN_FONT
    with _lock:
        fonts = _other_fonts()
    for family, path in fonts:
        if _has(path, character):
            return family
    return None


class Lettering:
    """Sets the texts of one picture: cleans, measures, wraps and cuts them.

    Args:
        dpi: of the picture: in few dots letters take more room than in many.

    Attributes:
        missing: the characters met so far that no font of this machine has.
    """

    def __init__(self, dpi: float = 288.0) -> None:
        self._renderer = RendererAgg(1, 1, dpi)
        self._points = 72 / dpi
        self.missing: set[str] = set()
        self._families = [MAIN_FONT]
        self._fonts: dict[tuple[float, bool, bool, int], FontProperties] = {}
        self._widths: dict[tuple[str, FontProperties], float] = {}

    def clean(self, text: str) -> str:
        """One line of characters that can be set: no controls, a box for what has no font."""
        return " ".join("".join(self._settable(text[:LONGEST_TEXT])).split())

    def _settable(self, text: str) -> Iterator[str]:
        for character in text:
            kind = unicodedata.category(character)
            if character.isspace():
                yield " "
                continue
            if character in _MODIFIERS or kind in ("Cc", "Cs", "Co"):
                continue
            family = _family_with(character)
            if family is not None:
                if family not in self._families:
                    self._families.append(family)
                yield character
            elif kind in ("Cf", "Mn", "Me"):
                continue
            else:
                self.missing.add(character)
                yield MISSING

    def font(self, size: float, *, bold: bool = False, italic: bool = False) -> FontProperties:
        """The font of a text that was cleaned, with others behind it for what it lacks."""
        key = (size, bold, italic, len(self._families))
        if key not in self._fonts:
            font = FontProperties(
                family=list(self._families),
                size=size,
                weight="bold" if bold else "normal",
                style="italic" if italic else "normal",
                stretch="normal",
                variant="normal",
            )
            with _quiet_fonts():  # matplotlib remembers what it finds here
                self._measure("x", font)
            self._fonts[key] = font
        return self._fonts[key]

    def _measure(self, text: str, font: FontProperties) -> float:
        dots: float = self._renderer.get_text_width_height_descent(text, font, False)[0]
        return dots * self._points

    def width(self, text: str, font: FontProperties) -> float:
        """Points that a line takes."""
        if not text:
            return 0.0
        key = (text, font)
        if key not in self._widths:
            self._widths[key] = self._measure(text, font)
        return self._widths[key]

    def fit(self, text: str, font: FontProperties, width: float) -> str:
        """A text that fits `width` points, its end cut with … if need be."""
        return self._cut(text, font, width, lambda keep: text[:keep].rstrip() + ELLIPSIS)

    def fit_middle(self, text: str, font: FontProperties, width: float) -> str:
        """The same with the middle cut, for names whose end tells more."""

        def shortened(keep: int) -> str:
            tail = keep // 2
            return text[: keep - tail].rstrip() + ELLIPSIS + text[len(text) - tail :].lstrip()

        return self._cut(text, font, width, shortened)

    def _cut(self, text: str, font: FontProperties, width: float, shortened: Any) -> str:
        if self.width(text, font) <= width:
            return text
        low, high = 0, len(text)
        while low < high - 1:  # the longest that fits
            keep = (low + high) // 2
            if self.width(shortened(keep), font) <= width:
                low = keep
            else:
                high = keep
        return str(shortened(low))

    def wrap(self, text: str, font: FontProperties, width: float, *, most: int) -> list[str]:
        """At most `most` lines of at most `width` points; the last is cut with … if need be."""
        lines: list[str] = []
        pieces = list(breakable_parts(text))
        while pieces and len(lines) <= most:
            taken = self._longest(pieces, font, width)
            if taken:
                lines.append("".join(pieces[:taken]).strip())
                pieces = pieces[taken:]
            else:  # one piece that is wider than a line
                head = max(1, self._longest(pieces[0], font, width))
                while head > 1 and unicodedata.combining(pieces[0][head]):
                    head -= 1
                lines.append(pieces[0][:head])
                pieces[0] = pieces[0][head:]
        if len(lines) <= most:
            return lines
        return [*lines[: most - 1], self.fit(lines[most - 1] + ELLIPSIS * 3, font, width)]

    def _longest(self, parts: Sequence[str], font: FontProperties, width: float) -> int:
        """How many of the parts fit side by side: a search, as measuring takes its time."""

        def fits(number: int) -> bool:
            return self.width("".join(parts[:number]).strip(), font) <= width

        low, step = 0, 8
        while low < len(parts) and fits(min(low + step, len(parts))):
            low, step = min(low + step, len(parts)), step * 2
        high = min(low + step, len(parts) + 1)
        while low < high - 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def runs_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction is of a right-to-left script."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False


def breakable_parts(text: str) -> Iterable[str]:
    """Parts of a text between which a line may end, each with the spaces after it."""
    piece = ""
    for position, character in enumerate(text):
        before = text[position - 1] if position else ""
        if piece and _may_break(before, character):
            yield piece
            piece = ""
        piece += character
    if piece:
        yield piece


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in _NEVER_BEGINS_A_LINE or unicodedata.combining(after):
        return False
    if before == " ":
        return True
    if before in _NEVER_ENDS_A_LINE:
        return False
    return before in _BREAKS_AFTER or _is_wide(before) or _is_wide(after)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
