"""The exact sign-flip test of a paired difference.

If variant and baseline do not differ, the sign of the difference at a seed is a coin's. The test counts, among all 2^n ways the
n coins may fall, those whose sum lies as far from zero as the one seen (R. A. Fisher, "The Design of Experiments", 1935). It
assumes no normal distribution; below six seeds it could never reach 5 %, so it says nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 6


def sign_flip(differences: Sequence[float]) -> float | None:
    """Two-sided p of the hypothesis "no difference"; None below six seeds.

    No pattern is left out: sums over two halves of the seeds are listed, and pairs of them counted. Time and memory grow as
    2^(n/2).
    """
    count = len(differences)
    if count < LEAST:
        return None
    first, second = _sums(differences[: count // 2]), np.sort(_sums(differences[count // 2 :]))
    seen = abs(sum(differences))
    seen -= 1e-12 * sum(abs(value) for value in differences)  # what rounding makes of equal sums
    if seen <= 0:  # every sum lies as far from zero as none at all
        return 1.0
    above = len(second) - np.searchsorted(second, seen - first, side="left")
    below = np.searchsorted(second, -seen - first, side="right")
    return float((above.sum() + below.sum()) / 2**count)


def _sums(values: Sequence[float]) -> np.ndarray:
    """The sum of `values` (n) under each pattern of signs, shape (2^n)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
