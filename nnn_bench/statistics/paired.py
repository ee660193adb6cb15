"""Means and paired differences over seeds, with Student's t.

A seed fixes the batches, their order and the evaluation windows for every variant, so two variants are compared by the
difference at each seed. A value that is missing (`None`: the run diverged) is left out of the mean, takes its pair with
it, and is counted. One seed has a mean and no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95

#: A p value below it decides.
LEVEL = 0.05


@dataclass(frozen=True)
class Estimate:
    """Mean of `count` values with its t interval; None where there are too few values to say."""

    mean: float | None
    standard_deviation: float | None
    interval: tuple[float, float] | None
    count: int
    missing: int


@dataclass(frozen=True)
class PairedDifference:
    """Value minus baseline at the seeds where both are there, and how many pairs are not."""

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    missing: int


def estimate(values: Sequence[float | None]) -> Estimate:
    """Mean, sample standard deviation and 95 % t interval of the values that are there."""
    known = list(_known(dict(enumerate(values))).values())
    missing = len(values) - len(known)
    if not known:
        return Estimate(None, None, None, 0, missing)
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return Estimate(mean, None, None, 1, missing)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
    half = t_quantile(len(known) - 1) * deviation / math.sqrt(len(known))
    return Estimate(mean, deviation, (mean - half, mean + half), len(known), missing)


def paired_difference(values: Mapping[int, float | None], baseline: Mapping[int, float | None]) -> PairedDifference:
    """Difference by seed; both map seed -> value. The p value is two-sided, of the hypothesis "no difference"."""
    seeds = sorted(values.keys() | baseline.keys())
    ours, theirs = _known(values), _known(baseline)
    pairs = {seed: ours[seed] - theirs[seed] for seed in seeds if seed in ours and seed in theirs}
    found = estimate(list(pairs.values()))
    return PairedDifference(
        seeds=tuple(pairs),
        values=tuple(pairs.values()),
        mean=found.mean,
        interval=found.interval,
        p=_p_value(found),
        missing=len(seeds) - len(pairs),
    )


def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors the two-sided interval reaches at `degrees` of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _p_value(difference: Estimate) -> float | None:
    """Two-sided p of a one-sample t test against zero; None without a spread to judge by."""
    if difference.mean is None or difference.standard_deviation is None:
        return None
    if difference.standard_deviation == 0:
        return 1.0 if difference.mean == 0 else None
    from scipy.special import stdtr

    t = difference.mean / (difference.standard_deviation / math.sqrt(difference.count))
    return float(2 * stdtr(difference.count - 1, -abs(t)))


def _known(values: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}
