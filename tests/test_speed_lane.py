"""The speed lane on clocks of our own: the order of blocks, what makes a ratio, and how sure it is."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
from scipy import stats

from nnn_bench.config.schema import Measurement
from nnn_bench.speed.lane import (
    Block,
    Group,
    Phase,
    collector_at_rest,
    group_ratios,
    median_interval,
    quartiles,
    race,
    steps_per_block,
)
from nnn_bench.speed.measurement import training_times


class Clock:
    """Stands still but for what steps cost."""

    def __init__(self, noise=lambda: 1.0):
        self.now, self.noise = 0.0, noise

    def __call__(self):
        return self.now

    def phase(self, cost, share=1.0):
        return Phase(share, lambda: self.spend(cost))

    def spend(self, cost):
        self.now += cost * self.noise()


def nothing():
    """A device that is never behind."""


def test_groups_are_a_b_b_a_and_each_block_lies_between_two_synchronisations():
    said = []
    variant, baseline = (Phase(1.0, lambda name=name: said.append(name)) for name in "BA")
    race([variant], [baseline], ([3], [2]), 2, lambda: 0.0, lambda: said.append("|"))
    assert "".join(said) == "|AA||BBB||BBB||AA|" * 2


def test_a_contender_that_takes_three_times_as_long_has_the_ratio_three():
    clock = Clock()
    told = training_times([clock.phase(0.03)], [clock.phase(0.01)], Measurement(groups=7), nothing, nothing, clock)
    assert told["ratio"]["median"] == pytest.approx(3) and told["ratio"]["interval"] == pytest.approx([3, 3])
    assert told["step_seconds"] == pytest.approx(0.03) and told["baseline_step_seconds"] == pytest.approx(0.01)
    assert [block["steps"] for block in told["blocks"]] == [{"variant": 3, "baseline": 10}] * 7
    assert told["blocks"][0]["seconds"]["variant"] == pytest.approx([0.09, 0.09])


def test_a_machine_that_slows_down_at_a_steady_rate_favours_neither():
    cost = iter(1 + 0.1 * i for i in range(4 * 6))  # of each block, whoever it belongs to
    clock = Clock(lambda: next(cost))
    groups = race([clock.phase(2.0)], [clock.phase(1.0)], ([1], [1]), 6, clock, nothing)
    assert group_ratios(groups, [1.0], [1.0]) == pytest.approx([2.0] * 6)


def test_a_block_of_a_growing_network_weighs_its_stages_by_the_schedule():
    block = Block(seconds=(0.2, 0.9), steps=(2, 3))
    assert block.step_seconds([0.25, 0.75]) == pytest.approx(0.25 * 0.1 + 0.75 * 0.3)
    plain = Block((0.5,), (5,))
    assert group_ratios([Group((plain, plain), (block, block))], [0.25, 0.75], [1.0]) == pytest.approx([2.5])


def test_stages_are_told_apart_and_raw_times_kept():
    clock = Clock()
    variant = [clock.phase(0.01, 0.5), clock.phase(0.03, 0.5)]
    told = training_times(variant, [clock.phase(0.01)], Measurement(groups=3), nothing, nothing, clock)
    assert told["step_seconds"] == pytest.approx(0.02) and told["ratio"]["median"] == pytest.approx(2)
    assert [stage["step_seconds"] for stage in told["stages"]] == pytest.approx([0.01, 0.03])
    raw = told["blocks"][0]["stages"]["variant"][0]
    assert [stage["steps"] for stage in raw] == [5, 2]
    assert [stage["seconds"] for stage in raw] == pytest.approx([0.05, 0.06])


def test_networks_are_taken_back_after_the_calibration_and_before_the_first_timed_step():
    clock, said = Clock(), []

    def step():
        said.append("step")
        clock.spend(0.05)

    training_times(
        [Phase(1.0, step)], [Phase(1.0, step)], Measurement(groups=1), nothing, lambda: said.append("back"), clock
    )
    assert said.count("back") == 1 and said[said.index("back") + 1 :] == ["step"] * 8


@pytest.mark.parametrize(("cost", "seconds", "steps"), [(0.01, 0.1, 10), (0.001, 0.1, 100), (5.0, 0.1, 1)])
def test_a_block_has_as_many_steps_as_fill_its_time_and_at_least_one(cost, seconds, steps):
    clock = Clock()
    assert steps_per_block([clock.phase(cost)], seconds, clock, nothing) == [steps]


def test_other_work_during_the_calibration_makes_no_block_shorter():
    draw = iter([9.0, 1.0, 1.0])
    clock = Clock(lambda: next(draw))
    assert steps_per_block([clock.phase(0.02)], 0.1, clock, nothing) == [5]


@pytest.mark.parametrize("count", [6, 8, 12, 25])
def test_the_interval_of_the_median_is_scipys(count):
    values = np.random.default_rng(count).lognormal(size=count)
    found = median_interval(list(values))
    reference = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert (found.low, found.high) == (reference.low, reference.high)
    assert found.value == np.median(values)


def test_coverage_is_the_one_the_interval_really_has():
    assert median_interval(list(range(12))).coverage == pytest.approx(1 - 2 * (1 + 12 + 66) / 2**12)
    few = median_interval([3.0, 1.0, 2.0])
    assert (few.low, few.high, few.coverage) == (1.0, 3.0, 0.75)
    assert median_interval([1.0]).coverage == 0.0


def test_intervals_of_a_noisy_machine_hold_the_true_ratio_as_often_as_they_say():
    draw = random.Random(0)
    # bursts of other work: one block in five takes half as long again
    clock = Clock(lambda: draw.lognormvariate(0, 0.05) * (1.5 if draw.random() < 0.2 else 1.0))
    groups = race([clock.phase(2.0)], [clock.phase(1.0)], ([1], [1]), 12 * 400, clock, nothing)
    ratios = group_ratios(groups, [1.0], [1.0])
    found = [median_interval(ratios[first : first + 12]) for first in range(0, len(ratios), 12)]
    held = sum(one.low <= 2.0 <= one.high for one in found) / len(found)
    assert 0.93 <= held <= 0.99  # 0.961, give or take three standard errors


def test_quartiles_of_one_block_are_that_block():
    assert quartiles([2.0]) == (2.0, 2.0)
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 4.0)


def test_no_garbage_is_collected_while_blocks_are_timed():
    with collector_at_rest():
        assert not gc.isenabled() and gc.get_freeze_count() > 0
    assert gc.isenabled() and gc.get_freeze_count() == 0
