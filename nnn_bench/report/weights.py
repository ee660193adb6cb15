"""Tables about weights at inference: what is lost when only the largest are kept, and how many ternary ones are zero."""

from __future__ import annotations

import math
from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import fixed, signed, whole
from nnn_bench.report.shown import Shown


def density(study: StudyView) -> Shown | None:
    """Validation loss by the share of multidimensional weights that is kept; None where no network has any."""
    found = [(variant, curves) for variant in study.variants if (curves := _told(variant, "density"))]
    if not found:
        return None
    shares = sorted(found[0][1][0], key=float, reverse=True)
    rows = []
    for variant, curves in found:
        whole_loss, *rest = (_mean([curve[share] for curve in curves]) for share in shares)
        rows.append([variant.name, fixed(whole_loss), *(signed(loss - whole_loss) for loss in rest)])
    headers = ["variant", "all weights, nats", *(f"largest {float(share):.0%}" for share in shares[1:])]
    return Shown(headers, rows)


def occupancy(study: StudyView) -> Shown | None:
    """Shares of -1, 0 and +1 in each network's ternary matrices; None where no network has any."""
    rows = []
    for variant in study.variants:
        told = _told(variant, "ternary")
        if not told:
            continue
        shares = [_mean([one["all"][name] for one in told]) for name in ("minus", "zero", "plus")]
        zeros = [matrix["zero"] for one in told for matrix in one["matrices"].values()]
        entropy = _mean([one["all"]["entropy"] for one in told])
        row = [variant.name, whole(told[0]["all"]["weights"]), *(_percent(share) for share in shares)]
        rows.append([*row, f"{_percent(min(zeros))} to {_percent(max(zeros))}", fixed(entropy)])
    headers = ["variant", "ternary weights", "-1, %", "0, %", "+1, %", "zeros by matrix, %", "entropy, bits per weight"]
    return Shown(headers, rows) if rows else None


def _told(variant: VariantView, kind: str) -> list[Any]:
    """What the finished runs of a variant say of one kind of weights; runs that have none say nothing."""
    told = [run.result.get("weights", {}).get(kind) for run in variant.finished]
    return [one for one in told if one]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
