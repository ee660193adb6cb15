"""Where each variant stands: the figures that give every variant a row.

What was quarantined stays visible where scores are shown, below the ranked rows and hollow, and never stretches their
scale; where variants are compared it is left out, and the caption says so.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from nnn_bench.report.audits import quarantine_tests
from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.figure_style import DASHED, INK, MUTED, PAPER, Drawing, canvas, finish, svg, variant_color
from nnn_bench.report.numbers import fixed, interval, signed, signed_interval

BITS = "bits per byte"
_ROW_HEIGHT = 0.57  # inches
_EDGE = 0.014  # of the width: where a value beyond the scale is marked


def placement(study: StudyView) -> Drawing:
    """Each variant's bits per byte on one scale with the counted n-grams."""
    ranked, quarantined = (sorted(part, key=_score) for part in (study.ranked, study.quarantined))
    with canvas(0.95 + _ROW_HEIGHT * len(study.variants)) as (figure, axes):
        _rows(axes, len(study.variants))
        for y, variant in enumerate(ranked):
            _placed(axes, y, variant)
        best = min(study.comparison["ladder"]["orders"], key=lambda entry: entry["bits_per_byte"])
        _mark(axes, study.floor, f"trigram floor {fixed(study.floor)}", line=0)
        if best["order"] != study.comparison["ladder"]["floor_order"]:
            _mark(axes, best["bits_per_byte"], f"{best['order']}-gram, the best", line=1)
        axes.margins(x=0.12)
        axes.set_xlim(axes.get_xlim())  # the ranked rows set the scale
        for y, variant in enumerate(quarantined, start=len(ranked)):
            _placed(axes, y, variant)
        _finish_rows(axes, f"test {BITS} (further left is better)")
        said = "; ".join(f"{v.label} {fixed(v.mean)} {interval(v.interval)}".strip() for v in [*ranked, *quarantined])
        title = "Where each variant stands"
        drawing = svg(figure, f"{study.name}-placement", title, f"Test {BITS}: {said}; trigram {fixed(study.floor)}.")
    caption = "Mean with its 95 % t interval; small dots are seeds. Dashed lines are n-grams counted on the same text."
    if quarantined:
        caption += (
            " Hollow rows failed an audit and are not ranked; an arrow says that the value lies beyond the scale."
        )
    return Drawing("standing", f"{study.name}-placement", title, caption, drawing)


def forest(study: StudyView) -> Drawing:
    """Paired differences to the baseline, without what was quarantined."""
    rows = [variant for variant in study.challengers if not variant.quarantined]
    left_out = [variant for variant in study.challengers if variant.quarantined]
    baseline = study.comparison["baseline"]
    with canvas(0.95 + _ROW_HEIGHT * len(rows)) as (figure, axes):
        _rows(axes, len(rows))
        for y, variant in enumerate(rows):
            found = variant.difference or {}
            missing = len(variant.runs) - len(found["seeds"])
            text = f"{signed(found['mean'])} {signed_interval(found['interval'])}" if found["seeds"] else "no pair"
            _interval_row(axes, y, variant, found["mean"], found["interval"], found["values"], text)
            if missing:
                _aside(axes, y, f"{missing} of {len(variant.runs)} pairs missing")
        axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
        axes.margins(x=0.12)
        _finish_rows(axes, f"difference to {baseline}, {BITS} (left of 0 is better)")
        said = "; ".join(
            f"{v.name} {signed((v.difference or {})['mean'])} {signed_interval((v.difference or {})['interval'])}".strip()
            for v in rows
        )
        title = f"Difference to {baseline}, seed by seed"
        drawing = svg(figure, f"{study.name}-differences", title, f"Paired differences in {BITS}: {said}.")
    caption = (
        "Each small dot is one seed: the same batches, the same test text. Diamonds and bars are the mean and its 95 % t "
        "interval; one that crosses the line at 0 leaves the question open."
    )
    if left_out:
        caption += f" Left out: {'; '.join(f'{v.name} ({quarantine_tests(v)})' for v in left_out)}."
    return Drawing("standing", f"{study.name}-differences", title, caption, drawing)


def _score(variant: VariantView) -> float:
    return float("inf") if variant.mean is None else variant.mean


def _placed(axes: Axes, y: int, variant: VariantView) -> None:
    """One row of `placement`, with what there is to remark."""
    text = f"{fixed(variant.mean)} {interval(variant.interval)}" if variant.mean is not None else "every seed diverged"
    values = [run.value for run in variant.finished if run.value is not None]
    _interval_row(axes, y, variant, variant.mean, variant.interval, values, text)
    asides = ["quarantined"] if variant.quarantined else []
    if len(values) < len(variant.runs):
        asides.append(f"{len(variant.runs) - len(values)} of {len(variant.runs)} seeds diverged")
    if asides:
        _aside(axes, y, ", ".join(asides))


def _rows(axes: Axes, count: int) -> None:
    """Room for `count` rows from the top down, without a vertical scale."""
    axes.set_ylim(count - 0.4, -0.75)
    axes.set_yticks([])


def _finish_rows(axes: Axes, x: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6))
    finish(axes, x, "")
    axes.grid(axis="x", visible=True)
    axes.grid(axis="y", visible=False)


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
    if mean is None:
        return
    inside = {"color": PAPER, "markeredgecolor": color} if variant.quarantined else {"color": color}
    edge: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 1.2, "zorder": 3} | inside
    low, high = axes.get_xlim()
    if variant.quarantined and not low <= mean <= high:
        side, sign = (_EDGE, "<") if mean < low else (1 - _EDGE, ">")
        axes.plot([side], [y], sign, transform=across, markersize=6.5, **edge)
    else:
        axes.plot([mean], [y], "D", markersize=6.5, **edge)


def _aside(axes: Axes, y: int, text: str) -> None:
    """A remark at the end of a row, below its numbers."""
    across = blended_transform_factory(axes.transAxes, axes.transData)
    plate = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
    axes.text(1, y + 0.37, text, transform=across, color=MUTED, fontsize=7.5, ha="right", va="center", bbox=plate)


def _mark(axes: Axes, x: float, label: str, line: int) -> None:
    """A dashed vertical line, named above the axes on text line `line`."""
    axes.axvline(x, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    across = blended_transform_factory(axes.transData, axes.transAxes)
    place: dict[str, Any] = {"xytext": (3, 3 + 11 * line), "textcoords": "offset points", "ha": "right"}
    axes.annotate(label, (x, 1.0), xycoords=across, color=MUTED, fontsize=8, annotation_clip=False, **place)
