"""The figures of a study: where each variant stands, how it got there, and what it does at each position.

One colour and one marker per variant through all of them. A line is the mean over finished seeds, its band the 95 % t
interval; a run that diverged is drawn on its own as far as it got, and ends in a cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.figure_style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    canvas,
    finish,
    legend,
    legend_height,
    short_numbers,
    svg,
    variant_color,
    variant_line,
    variant_marker,
)
from nnn_bench.report.numbers import fixed, interval, scaled, signed, signed_interval
from nnn_bench.statistics.paired import estimate

BITS = "bits per byte"
_ROW_HEIGHT = 0.52  # inches
_DASHED = (0, (4, 3))


@dataclass(frozen=True)
class Drawing:
    """A figure: the part of the report it belongs to, its file name, heading, the caption that explains it, its SVG."""

    group: str
    name: str
    heading: str
    caption: str
    svg: str


def draw_all(study: StudyView) -> list[Drawing]:
    """Every figure this study has data for, in reading order."""
    drawings = [placement(study), forest(study)]
    if any(run.validation for variant in study.variants for run in variant.runs):
        drawings += [curve(study, *axis) for axis in _AXES]
    if any(variant.finished for variant in study.variants):
        drawings.append(positions(study))
    if any(_entropy_layers(variant) for variant in study.variants):
        drawings += [entropy(study, *kind) for kind in _ENTROPIES]
    return drawings


def placement(study: StudyView) -> Drawing:
    """Each variant's bits per byte on one scale with the counted n-grams."""
    rows = sorted(study.variants, key=lambda variant: float("inf") if variant.mean is None else variant.mean)
    with canvas(0.95 + _ROW_HEIGHT * len(rows)) as (figure, axes):
        _rows(axes, len(rows))
        for y, variant in enumerate(rows):
            ends = interval(variant.interval)
            text = f"{fixed(variant.mean)} {ends}" if variant.mean is not None else "every seed diverged"
            values = [run.value for run in variant.finished if run.value is not None]
            _interval_row(axes, y, variant, variant.mean, variant.interval, values, text)
            if len(values) < len(variant.runs):
                _aside(axes, y, f"{len(variant.runs) - len(values)} of {len(variant.runs)} seeds diverged")
        best = min(study.comparison["ladder"]["orders"], key=lambda entry: entry["bits_per_byte"])
        _mark(axes, study.floor, f"trigram floor {fixed(study.floor)}", line=0)
        if best["order"] != study.comparison["ladder"]["floor_order"]:
            _mark(axes, best["bits_per_byte"], f"{best['order']}-gram, the best", line=1)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        finish(axes, f"test {BITS} (further left is better)", "")
        axes.grid(axis="x", visible=True)
        axes.grid(axis="y", visible=False)
        said = "; ".join(f"{v.name} {fixed(v.mean)} {interval(v.interval)}".strip() for v in rows)
        title = "Where each variant stands"
        drawing = svg(figure, f"{study.name}-placement", title, f"Test {BITS}: {said}; trigram {fixed(study.floor)}.")
    caption = "Mean with its 95 % t interval; small dots are seeds. Dashed lines are n-grams counted on the same text."
    return Drawing("standing", f"{study.name}-placement", title, caption, drawing)


def forest(study: StudyView) -> Drawing:
    """Paired differences to the baseline."""
    rows, baseline = study.challengers, study.comparison["baseline"]
    with canvas(0.95 + _ROW_HEIGHT * max(1, len(rows))) as (figure, axes):
        _rows(axes, max(1, len(rows)))
        for y, variant in enumerate(rows):
            found = variant.difference or {}
            missing = len(variant.runs) - len(found["seeds"])
            text = f"{signed(found['mean'])} {signed_interval(found['interval'])}" if found["seeds"] else "no pair"
            _interval_row(axes, y, variant, found["mean"], found["interval"], found["values"], text)
            if missing:
                _aside(axes, y, f"{missing} of {len(variant.runs)} pairs missing")
        axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        finish(axes, f"difference to {baseline}, {BITS} (left of 0 is better)", "")
        axes.grid(axis="x", visible=True)
        axes.grid(axis="y", visible=False)
        said = "; ".join(
            f"{v.name} {signed((v.difference or {})['mean'])} {signed_interval((v.difference or {})['interval'])}".strip()
            for v in rows
        )
        title = f"Difference to {baseline}, seed by seed"
        drawing = svg(figure, f"{study.name}-differences", title, f"Paired differences in {BITS}: {said or 'none'}.")
    caption = (
        "Each small dot is one seed: the same batches, the same test text. Diamonds and bars are the mean and its 95 % t "
        "interval; one that crosses the line at 0 leaves the question open."
    )
    return Drawing("standing", f"{study.name}-differences", title, caption, drawing)


