"""Learning rates over a run, against hand-worked values."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from nnn_bench.config.recipe import Schedule
from nnn_bench.training.schedule import rate_share


def shares(steps=100, **settings):
    return [rate_share(Schedule(**settings), step, steps) for step in range(steps)]


def test_warm_up_is_a_straight_line_to_the_peak():
    assert shares(warmup=0.1)[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_cosine_passes_its_middle_and_ends_at_the_floor():
    found = shares(warmup=0.1, floor=0.2)
    assert found[54] == pytest.approx(0.2 + 0.8 * 0.5)  # half of the 90 steps after the warm-up
    assert found[-1] == pytest.approx(0.2)
    assert found[32] == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 23 / 90)))
    assert all(a >= b for a, b in pairwise(found[9:]))


def test_stable_decay_holds_the_peak_and_then_falls_in_a_line():
    found = shares(name="stable_decay", warmup=0.1, decay=0.2, floor=0.0)
    assert found[9:80] == [1.0] * 71
    assert found[80:] == pytest.approx([1 - (step + 1) / 20 for step in range(20)])


@pytest.mark.parametrize("name", ["cosine", "stable_decay"])
def test_a_run_of_one_step_works(name):
    assert rate_share(Schedule(name=name), 0, 1) == 1.0
