"""A white canvas that grows downwards: texts, lines, marks and images placed in points.

Wraps matplotlib's object interface, so that it works in any thread, and passes every property that
the user's matplotlib settings could otherwise change. Knows nothing of answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from free_video_llm.errors import ConfigError
from free_video_llm.picture.text import Lettering, runs_right_to_left

FORMATS = ("png", "svg", "pdf")
#: A canvas is as wide as a page without its margins, so that letters have their printed size.
WIDTH = 576.0
MARGIN = 24.0
#: Images in SVG and PDF, in pixels per inch of the canvas.
VECTOR_DPI = 220.0
#: Matplotlib's own limit of a picture's height.
TALLEST_PX = 65_000

INK = "#1b1f24"
MUTED = "#59636e"
FAINT = "#8b949e"
GRID = "#e4e8ec"
PANEL = "#f5f7f9"
PAPER = "#ffffff"

#: Type sizes in points, and the lines' distance as a multiple.
LARGE, TITLE, BODY, SMALL = 14.0, 9.5, 8.5, 7.5
LEADING = 1.38


class Canvas:
    """What is drawn on; coordinates are points from the top left corner."""

    def __init__(self, *, width_px: int, vector: bool) -> None:
        self.letters = Lettering(288.0 if vector else width_px / WIDTH * 72)
        self.vector = vector
        self.scale = (VECTOR_DPI if vector else width_px / WIDTH * 72) / 72
        self.figure = Figure(
            figsize=(WIDTH / 72, 1),
            dpi=width_px / WIDTH * 72,
            facecolor=PAPER,
            edgecolor=PAPER,
            frameon=True,
        )
        self.figure.set_layout_engine("none")
        self.figure.suppressComposite = True  # vector files keep the images' own resolution
        self.axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)
        self._order = 0

    def finish(self, height: float) -> Figure:
        """Cut it at a height; returns the figure."""
        dots = self.figure.dpi / 72
        height = math.ceil(height * dots) / dots
        if height * dots > TALLEST_PX:
            raise ConfigError(
                f"the picture would be {height * dots:,.0f} pixels high, of at most "
                f"{TALLEST_PX:,}; choose a smaller width_px"
            )
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(height, 0)
        self.figure.set_size_inches(WIDTH / 72, height / 72)
        FigureCanvasAgg(self.figure)
        return self.figure

    def _add(self, artist: Any, name: str | None) -> Any:
        self._order += 1
        artist.set_zorder(self._order)  # what comes later lies above
        artist.set_gid(name)
        artist.set_clip_on(False)
        return self.axes.add_artist(artist)

    # --- text -----------------------------------------------------------------------------------

    def measure(self, text: str, size: float, *, bold: bool = False) -> float:
        """Points that a line takes."""
        return self.letters.width(text, self.letters.font(size, bold=bold))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = BODY,
        bold: bool = False,
        italic: bool = False,
        color: str = INK,
        align: str = "left",
        name: str | None = None,
    ) -> float:
        """One line with its baseline at y; returns its width. The text was cleaned before."""
        font = self.letters.font(size, bold=bold, italic=italic)
        if text:
            artist = Text(
                x, y, text, fontproperties=font, color=color, ha=align, va="baseline",
                usetex=False, parse_math=False, rotation=0, wrap=False,
            )  # fmt: skip
            self._add(artist, name)
        return self.letters.width(text, font)

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        *,
        width: float,
        most: int,
        size: float = BODY,
        bold: bool = False,
        italic: bool = False,
        color: str = INK,
        name: str | None = None,
    ) -> float:
        """Wrapped lines below y, right-to-left scripts on the right; returns where they end."""
        text = self.letters.clean(text)
        font = self.letters.font(size, bold=bold, italic=italic)
        mirrored = runs_right_to_left(text)
        for line in self.letters.wrap(text, font, width, most=most):
            self.text(
                x + width if mirrored else x, y + size, line, size=size, bold=bold, italic=italic,
                color=color, align="right" if mirrored else "left", name=name,
            )  # fmt: skip
            y += size * LEADING
        return y

    # --- shapes ---------------------------------------------------------------------------------

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none",
        edge: str = "none", line: float = 0.0, name: str | None = None,
    ) -> Rectangle:  # fmt: skip
        """A rectangle."""
        patch = Rectangle(
            (x, y), width, height, facecolor=fill, edgecolor=edge, linewidth=line, linestyle="-"
        )
        self._add(patch, name)
        return patch

    def area(self, points: Sequence[tuple[float, float]], *, fill: str) -> None:
        """A filled polygon."""
        self._add(Polygon(points, closed=True, facecolor=fill, edgecolor="none", linewidth=0), None)

    def line(
        self, points: Sequence[tuple[float, float]], *, color: str = INK, width: float = 1.0,
        name: str | None = None,
    ) -> None:  # fmt: skip
        """A line through points."""
        xs, ys = zip(*points, strict=True)
        artist = Line2D(
            xs, ys, color=color, linewidth=width, linestyle="-", marker="None", alpha=None,
            solid_joinstyle="round", solid_capstyle="round",
        )  # fmt: skip
        self._add(artist, name)

    def segments(
        self,
        segments: Sequence[tuple[tuple[float, float], tuple[float, float]]],
        *,
        color: str,
        width: float,
        name: str | None = None,
    ) -> None:
        """Many separate straight lines."""
        artist = LineCollection(
            segments, colors=[color], linewidths=[width], linestyles="solid", capstyle="projecting"
        )
        self._add(artist, name)

    def marks(
        self, xs: Sequence[float], ys: Sequence[float], *, shape: str, color: str, size: float,
        rim: float = 0.7, name: str | None = None,
    ) -> None:  # fmt: skip
        """Marker shapes with a white rim, so that they stay apart."""
        artist = Line2D(
            xs, ys, linestyle="None", marker=shape, markersize=size, markerfacecolor=color,
            markeredgecolor=PAPER, markeredgewidth=rim, fillstyle="full",
        )  # fmt: skip
        self._add(artist, name)

    def image(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        compose: Callable[[int, int], npt.NDArray[np.uint8]],
        *,
        name: str | None = None,
    ) -> None:
        """An image that `compose(width_px, height_px)` makes at the canvas's own resolution."""
        dots = self.scale
        left, top = (x, y) if self.vector else (round(x * dots) / dots, round(y * dots) / dots)
        wide, high = max(1, round(width * dots)), max(1, round(height * dots))
        right, bottom = left + wide / dots, top + high / dots
        artist = AxesImage(
            self.axes,
            extent=(left, right, bottom, top),
            origin="upper",
            interpolation="none" if self.vector else "nearest",
            resample=False,
        )
        artist.set_data(compose(wide, high))
        self._add(artist, name)


