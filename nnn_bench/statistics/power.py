"""What a number of seeds can show: the noise floor, how well seeds pair, and how many would be needed.

The power of a two-sided paired t test at n seeds follows from the noncentral t distribution with n - 1 degrees of freedom and
noncentrality effect / sd x sqrt(n), sd being the spread of the paired differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnn_bench.statistics.paired import LEVEL, estimate

POWER = 0.8

#: More seeds than anyone will train.
MOST = 1000


def noise_floor(baseline: Sequence[float | None]) -> float | None:
    """Two standard deviations of the baseline over its seeds; None below two. Luck may part one run from another by as much."""
    deviation = estimate(baseline).standard_deviation
    return None if deviation is None else 2 * deviation


def correlation(values: Mapping[int, float | None], baseline: Mapping[int, float | None]) -> float | None:
    """Pearson's, between variant and baseline over the seeds both have; None below three, which say nothing, or without a spread.

    The nearer to 1, the more of a seed's luck pairing takes out of the difference.
    """
    pairs = [
        (value, other)
        for seed, value in sorted(values.items())
        if value is not None and (other := baseline.get(seed)) is not None
    ]
    if len(pairs) < 3:
        return None
    ours, theirs = ([value - math.fsum(side) / len(side) for value in side] for side in zip(*pairs, strict=True))
    spread = math.sqrt(math.fsum(value**2 for value in ours) * math.fsum(value**2 for value in theirs))
    return math.fsum(x * y for x, y in zip(ours, theirs, strict=True)) / spread if spread else None


def power(effect: float, deviation: float, seeds: int, level: float = LEVEL) -> float:
    """Chance that a two-sided paired t test of `seeds` pairs (at least two) finds `effect`; differences spread by `deviation`."""
    from scipy.special import nctdtr, stdtrit

    degrees, shift = seeds - 1, abs(effect) / deviation * math.sqrt(seeds)
    reach = stdtrit(degrees, 1 - level / 2)
    # where a tail is as good as empty, the library has no number for it at some degrees (a test walks through them)
    within = np.nan_to_num(nctdtr(degrees, shift, reach)) - np.nan_to_num(nctdtr(degrees, shift, -reach))
    return float(1 - within)


def seeds_needed(effect: float | None, deviation: float | None, level: float = LEVEL) -> int | None:
    """The fewest seeds at which the power is 80 %; None where effect or spread is missing or none, or 1,000 seeds would not do.

    `level` is the one the test must reach: where Holm decides over m variants, the level / m that its first step asks for.
    """
    if not effect or not deviation or power(effect, deviation, MOST, level) < POWER:
        return None
    too_few, enough = 1, MOST
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if power(effect, deviation, middle, level) < POWER:
            too_few = middle
        else:
            enough = middle
    return enough
