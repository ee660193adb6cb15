"""The figures of a study: how each variant got to where it stands, and what it does at each position.

One colour and one marker per variant through all of them. A line is the mean over finished seeds, its band the 95 % t
interval; a run that diverged is drawn on its own as far as it got, and ends in a cross. What was quarantined is thin,
dotted and hollow, and does not stretch a scale beyond reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from matplotlib.transforms import blended_transform_factory

from nnn_bench.report.collect import StudyView, SuiteView, VariantView
from nnn_bench.report.figure_pareto import draw_fronts
from nnn_bench.report.figure_selection import entropies
from nnn_bench.report.figure_speed import draw_speed
from nnn_bench.report.figure_standing import BITS, forest, placement
from nnn_bench.report.figure_style import (
    DASHED,
    GRID,
    MUTED,
    Drawing,
    canvas,
    finish,
    legend,
    legend_height,
    short_numbers,
    svg,
    variant_color,
    variant_line,
)
from nnn_bench.report.figure_tuning import sensitivity
from nnn_bench.report.measurements import step_seconds
from nnn_bench.report.numbers import fixed, scaled
from nnn_bench.statistics.paired import estimate

_LOST = "diverged run"
_MOST_POINTS = 128  # of a line along the window
_ROOM = 0.6  # how far a quarantined line may stretch a scale, as a share of what the others take


def draw_all(suite: SuiteView, study: StudyView) -> list[Drawing]:
    """Every figure this study has data for, in reading order, but for those that an earlier study shows."""
    drawings = [placement(study)]
    if any(variant.difference for variant in study.challengers):
        drawings.append(forest(study))
    if any(run.validation for variant in study.variants for run in variant.runs):
        drawings += [curve(study, *axis) for axis in _AXES]
    if any(variant.finished for variant in study.variants):
        drawings += [positions(study), window(study)]
    drawings += draw_fronts(study)
    if study.timed and suite.shown_by(study, "measured") is study:
        drawings += draw_speed(study)
    if study.searched and suite.shown_by(study, "rates") is study:
        drawings.append(sensitivity(study))
    return drawings + entropies(study)


def curve(study: StudyView, key: str, label: str, title: str, note: str) -> Drawing:
    """Validation bits per byte over `key` of the record."""
    alone = key == "seconds" and len(study.timed) == len(study.variants)
    grown = any(run.growth for variant in study.variants for run in variant.finished)
    lost = any(run.validation and not run.finished for variant in study.variants for run in variant.runs)
    names = [*_labels(study), *["growth"] * grown, *[_LOST] * lost]
    with canvas(2.6 + legend_height(names)) as (figure, axes):
        _floor(axes, study.floor)
        for variant in _ranked_first(axes, study):
            finished = [run.validation for run in variant.finished if run.validation]
            if finished:
                x = np.mean([_places(study, variant, rows, key) for rows in finished], axis=0)
                mean = _band(axes, x, [[row["bits_per_byte"] for row in rows] for rows in finished], variant)
                grew = sorted({place for run in variant.finished for place in _places(study, variant, run.growth, key)})
                _growth_ticks(axes, grew, variant, x, mean)
            for run in variant.runs:
                if not run.finished and run.validation:
                    reached = _places(study, variant, run.validation, key)
                    _lost(axes, reached, [row["bits_per_byte"] for row in run.validation], variant)
        if grown:
            axes.plot([], [], "|", color=MUTED, markersize=9, markeredgewidth=1.6, label="growth")
        short_numbers(axes)
        finish(axes, label, f"validation {BITS}")
        legend(figure, axes)
        ends = (
            (v.name, [r.validation[-1]["bits_per_byte"] for r in v.finished if r.validation]) for v in study.variants
        )
        said = "; ".join(f"{name} ends at {fixed(estimate(values).mean)}" for name, values in ends if values)
        drawing = svg(figure, f"{study.name}-curve-{key}", title, f"Validation {BITS} over {label}: {said}.")
    if key == "seconds":
        note += (
            " Steps times the step time measured alone on the machine."
            if alone
            else " Indicative: runs shared the machine."
        )
    note += " Upright ticks mark growth to the next stage." if grown else ""
    return Drawing("learning", f"{study.name}-curve-{key}", title, note + _hollow(study), drawing)


def positions(study: StudyView) -> Drawing:
    """Loss by position in the window, averaged over positions that lie close on a logarithmic scale."""
    with canvas(2.6 + legend_height(_labels(study))) as (figure, axes):
        length = 0
        for variant in _ranked_first(axes, study):
            if variant.finished:
                losses = _position_losses(variant)
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
    return Drawing("learning", f"{study.name}-positions", title, caption + _hollow(study), drawing)


def window(study: StudyView) -> Drawing:
    """Loss at every position of the window, nothing smoothed or cut off: a cliff is a leak that ends (audit `position`)."""
    with canvas(2.9 + legend_height(_labels(study))) as (figure, axes):
        jumps = []
        for variant in study.variants:
            if variant.finished:
                places, losses = along(_position_losses(variant).mean(axis=0))
                every = max(1, len(places) // 8)
                line = variant_line(variant.place, quarantined=variant.quarantined)
                axes.plot(
                    places, losses, **line, label=variant.label, markevery=(variant.place % every, every), zorder=3
                )
                jumps.append(
                    f"{variant.label} {fixed(losses[len(losses) // 2])} halfway, {fixed(losses[-1])} at the end"
                )
        axes.set_xlim(left=0)
        finish(axes, "position in the window", "test loss, nats per token")
        legend(figure, axes)
        title = "Loss along the window"
        drawing = svg(figure, f"{study.name}-window", title, f"Test loss by position: {'; '.join(jumps)}.")
    caption = (
        "Mean over test windows and finished seeds at each position. More context can only help, so an honest line falls and "
        "levels off; a jump upwards shows that the positions before it saw their targets."
    )
    return Drawing("audits", f"{study.name}-window", title, caption, drawing)


_SHARED = "Mean over finished seeds with its 95 % t interval; dashed, the trigram's score on the test text."
_AXES = (
    ("tokens", "predicted tokens", "Learning from the same text", _SHARED),
    ("flops", "training FLOPs", "Learning from the same arithmetic", _SHARED),
    ("seconds", "training seconds", "Learning in the same time", _SHARED),
)


def _floor(axes: Axes, floor: float) -> None:
    """The trigram's score as a dashed line, named at its right end, where curves have fallen below it."""
    axes.axhline(floor, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    across = blended_transform_factory(axes.transAxes, axes.transData)
    place: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right"}
    axes.annotate(f"trigram floor {fixed(floor)}", (1, floor), xycoords=across, color=MUTED, fontsize=8, **place)


def _labels(study: StudyView) -> list[str]:
    return [variant.label for variant in study.variants]


def _hollow(study: StudyView) -> str:
    """What a caption adds where there are quarantined lines."""
    told = " Hollow dotted lines are in quarantine; an arrow says where one ends that leaves the figure."
    return told if study.quarantined else ""


def _band(axes: Axes, x: Any, by_seed: list[list[float]], variant: VariantView) -> Any:
    """Mean over seeds, and its t interval where there are two seeds or more. `by_seed` is (seeds, points); the mean is given
    back."""
    line = variant_line(variant.place, quarantined=variant.quarantined)
    estimates = [estimate(list(values)) for values in zip(*by_seed, strict=True)]
    mean = np.array([found.mean for found in estimates], dtype=float)
    axes.plot(x, mean, **line, label=variant.label, zorder=3)
    ends = [found.interval or (np.nan, np.nan) for found in estimates]
    low, high = [low for low, _ in ends], [high for _, high in ends]
    axes.fill_between(x, low, high, color=line["color"], alpha=0.16, linewidth=0)
    return mean


def _places(study: StudyView, variant: VariantView, rows: list[dict[str, Any]], key: str) -> list[float]:
    """Where rows of a record stand on the axis `key`; seconds are steps at the pace measured alone, where all were measured."""
    step = step_seconds(study, variant) if key == "seconds" and len(study.timed) == len(study.variants) else None
    return [row[key] if step is None else row["step"] * step for row in rows]


def _growth_ticks(axes: Axes, places: list[float], variant: VariantView, x: Any, mean: Any) -> None:
    """An upright tick on the mean line at each place where a finished run entered its next stage."""
    color = variant_color(variant.place)
    axes.plot(places, np.interp(places, x, mean), "|", color=color, markersize=11, markeredgewidth=1.6, zorder=4)


def _ranked_first(axes: Axes, study: StudyView) -> Iterator[VariantView]:
    """The variants to draw, those in quarantine last: they may stretch the vertical scale a little and no more.

    Where one ends beyond the scale, that is written at the edge.
    """
    yield from study.ranked
    low, high = axes.get_ylim()
    yield from study.quarantined
    bottom, top = axes.get_ylim()
    if not study.quarantined or not any(variant.finished for variant in study.ranked):
        return
    room = _ROOM * (high - low)
    bottom, top = max(bottom, low - room), min(top, high + room)
    axes.set_ylim(bottom, top)
    drawn = {line.get_label(): line for line in axes.get_lines()}
    beyond = {"↓": 0, "↑": 0}  # how many lines end there
    for variant in (variant for variant in study.quarantined if variant.label in drawn):
        end = float(np.asarray(drawn[variant.label].get_ydata(), dtype=float)[-1])
        if not bottom <= end <= top:
            edge = "↓" if end < bottom else "↑"
            text = f"{variant.name} ends at {fixed(end)} {edge}"
            _note_at_edge(axes, text, variant_color(variant.place), edge, beyond[edge])
            beyond[edge] += 1


def _note_at_edge(axes: Axes, text: str, color: str, edge: str, line: int) -> None:
    """Words in the right corner at the lower (`↓`) or upper edge; further lines stand towards the middle."""
    y, away = (0, 4 + 10 * line) if edge == "↓" else (1, -10 - 10 * line)
    place: dict[str, Any] = {"xytext": (0, away), "textcoords": "offset points", "ha": "right"}
    axes.annotate(text, (1, y), xycoords="axes fraction", color=color, fontsize=8, **place)


def _lost(axes: Axes, x: list[float], y: list[float], variant: VariantView) -> None:
    """A run that diverged: thin, and crossed out where its evaluations end."""
    color = variant_color(variant.place)
    axes.plot(x, y, color=color, linewidth=0.9, linestyle=(0, (1, 1)), zorder=2)
    axes.plot(x[-1:], y[-1:], "x", color=color, markersize=7, markeredgewidth=1.8, zorder=4, label=_LOST)


def _position_losses(variant: VariantView) -> Any:
    """Test loss by position of the finished runs, (seeds, T)."""
    return np.array([run.result["test"]["by_position"] for run in variant.finished], dtype=float)


def along(losses: Any) -> tuple[Any, Any]:
    """Places, counted from 1, and losses (T,), averaged over equal spans where there are more than a line can show."""
    width = -(-len(losses) // _MOST_POINTS)
    starts = np.arange(0, len(losses), width)
    sizes = np.diff([*starts, len(losses)])
    return starts + (sizes + 1) / 2, np.add.reduceat(losses, starts) / sizes


def _binned(losses: Any) -> tuple[Any, Any]:
    """Average (seeds, T) over about 24 spans of positions, evenly wide on a logarithmic scale. Centres count from 1."""
    T = losses.shape[1]
    edges = np.unique(np.geomspace(1, T + 1, 25).round().astype(int))
    spans = [(int(a), int(b)) for a, b in pairwise(edges)]
    centers = np.array([np.sqrt(a * (b - 1)) for a, b in spans])
    return centers, np.stack([losses[:, a - 1 : b - 1].mean(axis=1) for a, b in spans], axis=1)