def curve(study: StudyView, key: str, label: str, title: str, note: str) -> Drawing:
    """Validation bits per byte over `key` of the record."""
    with canvas(2.6 + legend_height(len(study.variants))) as (figure, axes):
        for variant in study.variants:
            finished = [run.validation for run in variant.finished if run.validation]
            if finished:
                x = np.mean([[row[key] for row in rows] for rows in finished], axis=0)
                _band(axes, x, [[row["bits_per_byte"] for row in rows] for rows in finished], variant)
            for run in variant.runs:
                if not run.finished and run.validation:
                    _lost(axes, [r[key] for r in run.validation], [r["bits_per_byte"] for r in run.validation], variant)
        _floor(axes, study.floor)
        short_numbers(axes)
        finish(axes, label, f"validation {BITS}")
        legend(figure, axes)
        ends = (
            (v.name, [r.validation[-1]["bits_per_byte"] for r in v.finished if r.validation]) for v in study.variants
        )
        said = "; ".join(f"{name} ends at {fixed(estimate(values).mean)}" for name, values in ends if values)
        drawing = svg(figure, f"{study.name}-curve-{key}", title, f"Validation {BITS} over {label}: {said}.")
    return Drawing("learning", f"{study.name}-curve-{key}", title, note, drawing)


def positions(study: StudyView) -> Drawing:
    """Loss by position in the window, averaged over positions that lie close on a logarithmic scale."""
    with canvas(2.6 + legend_height(len(study.variants))) as (figure, axes):
        length = 0
        for variant in study.variants:
            if variant.finished:
                losses = np.array([run.result["test"]["by_position"] for run in variant.finished])  # (seeds, T)
                length = max(length, losses.shape[1])
                centers, binned = _binned(losses)
                _band(axes, centers, binned.tolist(), variant)
        axes.axvspan(length // 2 + 0.5, length, color=GRID, alpha=0.55, linewidth=0, zorder=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: scaled(value))
        axes.xaxis.set_minor_locator(NullLocator())
        finish(axes, "position in the window (1 = no context)", "test loss, nats per token")
        legend(figure, axes)
        title = "What context is worth"
        words = f"Test loss in nats per token by position in windows of {length} tokens, one line per variant."
        drawing = svg(figure, f"{study.name}-positions", title, words)
    caption = (
        "Mean over test windows, averaged over neighbouring positions; the headline scores the shaded half. "
        "A line that stops falling shows how much context a variant can use."
    )
    return Drawing("learning", f"{study.name}-positions", title, caption, drawing)


def entropy(study: StudyView, key: str, title: str, caption: str) -> Drawing:
    """An entropy of the selection layers over training, as a share of its maximum: each layer thin, their mean thick."""
    with canvas(2.4 + legend_height(1)) as (figure, axes):
        for variant in study.variants:
            layers = _entropy_layers(variant)
            for index, (steps, values) in enumerate(layers):
                shares = values[key]
                color, line = variant_color(variant.place), variant_line(variant.place)
                axes.plot(steps, shares, color=color, linestyle=line, linewidth=0.8, alpha=0.35, zorder=2)
                if index == len(layers) - 1:
                    mean = np.mean([layer[key] for _, layer in layers], axis=0)
                    axes.plot(steps, mean, color=color, linestyle=line, label=variant.name, zorder=3)
        axes.set_ylim(0, 1.04)
        short_numbers(axes)
        finish(axes, "predicted tokens", "share of the maximum")
        legend(figure, axes)
        drawing = svg(figure, f"{study.name}-{key}", title, f"{title} as a share of its maximum, over training.")
    return Drawing("selection", f"{study.name}-{key}", title, caption, drawing)


_SHARED = "Mean over finished seeds with its 95 % t interval; dashed, the trigram's score on the test text."
_AXES = (
    ("tokens", "predicted tokens", "Learning from the same text", _SHARED),
    ("flops", "training FLOPs", "Learning from the same arithmetic", _SHARED),
    ("seconds", "training seconds", "Learning in the same time", f"{_SHARED} Indicative: runs shared the machine."),
)
_ENTROPIES = (
    (
        "aggregate_entropy",
        "Aggregate entropy of the choices",
        "Evenness of use over the computation neurons: thin lines are layers, the thick one their mean.",
    ),
    (
        "sample_entropy",
        "Per-sample entropy of the choices",
        "Doubt of a single choice. Even use with sure choices is specialisation; even use alone proves nothing.",
    ),
)


def _rows(axes: Axes, count: int) -> None:
    """Room for `count` rows from the top down, without a vertical scale."""
    axes.set_ylim(count - 0.4, -0.75)
    axes.set_yticks([])


def _interval_row(
    axes: Axes,
    y: int,
    variant: VariantView,
    mean: float | None,
    ends: list[float] | None,
    values: list[float],
    text: str,
) -> None:
    """One row: the name and the numbers above, the interval with its seeds below."""
    color = variant_color(variant.place)
    across = blended_transform_factory(axes.transAxes, axes.transData)
    plate = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    axes.text(0, y - 0.36, variant.name, transform=across, color=color, fontweight="bold", va="center", bbox=plate)
    axes.text(1, y - 0.36, text, transform=across, color=INK, ha="right", va="center", bbox=plate)
    if ends is not None:
        axes.plot(ends, [y, y], color=color, linewidth=2.2, solid_capstyle="round", zorder=2)
    axes.plot(
        values, [y + 0.19] * len(values), "o", color=color, alpha=0.55, markersize=3.6, markeredgewidth=0, zorder=2
    )
    if mean is not None:
        axes.plot([mean], [y], "D", color=color, markersize=6.5, markeredgecolor=PAPER, markeredgewidth=1.2, zorder=3)


def _aside(axes: Axes, y: int, text: str) -> None:
    """A remark at the end of a row, below its numbers."""
    across = blended_transform_factory(axes.transAxes, axes.transData)
    plate = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    axes.text(1, y + 0.37, text, transform=across, color=MUTED, fontsize=7.5, ha="right", va="center", bbox=plate)


def _mark(axes: Axes, x: float, label: str, line: int) -> None:
    """A dashed vertical line, named above the axes on text line `line`."""
    axes.axvline(x, color=MUTED, linewidth=1, linestyle=_DASHED, zorder=1)
    across = blended_transform_factory(axes.transData, axes.transAxes)
    place: dict[str, Any] = {"xytext": (3, 3 + 11 * line), "textcoords": "offset points", "ha": "right"}
    axes.annotate(label, (x, 1.0), xycoords=across, color=MUTED, fontsize=8, annotation_clip=False, **place)


def _floor(axes: Axes, floor: float) -> None:
    """The trigram's score as a dashed line, named at its right end, where curves have fallen below it."""
    axes.axhline(floor, color=MUTED, linewidth=1, linestyle=_DASHED, zorder=1)
    across = blended_transform_factory(axes.transAxes, axes.transData)
    place: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right"}
    axes.annotate(f"trigram floor {fixed(floor)}", (1, floor), xycoords=across, color=MUTED, fontsize=8, **place)


def _band(axes: Axes, x: Any, by_seed: list[list[float]], variant: VariantView) -> None:
    """Mean over seeds, and its t interval where there are two seeds or more. `by_seed` is (seeds, points)."""
    color, line = variant_color(variant.place), variant_line(variant.place)
    estimates = [estimate(list(values)) for values in zip(*by_seed, strict=True)]
    axes.plot(
        x,
        np.array([found.mean for found in estimates], dtype=float),
        color=color,
        linestyle=line,
        marker=variant_marker(variant.place),
        markersize=3.2,
        label=variant.name,
        zorder=3,
    )
    ends = [found.interval or (np.nan, np.nan) for found in estimates]
    axes.fill_between(x, [low for low, _ in ends], [high for _, high in ends], color=color, alpha=0.16, linewidth=0)


def _lost(axes: Axes, x: list[float], y: list[float], variant: VariantView) -> None:
    """A run that diverged: thin, and crossed out where its evaluations end."""
    color = variant_color(variant.place)
    axes.plot(x, y, color=color, linewidth=0.9, linestyle=(0, (1, 1)), zorder=2)
    axes.plot(x[-1:], y[-1:], "x", color=color, markersize=7, markeredgewidth=1.8, zorder=4, label="diverged run")


def _binned(losses: Any) -> tuple[Any, Any]:
    """Average (seeds, T) over about 24 spans of positions, evenly wide on a logarithmic scale. Centres count from 1."""
    T = losses.shape[1]
    edges = np.unique(np.geomspace(1, T + 1, 25).round().astype(int))
    spans = [(int(a), int(b)) for a, b in pairwise(edges)]
    centers = np.array([np.sqrt(a * (b - 1)) for a, b in spans])
    return centers, np.stack([losses[:, a - 1 : b - 1].mean(axis=1) for a, b in spans], axis=1)


def _entropy_layers(variant: VariantView) -> list[tuple[list[int], dict[str, Any]]]:
    """For each selection layer: tokens, and each entropy as a share of its maximum, mean over finished seeds."""
    runs = [[row for row in run.validation if row.get("selection")] for run in variant.finished]
    runs = [rows for rows in runs if rows]
    if not runs:
        return []
    return [
        (
            [row["tokens"] for row in runs[0]],
            {key: np.mean([_shares(rows, layer, key) for rows in runs], axis=0) for key, *_ in _ENTROPIES},
        )
        for layer in runs[0][0]["selection"]
    ]


def _shares(rows: list[dict[str, Any]], layer: str, key: str) -> list[float]:
    """An entropy of one layer over a run, as a share of its maximum."""
    layers = [row["selection"][layer] for row in rows]
    return [statistics[key] / statistics["maximum_entropy"] for statistics in layers]
