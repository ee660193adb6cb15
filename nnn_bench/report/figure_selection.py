"""How selection layers choose over training: entropies of the choices, as shares of their maximum."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.figure_style import (
    Drawing,
    canvas,
    finish,
    legend,
    legend_height,
    short_numbers,
    svg,
    variant_line,
)

#: Of each selection layer: tokens, and the entropies by name.
Layers = list[tuple[list[int], dict[str, Any]]]

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


def entropies(study: StudyView) -> list[Drawing]:
    """A figure for each kind of entropy; none where nothing selects."""
    found = [(variant, layers) for variant in study.variants if (layers := _entropy_layers(variant))]
    return [_entropy(study.name, found, *kind) for kind in _ENTROPIES] if found else []


def _entropy(study: str, found: list[tuple[VariantView, Layers]], key: str, title: str, caption: str) -> Drawing:
    """An entropy of the selection layers over training, as a share of its maximum: each layer thin, their mean thick."""
    with canvas(2.4 + legend_height([variant.label for variant, _ in found])) as (figure, axes):
        for variant, layers in found:
            line = variant_line(variant.place, quarantined=variant.quarantined)
            for steps, values in layers:
                axes.plot(steps, values[key], **line | {"marker": "", "linewidth": 0.8}, alpha=0.35, zorder=2)
            mean = np.mean([layer[key] for _, layer in layers], axis=0)
            axes.plot(layers[0][0], mean, **line, label=variant.label, zorder=3)
        axes.set_ylim(0, 1.04)
        short_numbers(axes)
        finish(axes, "predicted tokens", "share of the maximum")
        legend(figure, axes)
        drawing = svg(figure, f"{study}-{key}", title, f"{title} as a share of its maximum, over training.")
    return Drawing("selection", f"{study}-{key}", title, caption, drawing)


def _entropy_layers(variant: VariantView) -> Layers:
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
