"""Loss against what it costs: who stands on the frontier, and how surely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.figure_standing import BITS
from nnn_bench.report.figure_style import (
    DASHED,
    MUTED,
    Drawing,
    canvas,
    finish,
    legend,
    legend_height,
    svg,
    variant_color,
    variant_line,
)
from nnn_bench.report.inference import inference_row
from nnn_bench.report.numbers import NONE, fixed, percent, scaled
from nnn_bench.report.shown import Cell, Shown
from nnn_bench.statistics.pareto import Membership, membership

_EQUAL = 1.02  # a cost that the budget makes equal, within 1 %, orders nobody
COLUMNS = ["variant", "cost", "value", "bits_per_byte", "on_frontier", "probability"]


@dataclass(frozen=True)
class Cost:
    """One thing that a network costs; `of` gives it, None where it is not known."""

    name: str
    label: str
    of: Callable[[VariantView], float | None]


@dataclass(frozen=True)
class Front:
    """Everything one figure shows: variants with all seeds and a known cost, and their places."""

    cost: Cost
    costs: dict[str, float]
    means: dict[str, float]
    places: dict[str, Membership]


def fronts(study: StudyView) -> list[Front]:
    """The frontiers of a study, one for each cost in which ranked variants differ. A variant that lost a seed has no place."""
    found = []
    for cost in COSTS:
        there = {variant.name: cost.of(variant) for variant in study.ranked if _whole(variant)}
        costs = {name: value for name, value in there.items() if value is not None}
        if len(costs) > 1 and max(costs.values()) > _EQUAL * min(costs.values()):
            values = {
                variant.name: [run.value for run in variant.runs if run.value is not None]
                for variant in study.ranked
                if variant.name in costs
            }
            means = {variant.name: variant.mean for variant in study.ranked if variant.mean is not None}
            found.append(Front(cost, costs, means, membership(values, costs)))
    return found


def front_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each variant and cost."""
    return [
        [name, front.cost.name, value, front.means[name], "true" if place.on_frontier else "false", place.probability]
        for front in fronts(study)
        for name, value in front.costs.items()
        for place in [front.places[name]]
    ]


def frontier_table(study: StudyView) -> Shown | None:
    """The probability of each variant to stand on each frontier; a dot marks those whose means put them there."""
    found = fronts(study)
    names = [variant.name for variant in study.ranked if any(variant.name in front.costs for front in found)]
    rows = []
    for name in names:
        places = [front.places.get(name) for front in found]
        rows.append([name, *(NONE if place is None else _place(place) for place in places)])
    headers = ["variant", *(front.cost.label for front in found)]
    return Shown(headers, rows) if rows else None


def draw_fronts(study: StudyView) -> list[Drawing]:
    """A figure for each frontier."""
    return [_draw(study, front) for front in fronts(study)]


def _draw(study: StudyView, front: Front) -> Drawing:
    variants = [variant for variant in study.ranked if variant.name in front.costs]
    with canvas(2.7 + legend_height([variant.label for variant in variants])) as (figure, axes):
        for variant in variants:
            x, y, place = front.costs[variant.name], front.means[variant.name], front.places[variant.name]
            line = variant_line(variant.place) | {"linestyle": "none", "markersize": 7}
            if not place.on_frontier:
                line |= {"markerfacecolor": "none", "markeredgewidth": 1.4}
            if variant.interval:
                axes.plot([x, x], variant.interval, color=variant_color(variant.place), linewidth=1.2, zorder=2)
            axes.plot([x], [y], **line, label=variant.label, zorder=3)
            note: dict[str, Any] = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8, "color": MUTED}
            axes.annotate(percent(place.probability, 0), (x, y), **note)
        on_it = [name for name, place in front.places.items() if place.on_frontier]
        _steps(axes, sorted((front.costs[name], front.means[name]) for name in on_it))
        _scale(axes, list(front.costs.values()))
        finish(axes, front.cost.label, f"test {BITS}")
        legend(figure, axes)
        title = f"Loss against {front.cost.label}"
        name = f"{study.name}-pareto-{front.cost.name}"
        said = "; ".join(
            f"{v.name} {fixed(v.mean)} at {scaled(float(f'{front.costs[v.name]:.3g}'))}, on the frontier with "
            f"probability {percent(front.places[v.name].probability, 0)}"
            for v in variants
        )
        drawing = svg(figure, name, title, f"Test {BITS} against {front.cost.label}: {said}.")
    caption = (
        "Further down and further left is better. Filled marks stand on the frontier (dashed): no other is as good at no higher "
        "cost. Percentages: how often they do when seeds are drawn again."
    )
    return Drawing("pareto", name, title, caption, drawing)


def _whole(variant: VariantView) -> bool:
    return bool(variant.runs) and len(variant.finished) == len(variant.runs) and variant.mean is not None


def _place(place: Membership) -> str:
    return f"{percent(place.probability, 0)}{' ●' if place.on_frontier else ''}"


def _steps(axes: Axes, points: list[tuple[float, float]]) -> None:
    """The edge of what is dominated, from the cheapest on the frontier to the best."""
    axes.step(*zip(*points, strict=True), where="post", color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)


def _scale(axes: Axes, costs: list[float]) -> None:
    """Logarithmic where costs differ by much; ticks with short numbers."""
    if max(costs) / min(costs) > 3:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.14, y=0.14)
    axes.xaxis.set_major_formatter(lambda value, _: scaled(float(f"{value:.4g}")))


def _step_ratio(variant: VariantView) -> float | None:
    """Absolute times of different processes decide nothing; the ratio was measured in one."""
    return None if variant.measured is None else float(variant.measured["training"]["ratio"]["median"])


def _peak_memory(variant: VariantView) -> float | None:
    found = None if variant.measured is None else variant.measured["training"]["peak_memory_bytes"]
    return None if found is None else float(found / 2**20)


def _token_milliseconds(variant: VariantView) -> float | None:
    row = inference_row(variant)
    return None if row is None or row["token_seconds"] is None else float(1000 * row["token_seconds"])


COSTS = (
    Cost("body-parameters", "body parameters", lambda variant: float(variant.receipt["parameters"]["body"])),
    Cost("parameters", "all parameters", lambda variant: float(variant.receipt["parameters"]["total"])),
    Cost("flops", "training FLOPs", lambda variant: variant.training_flops),
    Cost("step", "time of a training step, to the baseline’s", _step_ratio),
    Cost("memory", "peak memory in training, MiB", _peak_memory),
    Cost("token", "ms per generated token", _token_milliseconds),
)
