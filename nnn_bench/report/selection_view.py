"""What the records of a variant say of its selections, laid out for figures: layers by validations, mean over finished seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnn_bench.measure.swap import ALL
from nnn_bench.report.collect import VariantView

Grid = NDArray[np.float64]
Statistics = dict[str, Any]


@dataclass(frozen=True)
class SelectionView:
    """One variant. Grids are (layers, validations), NaN where a layer did not choose yet or nothing is known.

    `computations` is K of each layer at the end, and `frequency (layers, the largest K)` how choices fell then, NaN beyond a
    layer's K; `rises` holds what the loss rose by, in nats, when `all` choices or those of a layer were exchanged at the end.
    """

    variant: VariantView
    layers: list[str]
    tokens: list[int]
    computations: list[int]
    aggregate: Grid
    sample: Grid
    least_gradient: Grid
    largest_gradient: Grid
    selector_gradient: Grid
    frequency: Grid
    rises: dict[str, float]

    @property
    def maximum(self) -> str:
        """The largest entropy in words: `ln 2 = 0.693`."""
        kinds = sorted(set(self.computations))
        return " and ".join(f"ln {K} = {math.log(K):.3f}" for K in kinds)


def selection_view(variant: VariantView) -> SelectionView | None:
    """None for a variant that selects nothing, or none of whose runs finished."""
    runs = [run.validation for run in variant.finished if any(row.get("selection") for row in run.validation)]
    if not runs:
        return None
    layers = list(dict.fromkeys(layer for rows in runs for row in rows for layer in row.get("selection") or ()))
    ends = [rows[-1].get("selection") or {} for rows in runs]
    frequency = _padded([_mean_list([end[layer]["frequency"] for end in ends if layer in end]) for layer in layers])

    def grid(value: Callable[[Statistics], float | None]) -> Grid:
        return np.array(
            [
                [mean_known(_values(rows_of_one, layer, value)) for rows_of_one in zip(*runs, strict=False)]
                for layer in layers
            ]
        )

    rises = [rows[-1].get("swap_rises") or {} for rows in runs]
    return SelectionView(
        variant=variant,
        layers=layers,
        tokens=[row["tokens"] for row in runs[0]],
        computations=[int(np.isfinite(row).sum()) for row in frequency],
        aggregate=grid(lambda told: _share(told, "aggregate_entropy")),
        sample=grid(lambda told: _share(told, "sample_entropy")),
        least_gradient=grid(lambda told: min(_gradients(told), default=None)),
        largest_gradient=grid(lambda told: max(_gradients(told), default=None)),
        selector_gradient=grid(lambda told: (told.get("gradient_norm") or {}).get("selector")),
        frequency=frequency,
        rises={
            name: mean
            for name in (ALL, *layers)
            if math.isfinite(mean := mean_known([told.get(name) for told in rises]))
        },
    )


def short_names(layers: Sequence[str]) -> list[str]:
    """First and last part of each layer's name below `blocks`, where that tells all apart: `0 up` for `blocks.0.mixer.up`."""
    parts = [layer.removeprefix("blocks.").split(".") for layer in layers]
    short = [" ".join(dict.fromkeys((one[0], one[-1]))) for one in parts]
    return short if max(Counter(short).values()) == 1 else [" ".join(one) for one in parts]


def mean_known(values: Iterable[float | None]) -> float:
    """Mean of those that are known; NaN where none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else math.nan


def _values(
    rows: Iterable[dict[str, Any]], layer: str, value: Callable[[Statistics], float | None]
) -> list[float | None]:
    return [value(row["selection"][layer]) for row in rows if layer in (row.get("selection") or {})]


def _share(told: Statistics, name: str) -> float | None:
    return None if told[name] is None else told[name] / told["maximum_entropy"]


def _gradients(told: Statistics) -> list[float]:
    known = (told.get("gradient_norm") or {}).get("computations") or []
    return [norm for norm in known if norm is not None]


def _mean_list(lists: Sequence[Sequence[float]]) -> list[float]:
    """Place by place; a computation that a seed does not have got no choices there."""
    longest = max(map(len, lists))
    return [math.fsum(one[i] if i < len(one) else 0.0 for one in lists) / len(lists) for i in range(longest)]


def _padded(rows: Sequence[Sequence[float]]) -> Grid:
    grid = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in enumerate(rows):
        grid[place, : len(row)] = row
    return grid
