"""What reading a text and what its next token cost as the text grows."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.figure_style import Drawing, canvas, finish, legend, legend_height, svg, variant_line
from nnn_bench.report.inference import carded
from nnn_bench.report.numbers import fixed, scaled

_CURVES = (
    (
        "token_seconds",
        "token",
        "What the next token costs",
        "ms per token, from a state",
        "A line that stays flat costs the same however long the text is.",
    ),
    (
        "prefill_seconds",
        "prefill",
        "What reading a text costs",
        "ms to the first token",
        "One pass over the whole text, to the logits of its last position.",
    ),
)


def draw_speed(study: StudyView) -> list[Drawing]:
    """Time against the length of the text, for single texts, where two contexts or more were measured."""
    return [drawing for curve in _CURVES if (drawing := _against_context(study, *curve)) is not None]


def _against_context(study: StudyView, key: str, short: str, title: str, label: str, note: str) -> Drawing | None:
    lines = {variant.label: (variant, _points(variant, key)) for variant in carded(study)}
    lines = {name: (variant, points) for name, (variant, points) in lines.items() if len(points) > 1}
    if not lines:
        return None
    with canvas(2.6 + legend_height(list(lines))) as (figure, axes):
        for name, (variant, points) in lines.items():
            style = variant_line(variant.place, quarantined=variant.quarantined)
            axes.plot([x for x, _ in points], [y for _, y in points], **style, label=name, zorder=3)
        _scales(axes, sorted({x for _, points in lines.values() for x, _ in points}))
        finish(axes, "tokens of the text", label)
        legend(figure, axes)
        said = "; ".join(
            f"{name} {fixed(points[0][1], 2)} ms at {points[0][0]}, {fixed(points[-1][1], 2)} ms at {points[-1][0]}"
            for name, (_, points) in lines.items()
        )
        drawing = svg(figure, f"{study.name}-{short}", title, f"{label} by tokens of the text: {said}.")
    caption = f"{note} Single texts, measured alone on the machine; both scales are logarithmic."
    return Drawing("speed", f"{study.name}-{short}", title, caption, drawing)


def _points(variant: VariantView, key: str) -> list[tuple[int, float]]:
    """(context, milliseconds) of the smallest batch, where there is a time."""
    rows: list[dict[str, Any]] = (variant.measured or {})["inference"]["rows"]
    least = min((row["batch"] for row in rows), default=1)
    return sorted((row["context"], 1000 * row[key]) for row in rows if row["batch"] == least and row[key] is not None)


def _scales(axes: Axes, contexts: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(contexts))
    axes.xaxis.set_major_formatter(lambda value, _: scaled(value))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