def check_suffix(path: Path) -> str:
    """The format that a file's ending asks for. Raises ConfigError for any other."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise ConfigError(
            f"a picture's file ends in .png, .svg or .pdf, not {path.suffix or 'nothing'!r} "
            f"({path.name}); rename it"
        )
    return ending


def write_figure(figure: Figure, path: Path, *, title: str, description: str) -> Path:
    """Write a finished canvas; the texts go along as metadata. Raises ConfigError if it cannot be.

    The files hold no date: the same answer gives the same picture.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    title, description = _printable(title), _printable(description)
    kind = check_suffix(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "png":
            words = {"Title": title, "Description": description, "Software": "free-video-llm"}
            _write_png(figure, path, words)
        elif kind == "svg":
            words = {"Title": title, "Description": description, "Creator": "free-video-llm"}
            FigureCanvasSVG(figure).print_svg(path, metadata={**words, "Date": None})
        else:
            words = {"Title": title, "Subject": description, "Creator": "free-video-llm"}
            FigureCanvasPdf(figure).print_pdf(path, metadata={**words, "CreationDate": None})
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot write the picture {path}: {reason}; choose another") from error
    return path


def _write_png(figure: Figure, path: Path, words: dict[str, str]) -> None:
    """Without the transparency that matplotlib would write: a tenth smaller."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    info = PngInfo()
    for name, text in words.items():
        info.add_text(name, text)
    dpi = figure.dpi
    Image.fromarray(pixels).save(path, format="png", pnginfo=info, dpi=(dpi, dpi))


def _printable(text: str) -> str:
    """Without control characters and halves of pairs, which XML does not take."""
    return "".join(c if c.isprintable() else " " for c in text)
