"""The table of what stands outside the budget: models of which only the text was matched, neither parameters nor operations."""

from __future__ import annotations

from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import NONE, fixed, interval, whole
from nnn_bench.report.shown import Cell, Shown
from nnn_bench.report.tables import truth

COLUMNS = ["variant", "bits_per_byte", "low", "high", "nats_per_token", "trees", "leaves", "training_seconds"]
COLUMNS += ["seeds_ok", "seeds", "audit_passed", "audit_failed"]


def outside_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each model outside the budget."""
    return [_row(variant) for variant in study.outside]


def outside(study: StudyView) -> Shown | None:
    """The same for people; None where all was matched."""
    rows = []
    for row in outside_rows(study):
        name, mean, low, high, nats, trees, leaves, seconds, finished, seeds, passed, failed = row
        # where no rows are drawn all seeds are one, and their interval is a point that promises too much
        ends = None if low is None or high is None or low == high else (float(low), float(high))
        audit = "passed" if passed == "true" else f"failed: {failed}"
        sizes = [whole(_number(trees)), whole(_number(leaves)), fixed(_number(seconds), 1)]
        score = [fixed(_number(mean)), interval(ends) if ends else NONE, fixed(_number(nats))]
        rows.append([str(name), *score, *sizes, f"{finished}/{seeds}", audit])
    headers = [
        "model",
        "bits per byte",
        "95 % interval",
        "nats per token",
        "trees",
        "leaves",
        "fitting s",
        "seeds",
        "audit",
    ]
    return Shown(headers, rows, texts=(0, 8)) if rows else None


def _row(variant: VariantView) -> list[Cell]:
    low, high = variant.interval or (None, None)
    sizes: dict[str, Any] = variant.finished[0].result["weights"]["trees"] if variant.finished else {}
    return [
        variant.name,
        variant.mean,
        low,
        high,
        variant.mean_of("test", "loss"),
        sizes.get("trees"),
        sizes.get("leaves"),
        variant.row["seconds_mean"],
        len(variant.finished),
        len(variant.runs),
        truth(variant.audit["passed"]),
        " ".join(variant.audit["failed"]) or None,
    ]


def _number(cell: Cell) -> float | None:
    return None if cell is None else float(cell)
