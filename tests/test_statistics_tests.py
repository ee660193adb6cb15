"""Holm, sign flips, equivalence and power: against scipy, against cases worked by hand, and by how often they err."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from nnn_bench.statistics.equivalence import equivalence
from nnn_bench.statistics.multiple import holm
from nnn_bench.statistics.paired import paired_difference
from nnn_bench.statistics.power import correlation, noise_floor, power, seeds_needed
from nnn_bench.statistics.sign_flip import sign_flip


def difference(values):
    """Pairs whose differences are `values`."""
    return paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


def at_most(share, trials):
    """How often something of probability `share` happens in so many trials but for one time in a thousand."""
    return stats.binom.ppf(0.999, trials, share)


def test_holm_of_a_case_worked_by_hand():
    """Sorted .01, .02, .04 times 3, 2, 1 are .03, .04, .04; a later one is never below an earlier one."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.02}, family=3) == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.04})
    assert holm({"a": 0.03, "b": 0.02}, family=2) == pytest.approx({"a": 0.04, "b": 0.04})  # not 0.03
    assert holm({"a": 0.5, "b": 0.6}, family=2) == {"a": 1.0, "b": 1.0}


def test_what_could_not_be_tested_counts_in_the_family():
    assert holm({"a": 0.01, "b": None}, family=3) == {"a": pytest.approx(0.03), "b": None}
    assert holm({}, family=2) == {}


def test_holm_rejects_what_bonferroni_rejects_and_more():
    draw = np.random.default_rng(3)
    for _ in range(50):
        p = {str(i): float(value) for i, value in enumerate(draw.beta(0.3, 3, size=7))}
        adjusted = holm(p, family=7)
        assert all(p[name] <= adjusted[name] <= min(1, 7 * p[name]) for name in p)
        order = sorted(p, key=p.get)
        assert [adjusted[name] for name in order] == sorted(adjusted.values())


@pytest.mark.parametrize("count", [6, 7, 9])
@pytest.mark.parametrize("effect", [0.0, 0.8])
def test_sign_flips_are_scipys_exact_permutation_test(count, effect):
    values = np.random.default_rng(count).normal(effect, 1, size=count)
    reference = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=2**count, vectorized=True
    )
    assert sign_flip(values.tolist()) == pytest.approx(reference.pvalue, abs=1e-12)


def test_sign_flips_worked_by_hand():
    assert sign_flip([1, 2, 3, 4, 5, 6]) == 2 / 64  # only all plus and all minus reach 21
    assert sign_flip([-1, 2, 3, 4, 5, 6]) == 4 / 64  # 19 is reached by these two, and by 21 and -21
    assert sign_flip([0.1] * 6) == 2 / 64  # sums that rounding makes unequal
    assert sign_flip([0.0] * 6) == sign_flip([1, -1, 2, -2, 3, -3]) == 1.0
    assert sign_flip([1, 2, 3, 4, 5]) is None  # 2 / 32 is above 5 %
    assert sign_flip([1.0] * 30) == 2 / 2**30


@pytest.mark.parametrize("count", [2, 3, 8])
def test_equivalence_is_the_larger_of_two_one_sided_t_tests(count):
    values = np.random.default_rng(count).normal(0.005, 0.01, size=count)
    below = stats.ttest_1samp(values, 0.02, alternative="less").pvalue
    above = stats.ttest_1samp(values, -0.02, alternative="greater").pvalue
    assert equivalence(difference(values), 0.02) == pytest.approx(max(below, above), rel=1e-9)


def test_equivalence_needs_a_spread_to_judge_by():
    assert equivalence(difference([]), 0.1) is None
    assert equivalence(difference([0.01]), 0.1) is None
    assert equivalence(difference([0.25, 0.25]), 1.0) is None
    assert equivalence(difference([0.0, 0.0]), 0.1) == 0.0


@pytest.mark.parametrize("count", [3, 8])
def test_a_variant_at_the_margin_is_called_equivalent_in_one_of_twenty(count):
    draws = np.random.default_rng(1).normal(0.03, 0.01, size=(1000, count))
    wrong = sum(equivalence(difference(values), 0.03) < 0.05 for values in draws)
    assert wrong <= at_most(0.05, 1000)
    same = np.random.default_rng(2).normal(0.0, 0.01, size=(200, count))
    assert sum(equivalence(difference(values), 0.03) < 0.05 for values in same) > 100


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_intervals_hold_the_truth_in_nineteen_of_twenty(count):
    draws = np.random.default_rng(count).normal(0.1, 0.02, size=(1000, count))
    ends = [difference(values).interval for values in draws]
    missed = sum(not low <= 0.1 <= high for low, high in ends)
    assert stats.binom.ppf(0.001, 1000, 0.05) <= missed <= at_most(0.05, 1000)


def test_noise_floor_and_correlation():
    base = {0: 1.0, 1: 2.0, 2: 4.0, 3: None}
    ours = {0: 1.5, 1: 1.0, 2: 3.0, 3: 9.0}
    assert noise_floor(list(base.values())) == pytest.approx(2 * np.std([1, 2, 4], ddof=1))
    assert correlation(ours, base) == pytest.approx(stats.pearsonr([1.5, 1, 3], [1, 2, 4]).statistic)
    assert noise_floor([1.0, None]) is None
    assert correlation({0: 1.0, 1: 2.0}, base) is None
    assert correlation({0: 1.0, 1: 1.0, 2: 1.0}, base) is None


def test_power_is_the_noncentral_t():
    """A table value: a paired effect of one standard deviation, ten pairs, two-sided 5 %: 0.803 (Cohen's table gives 80 %)."""
    assert power(1, 1, 10) == pytest.approx(0.803, abs=0.0005)
    reach = stats.t.ppf(0.975, 4)
    expected = stats.nct.sf(reach, 4, 1.5 * 5**0.5) + stats.nct.cdf(-reach, 4, 1.5 * 5**0.5)
    assert power(-3, 2, 5) == pytest.approx(expected, rel=1e-6)


def test_power_at_any_shift_is_a_mean_over_the_spreads_that_may_be_seen():
    """T is (z + shift) / s, s the root of a chi-squared over its degrees: averaged here over 2,000 of its quantiles."""
    quantiles = (np.arange(2000) + 0.5) / 2000
    for seeds, level in itertools.product([2, 3, 7, 8, 13, 27, 301], [0.05, 0.05 / 7]):
        spread = np.sqrt(stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1))
        reach = stats.t.ppf(1 - level / 2, seeds - 1) * spread
        for shift in np.geomspace(0.01, 20_000, 24):
            expected = np.mean(special.ndtr(shift - reach) + special.ndtr(-shift - reach))
            assert power(shift / seeds**0.5, 1.0, seeds, level) == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize(("effect", "level"), [(0.5, 0.05), (1.0, 0.05), (2.0, 0.05), (2.0, 0.05 / 7), (6.0, 0.05)])
def test_seeds_needed_are_the_fewest_that_do(effect, level):
    needed = seeds_needed(-effect, 1.0, level)
    assert power(effect, 1.0, needed, level) >= 0.8
    assert needed == 2 or power(effect, 1.0, needed - 1, level) < 0.8
    draws = np.random.default_rng(7).normal(effect, 1, size=(4000, needed))
    found = np.count_nonzero(stats.ttest_1samp(draws, 0, axis=1).pvalue < level)
    assert found >= stats.binom.ppf(0.001, 4000, 0.8)


def test_no_number_of_seeds_where_there_is_nothing_to_find():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(None, 1.0) is None
    assert seeds_needed(1.0, 0.0) is None
    assert seeds_needed(0.001, 1.0) is None
