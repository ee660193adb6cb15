"""How selection layers choose over training and what that is worth, as heat-maps: a row for each layer.

Entropies stand side by side, since only both together tell: even use with sure choices is specialisation, even use alone proves
nothing. What the choices are worth is what the loss rises by when they are exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnn_bench.measure.swap import ALL
from nnn_bench.report.collect import StudyView
from nnn_bench.report.figure_style import MUTED, WIDTH, Drawing, canvas, svg, variant_color
from nnn_bench.report.heat_map import (
    ROW,
    Colors,
    Grid,
    bar,
    bare,
    heat,
    name_ends,
    name_rows,
    write_beside,
    write_values,
)
from nnn_bench.report.selection_view import SelectionView, mean_known, selection_view, short_names
from nnn_bench.training.choices import WINDOWS

_SHARES = Colors((0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1), "cividis")
_USE = Colors((0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 1.75, 2), "PuOr_r")
_WRITTEN = 6  # computations, up to which shares are written into their cells
_HEAD, _BELOW, _FOOT = 0.36, 0.16, 0.52  # inches above and below the cells of a variant, and below those of the last
_LEFT, _BESIDE = 1.0, 0.3  # inches for the names of rows, and for what stands right of a panel


def entropies(study: StudyView) -> list[Drawing]:
    """The figures of all variants that select, as far as their records tell; none where nothing selects."""
    views = [view for variant in study.variants if (view := selection_view(variant)) is not None]
    if not views:
        return []
    told = [view for view in views if np.isfinite(view.largest_gradient).any()]
    return [
        _entropies(study.name, views),
        _choices(study.name, views),
        *([_gradients(study.name, told)] if told else []),
    ]


def _entropies(study: str, views: list[SelectionView]) -> Drawing:
    """Aggregate and per-sample entropy of each layer at each validation, as shares of their maximum."""
    with _panels(views, 2) as (figure, rows, key):
        for view, panels in zip(views, rows, strict=True):
            for panel, values in zip(panels, (view.aggregate, view.sample), strict=True):
                heat(panel, values, _SHARES)
                name_ends(panel, view.tokens)
                write_beside(panel, [f"{last:.2f}" for last in values[:, -1]])
            _head(view, panels, ("aggregate", "per sample"), f"maximum {view.maximum} nats")
        words = [f"{edge:g}" for edge in _SHARES.edges]
        bar(key, _SHARES, "entropy as a share of its maximum, over predicted tokens", _SHARES.edges, words)
        said = "; ".join(
            f"{view.variant.label}, maximum {view.maximum}: aggregate {_course(view.aggregate)}, "
            f"per sample {_course(view.sample)}"
            for view in views
        )
        title = "Entropy of the choices, layer by layer"
        text = f"Share of the maximum entropy, mean over layers, from the first validation to the last. {said}."
        drawing = svg(figure, f"{study}-entropies", title, text)
    caption = (
        "Aggregate entropy is the evenness of use over the computations, per-sample entropy the doubt of a single choice; the "
        "number beside a row is its last. Even use with sure choices is specialisation; even use alone proves nothing."
    )
    return Drawing("selection", f"{study}-entropies", title, caption, drawing)


def _choices(study: str, views: list[SelectionView]) -> Drawing:
    """How often each computation is taken at the end, and what the loss rises by when the choices are exchanged."""
    worth = any(view.rises for view in views)
    rises = [rise for view in views for name, rise in view.rises.items() if name != ALL]
    with _panels(views, 1 + worth) as (figure, rows, key):
        for view, panels in zip(views, rows, strict=True):
            even = view.frequency * np.array(view.computations)[:, None]  # 1 where use is even
            heat(panels[0], even, _USE)
            if view.frequency.shape[1] <= _WRITTEN:
                written = [[f"{100 * share:.0f}" for share in row] for row in view.frequency]
                write_values(panels[0], written, even, _USE)
            if worth:
                _rises(panels[1], view, min(0.0, *rises), max(0.0, *rises))
            total = f"exchanging all costs {view.rises[ALL]:.2f} nats" if ALL in view.rises else ""
            _head(view, panels, ("taken, %", "cost of exchange, nats"), total)
        bar(key, _USE, "times as often as in an even use", (0, 0.5, 1, 1.5, 2), ("0", "0.5", "1", "1.5", "2 or more"))
        title = "Who is chosen, and what the choice is worth"
        drawing = svg(figure, f"{study}-choices", title, f"{'; '.join(_choices_words(view) for view in views)}.")
    caption = "The share of choices that fall on each computation at the end, mean over finished seeds."
    if worth:
        caption += (
            " Right, by how much the loss rises when the choices of one layer alone fall on the second best computation, on the "
            f"first {WINDOWS} windows of the validation text: computations that came to be interchangeable let it rise little, "
            "however even their use."
        )
    return Drawing("selection", f"{study}-choices", title, caption, drawing)


def _rises(axes: Axes, view: SelectionView, low: float, high: float) -> None:
    """A bar for each layer, on the rows of the heat-map beside it."""
    bare(axes, len(view.layers))
    known = [view.rises.get(layer, math.nan) for layer in view.layers]
    axes.barh(np.arange(len(known)) + 0.5, known, height=0.62, color=variant_color(view.variant.place), linewidth=0)
    axes.set_xlim(low, high)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    write_beside(axes, [f"{rise:z.2f}" if math.isfinite(rise) else "" for rise in known])


def _gradients(study: str, views: list[SelectionView]) -> Drawing:
    """What each layer's computations and its selector were asked to change at each validation."""
    colors, ticks = _decades([one for view in views for one in _gradient_grids(view)])
    with _panels(views, 3) as (figure, rows, key):
        for view, panels in zip(views, rows, strict=True):
            for panel, values in zip(panels, _gradient_grids(view), strict=True):
                heat(panel, np.log10(np.maximum(values, 10.0 ** colors.edges[0])), colors)
                name_ends(panel, view.tokens)
            _head(view, panels, ("least computation", "largest", "selector"), "")
        label = "gradient norm before clipping, over predicted tokens"
        bar(key, colors, label, ticks, [f"{10.0**tick:g}" for tick in ticks])
        title = "Gradient norms of computations and selectors"
        said = "; ".join(_gradient_words(view) for view in views)
        text = f"Gradient norms at the last validation, mean over layers. {said}."
        drawing = svg(figure, f"{study}-gradients", title, text)
    caption = (
        "Of each layer the computation with the smallest gradient and the one with the largest (of two, both), and the selector, "
        "at the last step before each validation. A computation that is never taken gets no gradient and takes the lowest colour."
    )
    return Drawing("selection", f"{study}-gradients", title, caption, drawing)


