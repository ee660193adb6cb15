"""How selections choose, as curves: of each layer, and of their mean.

Of K computations, which may be many, a curve each would drown the others: the least and the largest of them are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from nnn_bench.measure.swap import ALL

_ENTROPIES = ("aggregate_entropy", "sample_entropy", "maximum_entropy")
_MEAN = "mean"  # no layer has these names: theirs have a dot
Values = dict[str, float | None]


def selection_values(row: dict[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Layer, name and value of all that a validation's row says of selections; of the layers' `mean`, and of `all` at once."""
    layers, rises = row.get("selection") or {}, row.get("swap_rises") or {}
    found = {layer: _layer_values(statistics, rises.get(layer)) for layer, statistics in layers.items()}
    if found:
        found[_MEAN] = _mean(list(found.values()))
    if ALL in rises:
        found[ALL] = {"swap_rise": rises[ALL]}
    for layer, values in found.items():
        yield from ((layer, name, value) for name, value in values.items())


def _layer_values(statistics: dict[str, Any], rise: float | None) -> Values:
    norms, cosine = statistics.get("gradient_norm") or {}, statistics.get("cosine") or {}
    values: Values = {name: statistics.get(name) for name in _ENTROPIES}
    values |= _ends("frequency", statistics["frequency"])
    values |= _ends("gradient_norm", norms.get("computations") or [])
    values["selector_gradient_norm"] = norms.get("selector")
    values |= {f"cosine_{how}": cosine.get(how) for how in ("whole", "rows")}
    return values | {"swap_rise": rise}


def _ends(name: str, values: list[float | None]) -> Values:
    known = [value for value in values if value is not None]
    return {f"least_{name}": min(known, default=None), f"largest_{name}": max(known, default=None)}


def _mean(layers: list[Values]) -> Values:
    """Of each value over the layers that have it."""
    known = {name: [one[name] for one in layers] for name in layers[0]}
    kept = {name: [value for value in values if value is not None] for name, values in known.items()}
    return {name: math.fsum(values) / len(values) for name, values in kept.items() if values}
