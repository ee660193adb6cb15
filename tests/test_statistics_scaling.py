"""Power laws: against scipy, against laws that were planted, how often intervals hold them, and what is refused."""

import re

import numpy as np
import pytest
from scipy import optimize, stats

from nnn_bench.statistics.scaling import PowerLaw, Refused, fit_power_law

SIZES = np.geomspace(5e4, 5e6, 8)


def noisy(law, spread, seed, sizes=SIZES):
    return law(sizes) * np.exp(spread * np.random.default_rng(seed).normal(size=len(sizes)))


def pure(sizes):
    return 40 * sizes**-0.2


def floored(sizes):
    return 1.7 + 40 * sizes**-0.35


def test_a_line_through_logarithms_is_scipys():
    values = noisy(pure, 0.02, 1)
    found = fit_power_law(SIZES, values)
    line = stats.linregress(np.log(SIZES), np.log(values))
    half = stats.t.ppf(0.975, 6) * line.stderr
    assert found.exponent == pytest.approx(-line.slope, rel=1e-10)
    assert found.factor == pytest.approx(np.exp(line.intercept), rel=1e-10)
    assert found.interval == pytest.approx((-line.slope - half, -line.slope + half), rel=1e-10)
    assert found.r_squared == pytest.approx(line.rvalue**2, rel=1e-10)
    assert found.at(1e6) == pytest.approx(np.exp(line.intercept + line.slope * np.log(1e6)), rel=1e-10)


def test_a_law_without_error_is_found_as_it_is():
    found = fit_power_law([1, 2, 4, 8], [8, 4, 2, 1])
    assert (found.exponent, found.factor, found.offset) == pytest.approx((1, 8, 0))
    grows = fit_power_law([64, 128, 256, 512], [3 * size**2 for size in (64, 128, 256, 512)])
    assert grows.exponent == pytest.approx(-2)
    floor = fit_power_law(SIZES, floored(SIZES), offset=True)
    assert (floor.exponent, floor.factor, floor.offset) == pytest.approx((0.35, 40, 1.7), rel=1e-5)
    cost = fit_power_law(
        [64, 128, 256, 512, 1024], [5 + 0.01 * size for size in (64, 128, 256, 512, 1024)], offset=True
    )
    assert (cost.exponent, cost.factor, cost.offset) == pytest.approx((-1, 0.01, 5), rel=1e-5)


def test_a_fit_with_an_offset_is_scipys():
    values = noisy(floored, 0.003, 2)
    found = fit_power_law(SIZES, values, offset=True)

    def law(size, offset, factor, exponent):
        return offset + factor * (size / 5e5) ** -exponent

    (offset, factor, exponent), _ = optimize.curve_fit(law, SIZES, values, (1.5, 0.4, 0.3), sigma=values)
    assert (found.offset, found.exponent) == pytest.approx((offset, exponent), rel=1e-4)
    assert found.at(5e5) == pytest.approx(offset + factor, rel=1e-5)
    assert found.interval[0] < found.exponent < found.interval[1]


@pytest.mark.parametrize("count", [4, 8])
def test_intervals_hold_the_planted_exponent_in_nineteen_of_twenty(count):
    """Any width is narrow enough here, so that refusals do not choose among the fits."""
    sizes = np.geomspace(5e4, 5e6, count)
    fits = [fit_power_law(sizes, noisy(pure, 0.02, seed, sizes), tolerance=9.0) for seed in range(1000)]
    missed = sum(not fit.interval[0] <= 0.2 <= fit.interval[1] for fit in fits)
    assert stats.binom.ppf(0.001, 1000, 0.05) <= missed <= stats.binom.ppf(0.999, 1000, 0.05)


def test_profile_intervals_hold_the_planted_exponent():
    fits = [fit_power_law(SIZES, noisy(floored, 0.003, seed), offset=True) for seed in range(100)]
    assert all(isinstance(fit, PowerLaw) for fit in fits)
    missed = sum(not fit.interval[0] <= 0.35 <= fit.interval[1] for fit in fits)
    assert missed <= stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.parametrize(
    ("sizes", "values", "offset", "said"),
    [
        ([1, 2, 4], [4, 2, 1], False, "3 sizes are too few; 4 are needed"),
        ([1, 2, 4, 8], [4, 2, 1, 0.5], True, "4 sizes are too few; 5 are needed for a fit with an offset"),
        ([1, 2, 4, 8], [1, 3, 1, 3], False, "of the variance of the logarithms; 90 % are needed"),
        ([1, 2, 4, 8], [2, 2, 2, 2], False, "the fit explains 0% of the variance"),
        ([1, 2, 4, 8], [8, 4, 3.5, 1], False, r"interval \[0\.\d+, 1\.\d+\] is wider than the exponent, 0\.\d+"),
        ([1, 2, 4, 8, 16], [1, 1.3, 0.9, 1.2, 1], True, "interval has no end"),
    ],
)
def test_what_a_fit_cannot_say_is_refused_in_words(sizes, values, offset, said):
    found = fit_power_law(sizes, values, offset=offset)
    assert isinstance(found, Refused)
    assert re.search(said, found.reason)


def test_an_exponent_that_is_known_to_be_none_is_an_answer_where_that_is_asked():
    values = [1.0, 1.01, 0.99, 1.0, 1.01]
    sizes = [64, 128, 256, 512, 1024]
    assert isinstance(fit_power_law(sizes, values), Refused)
    assert abs(fit_power_law(sizes, values, tolerance=0.1).exponent) < 0.01


@pytest.mark.parametrize(
    ("sizes", "values"),
    [
        ([1, 2, 2, 4], [1, 1, 1, 1]),
        ([1, 2, 3], [1, 2]),
        ([0, 1, 2, 3], [1] * 4),
        ([1, 2, 3, 4], [1, 1, 1, float("nan")]),
    ],
)
def test_numbers_that_are_no_sizes_or_values_are_refused(sizes, values):
    with pytest.raises(ValueError, match="size"):
        fit_power_law(sizes, values)
