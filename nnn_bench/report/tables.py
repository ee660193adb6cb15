"""The tables people read, for HTML and Markdown: headers with units, ready texts in the cells."""

from __future__ import annotations

import math
from typing import Any

from nnn_bench.report.collect import RunView, StudyView, VariantView
from nnn_bench.report.headline import COLUMNS
from nnn_bench.report.numbers import fixed, small, whole
from nnn_bench.report.shown import Cell, Shown

ENTROPIES = ["aggregate_entropy", "sample_entropy", "maximum_entropy"]


def headline_rows(study: StudyView) -> list[list[Cell]]:
    """Variants and n-grams together, best first; whatever has no number comes after them, and variants in quarantine last.

    Columns: `headline.COLUMNS`.
    """
    rows: list[list[Cell]] = [_variant_headline(study, variant) for variant in study.ranked]
    ahead, objective = COLUMNS.index("ahead"), COLUMNS.index("objective")
    for entry in study.comparison["ladder"]["orders"]:
        row: list[Cell] = ["n-gram", f"{entry['order']}-gram", entry["bits_per_byte"], None, None, entry["loss"]]
        row += [None] * (len(COLUMNS) - len(row))
        row[ahead], row[objective] = study.ahead, study.objective
        rows.append(row)
    return sorted(rows, key=_score) + sorted((_variant_headline(study, v) for v in study.quarantined), key=_score)


def _score(row: list[Cell]) -> float:
    """Bits per byte of a headline row; infinite where there is none."""
    return math.inf if row[2] is None else float(row[2])


def runs(variant: VariantView) -> Shown:
    """Every run of a variant, the diverged ones too."""
    rows = [
        [
            str(run.seed),
            run.status,
            fixed(run.value, 4),
            fixed(final_score(run, "loss"), 4),
            fixed(final_score(run, "all_positions_bits_per_byte"), 4),
            whole(run.result["steps"]),
            fixed(run.result["seconds"], 1),
            run.result["fingerprint"],
        ]
        for run in variant.runs
    ]
    headers = ["seed", "status", "bits per byte", "nats per token", "bits per byte, all positions", "steps"]
    return Shown([*headers, "training seconds (indicative)", "fingerprint"], rows, texts=(0, 1, 7))


def selection(study: StudyView) -> Shown | None:
    """How each selection layer chooses at the last evaluation, mean over finished runs; None where nothing selects."""
    rows = []
    for variant in study.variants:
        for layer, values in _last_selection(variant).items():
            maximum = values["maximum_entropy"]
            shares = " / ".join(f"{100 * share:.0f}" for share in values["frequency"][:8])
            more = " …" if len(values["frequency"]) > 8 else ""
            entropies = [
                f"{fixed(values[name])} of {fixed(maximum)}" for name in ("aggregate_entropy", "sample_entropy")
            ]
            rows.append([variant.name, layer, shares + more, *entropies])
    headers = ["variant", "layer", "choices, %", "aggregate entropy, nats", "per-sample entropy, nats"]
    return Shown(headers, rows, texts=(0, 1)) if rows else None


def growth(study: StudyView) -> Shown | None:
    """What each growth did to the loss on a fixed batch; None where nothing grew."""
    rows = []
    for variant in study.variants:
        for run in variant.runs:
            for row in run.growth:
                losses = [row["loss_before"], row["loss_after"]]
                change = small(None if None in losses else losses[1] - losses[0])
                stage = str(row["stage"])
                rows.append(
                    [variant.name, str(run.seed), whole(row["step"]), stage, *(fixed(v, 4) for v in losses), change]
                )
    headers = ["variant", "seed", "after step", "enters stage", "loss before, nats", "loss after, nats", "change, nats"]
    return Shown(headers, rows) if rows else None


def _variant_headline(study: StudyView, variant: VariantView) -> list[Cell]:
    low, high = variant.interval or (None, None)
    parameters = variant.receipt["parameters"]
    return [
        "variant",
        variant.name,
        variant.mean,
        low,
        high,
        variant.mean_of("test", "loss"),
        parameters["body"],
        parameters["total"],
        variant.receipt["tokens"],
        variant.training_flops,
        variant.row["seconds_mean"],
        len(variant.finished),
        len(variant.runs),
        study.ahead,
        study.objective,
        truth(variant.audit["passed"]),
        " ".join(variant.audit["failed"]) or None,
        truth(variant.quarantined),
    ]


def truth(value: bool) -> str:
    return "true" if value else "false"


def final_score(run: RunView, name: str) -> float | None:
    return run.result["test"][name] if run.finished and run.result["test"] else None


def _last_selection(variant: VariantView) -> dict[str, dict[str, Any]]:
    """Layer -> statistics of the last evaluation, averaged over finished runs."""
    rows = [run.validation[-1] for run in variant.finished if run.validation]
    last = [row["selection"] for row in rows if row.get("selection")]
    found: dict[str, dict[str, Any]] = {}
    for layer in last[0] if last else ():
        statistics = [selection[layer] for selection in last]
        found[layer] = {name: _mean([s[name] for s in statistics]) for name in ENTROPIES}
        by_choice = zip(*(s["frequency"] for s in statistics), strict=True)
        found[layer]["frequency"] = [_mean(list(shares)) for shares in by_choice]
    return found


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
