"""The exponential inside compiled loops, one that a processor takes of several floats at once.

The library's is a call, which keeps a loop scalar. Ours is right to within one unit in the last place; below -87 and above 88 it
stays what it is there, so that it never overflows.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba.extending import overload

_LOG2_E = np.float32(math.log2(math.e))
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)  # beyond, powers of two leave what floats hold
_TO_WHOLE = np.float32(1.5 * 2**23)  # a float of this size has no room for a fraction: adding it rounds
_TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(8))


def exponential(x):  # type: ignore[no-untyped-def]
    """exp x, by type: what follows for floats, the library's for doubles."""
    raise NotImplementedError  # replaced when a kernel is compiled


@overload(exponential, jit_options={"fastmath": {"contract"}})
def _exponential_of(x):  # type: ignore[no-untyped-def]
    if x != numba.float32:
        return lambda x: math.exp(x)
    c0, c1, c2, c3, c4, c5, c6, c7 = _TAYLOR

    def of_float(x):  # type: ignore[no-untyped-def]
        """2^n exp r with n whole and |r| <= ln 2 / 2: r by its Taylor series, 2^n by writing the exponent's bits."""
        x = min(max(x, _LEAST), _MOST)
        shifted = x * _LOG2_E + _TO_WHOLE
        n = shifted - _TO_WHOLE
        r = (x - n * _LN2_HIGH) - n * _LN2_LOW
        series = c0 + r * (c1 + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * (c6 + r * c7))))))
        power = (np.float32(shifted).view(np.int32) << np.int32(23)) + np.int32(127 << 23)  # n is what ends `shifted`
        return series * np.int32(power).view(np.float32)

    return of_float
