"""How much a learning rate matters: validation loss of the trials against their factor, a line for each variant."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import FixedLocator, NullLocator

from nnn_bench.report.collect import StudyView
from nnn_bench.report.figure_style import (
    Drawing,
    canvas,
    finish,
    legend,
    legend_height,
    svg,
    variant_color,
    variant_line,
)
from nnn_bench.report.numbers import fixed


def sensitivity(study: StudyView) -> Drawing:
    """Sensitivity curves; a ring marks the chosen rate, a cross at the upper edge a trial that diverged."""
    labels = [variant.label for variant in study.searched]
    with canvas(2.6 + legend_height(labels)) as (figure, axes):
        factors: set[float] = set()
        told, lost = [], []
        for variant in study.searched:
            ledger = variant.rates or {}
            known = [(trial["factor"], trial["loss"]) for trial in ledger["trials"] if trial["loss"] is not None]
            gone = [trial["factor"] for trial in ledger["trials"] if trial["loss"] is None]
            factors |= {trial["factor"] for trial in ledger["trials"]}
            line = variant_line(variant.place, quarantined=variant.quarantined)
            axes.plot([x for x, _ in known], [y for _, y in known], **line, label=variant.label, zorder=3)
            chosen = [(x, y) for x, y in known if x == ledger["chosen"]["factor"]]
            ring: dict[str, Any] = {
                "markersize": 9,
                "markerfacecolor": "none",
                "markeredgecolor": variant_color(variant.place),
                "zorder": 4,
            }
            axes.plot([x for x, _ in chosen], [y for _, y in chosen], "o", **ring)
            lost += [(factor, variant) for factor in gone]
            told.append(
                f"{variant.name} best at × {ledger['chosen']['factor']:g} with {fixed(chosen[0][1] if chosen else None)}"
            )
        axes.margins(y=0.14)
        for factor, variant in lost:
            color = variant_color(variant.place)
            axes.plot(
                [factor],
                [0.96],
                "x",
                color=color,
                transform=axes.get_xaxis_transform(),
                markersize=7,
                markeredgewidth=1.8,
            )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(sorted(factors)))
        axes.xaxis.set_major_formatter(lambda value, _: f"× {value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        finish(axes, "learning rate, times the declared one", "validation loss, nats per token")
        legend(figure, axes)
        title = "How much the learning rate matters"
        name = f"{study.name}-rates"
        drawing = svg(
            figure, name, title, f"Validation loss of the trials by factor of the learning rate: {'; '.join(told)}."
        )
    caption = "Short runs, the same for every variant; a ring marks the rate that was chosen. A flat line hardly minds its rate."
    if lost:
        caption += " A cross at the upper edge is a trial that diverged."
    return Drawing("tuning", name, title, caption, drawing)
