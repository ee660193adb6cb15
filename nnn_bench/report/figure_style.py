"""How every figure looks, and how it becomes an SVG that repeats byte for byte.

Figures are drawn narrow, so that their letters stay readable on a phone. A file under `figures/` stands on a paper of
its own; inside a page the same drawing takes its colours from the page, which has a light and a dark set.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nnn_bench.report.numbers import scaled

WIDTH = 4.3  # inches; 310 points
INK = "#2a313b"
MUTED = "#6a7482"
GRID = "#e3e7ec"
PAPER = "#ffffff"

#: The baseline is ink; then colours that the common kinds of colour blindness keep apart (after Okabe and Ito).
VARIANT_COLORS = ("#3d4653", "#0072b2", "#d55e00", "#009e73", "#b5528b", "#c58a00", "#7856c9")
#: One marker more than colours, so that two variants of one colour never share it; the line changes with each round of colours.
MARKERS = ("D", "o", "s", "^", "v", "P", "X", "*")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (6, 1.6)), "-.", (0, (4, 1.2, 1, 1.2, 1, 1.2)))
DASHED: Any = (0, (4, 3))  # what is counted, not trained
QUARANTINED_LINE: Any = (0, (1.2, 1.5))
_LONGEST_IN_TWO_COLUMNS = 27  # letters of a legend's entry

#: Colour in a drawing -> the custom property of the page that replaces it.
_PAGE_COLORS = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--card"} | {
    color: f"--variant-{place}" for place, color in enumerate(VARIANT_COLORS)
}
_FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nnn_bench",
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.6,
    "figure.facecolor": PAPER,
}


@dataclass(frozen=True)
class Drawing:
    """A figure: the part of the report it belongs to, its file name, heading, the caption that explains it, its SVG."""

    group: str
    name: str
    heading: str
    caption: str
    svg: str


def variant_color(place: int) -> str:
    return VARIANT_COLORS[place % len(VARIANT_COLORS)]


def variant_line(place: int, *, quarantined: bool = False) -> dict[str, Any]:
    """How the line of a variant looks, for `plot`: thin, dotted and hollow in quarantine."""
    style = LINE_STYLES[place // len(VARIANT_COLORS) % len(LINE_STYLES)]
    own = {
        "color": variant_color(place),
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": style,
        "markersize": 3.2,
    }
    if quarantined:
        own |= {"linestyle": QUARANTINED_LINE, "linewidth": 1.1, "markerfacecolor": PAPER, "markeredgewidth": 0.8}
    return own


@contextmanager
def canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of the house's width and `height` inches with one pair of axes; closed when the block ends."""
    settings: Any = {**sns.axes_style("whitegrid"), **_SETTINGS}
    with matplotlib.rc_context(settings):
        figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def finish(axes: Axes, x: str, y: str) -> None:
    """Axis names with units (the vertical one lies above the axis, where it reads without turning the head)."""
    axes.set_xlabel(x)
    axes.set_title(y, loc="left", fontsize=9, color=MUTED, pad=7)
    sns.despine(ax=axes, left=True)
    axes.grid(axis="x", visible=False)
    axes.tick_params(length=0)


def legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, where it hides nothing; a name that occurs twice once."""
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    columns = _legend_columns(list(entries))
    figure.legend(entries.values(), entries.keys(), loc="outside upper left", ncols=columns, borderpad=0)


def legend_height(names: Sequence[str]) -> float:
    """Inches that a legend of these names takes."""
    columns = _legend_columns(names)
    return 0.19 * ((len(names) + columns - 1) // columns)


def _legend_columns(names: Sequence[str]) -> int:
    return 2 if max(map(len, names), default=0) <= _LONGEST_IN_TWO_COLUMNS else 1


def short_numbers(axes: Axes) -> None:
    """Few round ticks from zero on, labelled `1.5 M`."""
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value)))


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an SVG document that says in words what it shows. `name` keeps its ids apart on a page."""
    text = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=empty)
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"'DejaVu Sans'(, [^;\"]*)?(?=[;\"])", _FONTS, drawing)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", drawing)
    words = f'<title id="{name}-title">{escape(title)}</title>\n<desc id="{name}-desc">{escape(description)}</desc>\n'
    head, _, body = drawing.partition(">")
    return f'{head} role="img" aria-labelledby="{name}-title {name}-desc">\n{words}{body.lstrip()}'


def themed(drawing: str) -> str:
    """The drawing for use inside a page: colours from the page, width from its place, transparent paper."""
    for color, name in _PAGE_COLORS.items():
        drawing = re.sub(rf"{color}\b", f"var({name})", drawing, flags=re.IGNORECASE)
    return re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", drawing))
