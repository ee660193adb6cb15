"""How a number changes with size: value = factor x size^-exponent, with an interval of the exponent or a reason to give none.

Without an offset this is a line through logarithms, and the interval is Student's. With one (value = offset + factor x
size^-exponent: a loss that no size gets below, a time that no size gets rid of) the exponent is searched for, and the others
follow by least squares of relative errors, neither below zero. The interval is the profile's: all exponents whose best fit is no
worse than an F test allows (D. M. Bates and D. G. Watts, "Nonlinear Regression Analysis", 1988, chapter 6).

A few points always lie near some curve. So nothing is fitted to fewer than four sizes (five with an offset), and a poor fit is
refused: one that explains less than 90 % of the variance of the logarithms, or whose exponent has an interval wider than itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnn_bench.statistics.paired import t_quantile

LEAST_SIZES = 4
LEAST_SIZES_WITH_OFFSET = 5
LEAST_R_SQUARED = 0.9

#: How large an exponent may be beside an offset. Near 0 a power and an offset are the same thing.
_SEARCHED = np.geomspace(0.01, 4, 120)


@dataclass(frozen=True)
class PowerLaw:
    """The fit, with the 95 % interval of its exponent; `r_squared` is that of the logarithms."""

    factor: float
    exponent: float
    offset: float
    interval: tuple[float, float]
    r_squared: float

    def at(self, size: float) -> float:
        return float(self.offset + self.factor * size**-self.exponent)


@dataclass(frozen=True)
class Refused:
    """Why no exponent is given."""

    reason: str


def fit_power_law(
    sizes: Sequence[float], values: Sequence[float], *, offset: bool = False, tolerance: float = 0.0
) -> PowerLaw | Refused:
    """Fit one value per size (the mean over seeds, where there are several), each above zero.

    An exponent is negative where values grow with size. `tolerance` is how wide an interval is narrow enough whatever else: with
    0.1, "does not grow" (an exponent of 0.01 ± 0.03) is an answer and no poor fit. Raises `ValueError` where a size comes twice,
    or a number is not above zero.
    """
    if len(sizes) != len(values) or len(set(sizes)) != len(sizes):
        raise ValueError("each size needs one value")
    if not all(math.isfinite(number) and number > 0 for number in (*sizes, *values)):
        raise ValueError("sizes and values must be numbers above zero")
    least = LEAST_SIZES_WITH_OFFSET if offset else LEAST_SIZES
    if len(sizes) < least:
        return Refused(
            f"{len(sizes)} sizes are too few; {least} are needed{' for a fit with an offset' if offset else ''}"
        )
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    found = _with_offset(x, y) if offset else _line(np.log(x), np.log(y))
    if found is None:
        return Refused("the exponent's interval has no end: these sizes cannot tell a power from an offset")
    low, high = found.interval
    if high - low < tolerance:
        return found
    if found.r_squared < LEAST_R_SQUARED:
        return Refused(f"the fit explains {found.r_squared:.0%} of the variance of the logarithms; 90 % are needed")
    if high - low > abs(found.exponent):
        return Refused(
            f"the exponent's interval [{low:.3f}, {high:.3f}] is wider than the exponent, {found.exponent:.3f}"
        )
    return found


def _line(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """The line through logarithms, with the t interval of its slope."""
    away, rise = x - x.mean(), y - y.mean()
    slope = float(away @ rise / (away @ away))
    rest = float(np.sum((rise - slope * away) ** 2))
    half = t_quantile(len(x) - 2) * math.sqrt(rest / (len(x) - 2) / float(away @ away))
    factor = math.exp(float(y.mean()) - slope * float(x.mean()))
    return PowerLaw(factor, -slope, 0.0, (-slope - half, -slope + half), _r_squared(rise, rest))


def _with_offset(x: np.ndarray, y: np.ndarray) -> PowerLaw | None:
    """The best exponent and its profile interval; None where the interval reaches the end of what is searched."""
    from scipy.optimize import brentq, minimize_scalar

    middle = math.exp(float(np.log(x).mean()))
    scaled = x / middle

    def rest(exponent: float) -> float:
        return float(_least_squares(scaled, y, np.array([exponent]))[2][0])

    searched = _SEARCHED if np.log(x / middle) @ y < 0 else -_SEARCHED[::-1]  # values fall with size, or rise
    tried = _least_squares(scaled, y, searched)[2]
    place = int(np.argmin(tried))
    if place in (0, len(tried) - 1):
        return None
    around = (float(searched[place - 1]), float(searched[place + 1]))
    exponent = float(minimize_scalar(rest, bounds=around, method="bounded", options={"xatol": 1e-9}).x)
    degrees = len(x) - 3
    least = rest(exponent)
    allowed = least * (1 + t_quantile(degrees) ** 2 / degrees) + 1e-16  # the last for points without any error
    below = [i for i in range(place) if tried[i] > allowed]
    above = [i for i in range(place + 1, len(tried)) if tried[i] > allowed]
    if not below or not above:
        return None
    ends = (float(searched[below[-1]]), float(searched[above[0]]))
    low, high = (float(brentq(lambda one: rest(one) - allowed, exponent, end)) for end in ends)
    offset, factor = (float(found[0]) for found in _least_squares(scaled, y, np.array([exponent]))[:2])
    fitted = np.log(offset + factor * scaled**-exponent)
    logs = np.log(y)
    explained = _r_squared(logs - logs.mean(), float(np.sum((logs - fitted) ** 2)))
    return PowerLaw(factor * middle**exponent, exponent, offset, (low, high), explained)


def _least_squares(x: np.ndarray, y: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each exponent: offset and factor, neither below zero, and the sum of squared relative errors they leave."""
    flat, bent = (
        1 / y,
        x ** -exponents[:, None] / y,
    )  # (sizes), (exponents, sizes); times their coefficients they are to give 1
    a, b, c, d, e = flat @ flat, bent @ flat, np.sum(bent**2, axis=1), flat.sum(), bent.sum(axis=1)
    area = a * c - b * b
    offset, factor = (c * d - b * e) / area, (a * e - b * d) / area
    offset, factor = np.where(factor < 0, d / a, offset), np.where(offset < 0, e / c, factor)
    offset, factor = np.maximum(offset, 0.0), np.maximum(factor, 0.0)
    return offset, factor, np.sum((offset[:, None] * flat + factor[:, None] * bent - 1) ** 2, axis=1)


def _r_squared(spread: np.ndarray, rest: float) -> float:
    """The share of the sum of squares of `spread` that is not in `rest`; 0 where nothing varies."""
    total = float(spread @ spread)
    return 1 - rest / total if total > 0 else 0.0
