"""Means, intervals and paired differences against scipy and against cases worked by hand."""

import math
import random

import pytest
from scipy import stats

from nnn_bench.statistics.paired import estimate, paired_difference, t_quantile


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_the_interval_is_the_one_scipy_gives(count: int) -> None:
    draw = random.Random(count)
    values = [draw.gauss(2.4, 0.05) for _ in range(count)]
    found = estimate(values)
    low, high = stats.t.interval(0.95, count - 1, loc=found.mean, scale=stats.sem(values))
    assert found.interval == pytest.approx((low, high), rel=1e-12)
    assert found.standard_deviation == pytest.approx(stats.tstd(values), rel=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 100])
def test_the_quantile_is_the_one_scipy_gives(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-12)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_paired_difference_is_the_paired_t_test(count: int) -> None:
    draw = random.Random(100 + count)
    ours = {seed: draw.gauss(2.5, 0.1) for seed in range(count)}
    base = {seed: draw.gauss(2.4, 0.1) for seed in range(count)}
    found = paired_difference(ours, base)
    reference = stats.ttest_rel(list(ours.values()), list(base.values()))
    assert found.p == pytest.approx(reference.pvalue, rel=1e-10)
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-10)


def test_pairing_takes_out_what_the_seed_gives_both() -> None:
    """Seeds that move both variants alike must not widen the interval of the difference. Worked by hand."""
    base = {0: 2.0, 1: 3.0, 2: 4.0}
    ours = {0: 2.1, 1: 3.2, 2: 4.3}
    found = paired_difference(ours, base)
    assert found.mean == pytest.approx(0.2)
    half = 4.302652729911275 * 0.1 / math.sqrt(3)  # t(0.975, 2) x sd / sqrt(n)
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half))


def test_one_seed_has_a_mean_and_nothing_more() -> None:
    found = estimate([2.5])
    assert (found.mean, found.standard_deviation, found.interval, found.count) == (2.5, None, None, 1)
    pair = paired_difference({0: 2.5}, {0: 2.0})
    assert (pair.mean, pair.interval, pair.p) == (0.5, None, None)


def test_a_diverged_seed_takes_its_pair_with_it_and_is_counted() -> None:
    found = estimate([2.0, None, 4.0])
    assert (found.mean, found.count, found.missing) == (3.0, 2, 1)
    pair = paired_difference({0: 2.5, 1: None, 2: 2.75}, {0: 2.0, 1: 2.0, 2: None})
    assert (pair.seeds, pair.values, pair.missing) == ((0,), (0.5,), 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_counts_as_missing(bad: float | None) -> None:
    assert estimate([bad, 1.0]).missing == 1
    assert paired_difference({0: bad}, {0: 1.0}).missing == 1


def test_nothing_left_says_nothing() -> None:
    found = paired_difference({0: None, 1: None}, {0: 1.0, 1: 1.0})
    assert (found.values, found.mean, found.interval, found.p, found.missing) == ((), None, None, None, 2)


def test_no_spread_is_no_evidence_of_a_difference() -> None:
    assert paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1.0
    assert paired_difference({0: 1.5, 1: 2.5}, {0: 1.0, 1: 2.0}).p is None