def _gradient_grids(view: SelectionView) -> tuple[Grid, Grid, Grid]:
    return view.least_gradient, view.largest_gradient, view.selector_gradient


def _decades(grids: Sequence[Grid]) -> tuple[Colors, list[float]]:
    """Colours for the logarithms of all that is positive, and ticks at whole ones."""
    known = np.log10(np.concatenate([grid[np.isfinite(grid) & (grid > 0)] for grid in grids]))
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    parts = 4 if high - low <= 3 else 2  # colours to a decade
    first, last = math.floor(parts * low), math.ceil(parts * high)
    edges = [part / parts for part in range(first, max(last, first + 2) + 1)]
    return Colors(edges, "cividis"), [edge for edge in edges if edge.is_integer()]


def _head(view: SelectionView, panels: Sequence[Axes], names: Sequence[str], note: str) -> None:
    """Rows named, what each panel shows, and above that the variant and a note."""
    name_rows(panels[0], short_names(view.layers))
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    for panel, name in zip(panels, names, strict=False):
        panel.annotate(name, (0, 1), xytext=(0, 3), fontsize=8, color=MUTED, **place)
    text = " · ".join(filter(None, (view.variant.label, note)))
    panels[0].annotate(text, (0, 1), xytext=(0, 15), fontsize=8.5, **place)


@contextmanager
def _panels(views: Sequence[SelectionView], columns: int) -> Iterator[tuple[Figure, list[list[Axes]], Axes]]:
    """A figure with a row of panels for each variant, as high as it has layers, and the place of the key below them all.

    Placed by hand, in inches: what stands above and beside panels is text that no layout engine should make room for.
    """
    heights = [len(view.layers) * ROW for view in views]
    total = sum(heights) + (_HEAD + _BELOW) * len(heights) + _FOOT
    width = (WIDTH - _LEFT) / columns
    with canvas(total) as (figure, axes):
        figure.set_layout_engine("none")
        axes.remove()
        rows, top = [], total
        for height in heights:
            top -= _HEAD + height
            places = [(_LEFT + column * width, top, width - _BESIDE, height) for column in range(columns)]
            rows.append([figure.add_axes(_fractions(place, total)) for place in places])
            top -= _BELOW
        yield figure, rows, figure.add_axes(_fractions((_LEFT, 0.36, WIDTH - _LEFT - _BESIDE, 0.09), total))


def _fractions(place: tuple[float, float, float, float], height: float) -> tuple[float, float, float, float]:
    """Left, bottom, width and height in inches as shares of the figure."""
    return place[0] / WIDTH, place[1] / height, place[2] / WIDTH, place[3] / height


def _course(values: Grid) -> str:
    """First and last of the means over layers."""
    means = [mean_known(column[np.isfinite(column)].tolist()) for column in values.T]
    known = [mean for mean in means if math.isfinite(mean)]
    return f"{known[0]:.2f} to {known[-1]:.2f}" if known else "unknown"


def _gradient_words(view: SelectionView) -> str:
    grids = zip(("least", "largest", "selector"), _gradient_grids(view), strict=True)
    ends = ((name, values[:, -1]) for name, values in grids)
    means = [f"{name} {mean_known(end[np.isfinite(end)].tolist()):.2g}" for name, end in ends]
    return f"{view.variant.label}: {', '.join(means)}"


def _choices_words(view: SelectionView) -> str:
    """For those who do not see the figure."""
    known = view.frequency[np.isfinite(view.frequency)]
    words = f"{view.variant.label}: computations are taken by {100 * known.min():.0f} to {100 * known.max():.0f} % of choices"
    layers = {name: rise for name, rise in view.rises.items() if name != ALL}
    if layers:
        most = max(layers, key=lambda name: layers[name])
        words += f"; exchanging one layer raises the loss by at most {layers[most]:.2f} nats, in {most}"
    return f"{words}; all at once by {view.rises[ALL]:.2f}" if ALL in view.rises else words
