"""Heat-maps in the house's style: cells as vectors, few colours that grow darker or lighter in step, one bar that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from nnn_bench.report.figure_style import MUTED
from nnn_bench.report.numbers import scaled

Grid = NDArray[np.float64]

ROW = 0.15  # inches
FONT = 6.5
#: Of numbers inside cells: near white and near black, and not the page's colours, which turn in the dark while cells stay.
_LIGHT, _DARK = "#fdfdfd", "#101418"


@dataclass(frozen=True)
class Colors:
    """Colours for values between rising `edges`; what lies beyond takes the nearest."""

    edges: Sequence[float]
    name: str

    @property
    def map(self) -> Colormap:
        return matplotlib.colormaps[self.name].resampled(len(self.edges) - 1)

    @property
    def norm(self) -> BoundaryNorm:
        return BoundaryNorm(list(self.edges), len(self.edges) - 1, clip=True)

    def ink(self, value: float) -> str:
        """What can be read on the colour of `value`."""
        red, green, blue, _ = self.map(self.norm(value))
        return _LIGHT if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else _DARK


def heat(axes: Axes, values: Grid, colors: Colors) -> None:
    """Cells `(rows, columns)`, the first row on top; NaN stays blank.

    Cells of one colour are one path, and neighbours in a row one rectangle of it: a tenth of the bytes of a path for each cell.
    """
    rows, columns = values.shape
    paths: dict[int, list[Path]] = {}
    for row in range(rows):
        levels = [int(colors.norm(value)) if np.isfinite(value) else None for value in values[row]]
        column = 0
        for level, run in groupby(levels):
            width = len(list(run))
            if level is not None:
                corners = [(column, row), (column + width, row), (column + width, row + 1), (column, row + 1)]
                paths.setdefault(level, []).append(Path([*corners, corners[0]], closed=True))
            column += width
    for level, own in sorted(paths.items()):
        color = colors.map(level)
        # a hair of an edge in the same colour, or the paper shines through between cells
        axes.add_patch(PathPatch(Path.make_compound_path(*own), facecolor=color, edgecolor=color, linewidth=0.2))
    axes.set_xlim(0, columns)
    bare(axes, rows)


def bare(axes: Axes, rows: int) -> None:
    """Axes of so many rows, the first on top, without frame and ticks."""
    axes.set_ylim(rows, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def write_values(axes: Axes, texts: Sequence[Sequence[str]], values: Grid, colors: Colors) -> None:
    """`texts` in the cells of `values`."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            place = (column + 0.5, row + 0.53)
            ink = colors.ink(value)
            axes.text(*place, texts[row][column], ha="center", va="center", fontsize=FONT, color=ink)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=FONT)
    axes.tick_params(axis="y", length=0, pad=2)


def name_ends(axes: Axes, columns: Sequence[int]) -> None:
    """The first and the last column by their number of tokens."""
    below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    for place, side, number in ((0, "left", columns[0]), (1, "right", columns[-1]))[: len(columns)]:
        axes.annotate(scaled(number), (place, 0), xytext=(0, -3), ha=side, fontsize=FONT, color=MUTED, **below)


def write_beside(axes: Axes, texts: Sequence[str]) -> None:
    """A text to the right of each row."""
    for row, text in enumerate(texts):
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (1, row + 0.53), xytext=(3, 0), fontsize=FONT, color=MUTED, **place)


def bar(axes: Axes, colors: Colors, label: str, ticks: Sequence[float], words: Sequence[str]) -> None:
    """The key of the colours fills `axes`, with `words` at some `ticks`."""
    mappable = ScalarMappable(colors.norm, colors.map)
    made = axes.figure.colorbar(mappable, cax=axes, orientation="horizontal", spacing="uniform")
    made.set_ticks(list(ticks), labels=list(words))
    axes.minorticks_off()
    axes.tick_params(length=0, labelsize=FONT, pad=2)
    axes.set_xlabel(label, fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
