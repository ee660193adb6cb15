"""The rows of a comparison: each variant's values by seed, its difference to the baseline, and its verdict.

A study asks one question of several variants, so the p values of their differences, and those of their equivalence, are each
corrected by Holm over all variants of the study that were matched with the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nnn_bench.config.expansion import RunSpec
from nnn_bench.statistics.equivalence import equivalence
from nnn_bench.statistics.multiple import holm
from nnn_bench.statistics.paired import LEVEL, estimate, paired_difference
from nnn_bench.statistics.pairing import Result, is_matched
from nnn_bench.statistics.power import correlation, noise_floor, seeds_needed
from nnn_bench.statistics.sign_flip import sign_flip
from nnn_bench.statistics.verdict import verdict

Row = dict[str, Any]


def study_rows(
    specs: Mapping[str, RunSpec],
    results: Mapping[str, Mapping[int, Result]],
    audits: Mapping[str, dict[str, Any]],
    *,
    baseline: str,
    margin: float,
    barred: str | None,
) -> list[Row]:
    """A row for each variant, in the study's order. `margin` is a share of the baseline's mean; `barred` says why nothing may be
    concluded from the study, if so.

    A variant that failed an audit is quarantined, one of which only the text was matched stands apart: neither has a difference
    to be ranked by.
    """
    reference = values_by_seed(results[baseline])
    rows = {name: _row(spec, results[name], audits[name]) for name, spec in specs.items()}
    family = [name for name, row in rows.items() if name != baseline and row["matched"]]
    compared = {name: values_by_seed(results[name]) for name in family if audits[name]["passed"]}
    differences = compared_with(reference, compared, margin, len(family))
    for name, row in rows.items():
        row["difference"] = differences.get(name)
        found = verdict(row, baseline=name == baseline, barred=barred)
        row |= {"verdict": found.word, "reason": found.reason}
    return list(rows.values())


def values_by_seed(results: Mapping[int, Result]) -> dict[int, float | None]:
    """Seed -> bits per byte on the test split; None for a run that diverged, whatever it had reached before."""
    values: dict[int, float | None] = {}
    for seed, result in results.items():
        value = result["test"]["bits_per_byte"] if result["status"] == "ok" and result["test"] else None
        values[seed] = value if value is not None and math.isfinite(value) else None
    return values


def _row(spec: RunSpec, results: Mapping[int, Result], audit: dict[str, Any]) -> Row:
    values, one = values_by_seed(results), next(iter(results.values()))
    found = estimate(list(values.values()))
    finished = [result["seconds"] for result in results.values() if result["status"] == "ok"]
    return {
        "variant": spec.variant,
        "summary": spec.variant_config.summary,
        "source": spec.variant_config.source,
        "seeds": list(results),
        "runs": [f"{spec.key}/s{seed}" for seed in results],
        "statuses": [result["status"] for result in results.values()],
        "values": list(values.values()),
        "mean": found.mean,
        "standard_deviation": found.standard_deviation,
        "interval": None if found.interval is None else list(found.interval),
        "audit": audit,
        "quarantined": not audit["passed"],
        "matched": is_matched(one),
        "seconds_mean": math.fsum(finished) / len(finished) if finished else None,
        "receipt": one["receipt"],
    }


def compared_with(
    reference: Mapping[int, float | None], compared: Mapping[str, Mapping[int, float | None]], share: float, family: int
) -> dict[str, Row]:
    """The difference of each variant to the baseline, whose values by seed are `reference`.

    `share` of the baseline's mean is the margin of equivalence; `family` is how many variants the study compares, those in
    quarantine among them.
    """
    base = estimate(list(reference.values())).mean
    margin = None if base is None else share * base
    floor = noise_floor(list(reference.values()))
    found = {name: paired_difference(values, reference) for name, values in compared.items()}
    equal = {name: None if margin is None else equivalence(one, margin) for name, one in found.items()}
    corrected = holm({name: one.p for name, one in found.items()}, family=family)
    equal_corrected = holm(equal, family=family)
    rows = {}
    for name, one in found.items():
        spread = estimate(one.values).standard_deviation
        rows[name] = {
            "values": list(one.values),
            "mean": one.mean,
            "interval": None if one.interval is None else list(one.interval),
            "p": one.p,
            "p_holm": corrected[name],
            "p_sign_flip": sign_flip(one.values),
            "equivalence": {"margin": margin, "p": equal[name], "p_holm": equal_corrected[name]},
            "correlation": correlation(compared[name], reference),
            "seeds_needed": seeds_needed(one.mean, spread, LEVEL / family),
            "seeds_needed_for_noise_floor": seeds_needed(floor, spread, LEVEL / family),
            "seeds": list(one.seeds),
            "missing": one.missing,
        }
    return rows
