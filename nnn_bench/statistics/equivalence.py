"""Whether two networks are as good as each other: two one-sided paired t tests.

"No evidence of a difference" is not evidence of none: few seeds show neither. Equivalence is shown when both "worse by the margin
or more" and "better by the margin or more" are rejected (D. J. Schuirmann, "A comparison of the two one-sided tests procedure and
the power approach", 1987). The margin is a share of the baseline's mean, which is taken as known.
"""

from __future__ import annotations

import math

from nnn_bench.statistics.paired import PairedDifference, estimate


def equivalence(difference: PairedDifference, margin: float) -> float | None:
    """p of the hypothesis "they differ by `margin` or more", both in the unit of the difference.

    The larger of the two one-sided p values. None with fewer than two pairs or no spread to judge by; 0 where no seed differs at
    all.
    """
    found = estimate(difference.values)
    if found.mean is None or found.standard_deviation is None:
        return None
    if found.standard_deviation == 0:
        return 0.0 if found.mean == 0 else None
    from scipy.special import stdtr

    error = found.standard_deviation / math.sqrt(found.count)
    return float(stdtr(found.count - 1, (abs(found.mean) - margin) / error))
