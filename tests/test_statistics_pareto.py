"""The Pareto frontier and the probability of standing on it, on cases worked by hand."""

import itertools

import pytest

from nnn_bench.statistics.pareto import membership


def test_the_cheapest_stays_and_the_dearer_must_be_better():
    """B beats A where the mean of three draws from -0.1, 0.04, 0.3 is below 0: in 1 + 3 + 3 of 27 draws."""
    values = {"A": [1.0, 1.0, 1.0], "B": [0.9, 1.04, 1.3]}
    found = membership(values, {"A": 1.0, "B": 2.0}, draws=20000)
    assert (found["A"].on_frontier, found["A"].probability) == (True, 1.0)
    assert not found["B"].on_frontier
    assert found["B"].probability == pytest.approx(7 / 27, abs=4 * (0.26 * 0.74 / 20000) ** 0.5)


def test_seeds_are_drawn_together():
    """B is better at every seed, though seeds spread far wider than that: paired, it is always better."""
    values = {"A": [1.0, 2.0, 3.0], "B": [0.9, 1.9, 2.9]}
    assert membership(values, {"A": 1.0, "B": 2.0})["B"].probability == 1.0


def test_all_draws_of_three_networks_against_listing_them():
    values = {"A": [2.0, 2.2, 2.1, 2.05], "B": [1.9, 2.3, 2.0, 2.15], "C": [2.02, 1.98, 2.2, 1.9]}
    costs = {"A": 1.0, "B": 2.0, "C": 3.0}
    count = dict.fromkeys(values, 0)
    draws = list(itertools.product(range(4), repeat=4))
    for draw in draws:
        means = {name: round(sum(losses[i] for i in draw) / 4, 12) for name, losses in values.items()}
        for one in values:
            cheaper = [other for other in values if costs[other] < costs[one]]
            count[one] += all(means[other] > means[one] for other in cheaper)
    found = membership(values, costs, draws=20000)
    for name, times in count.items():
        assert found[name].probability == pytest.approx(times / len(draws), abs=0.015)


def test_equal_networks_share_their_place():
    losses = [1.1, 1.2, 1.3]
    equal = membership({"A": losses, "B": losses}, {"A": 1.0, "B": 1.0})
    assert [(one.on_frontier, one.probability) for one in equal.values()] == [(True, 1.0), (True, 1.0)]
    dearer = membership({"A": losses, "B": losses}, {"A": 1.0, "B": 2.0})
    assert (dearer["B"].on_frontier, dearer["B"].probability) == (False, 0.0)


def test_the_same_question_gets_the_same_answer():
    values = {"A": [1.0, 1.2], "B": [0.9, 1.25], "C": [1.1, 1.0]}
    costs = {"A": 1.0, "B": 2.0, "C": 1.5}
    assert membership(values, costs) == membership(values, costs)
    assert membership({"A": [1.0]}, {"A": 3.0})["A"].probability == 1.0
    assert membership({}, {}) == {}


@pytest.mark.parametrize(
    ("values", "costs", "said"),
    [
        ({"A": [1.0]}, {"B": 1.0}, "different networks"),
        ({"A": [1.0], "B": [1.0, 2.0]}, {"A": 1.0, "B": 1.0}, "same seeds"),
        ({"A": []}, {"A": 1.0}, "same seeds"),
        ({"A": [float("nan")]}, {"A": 1.0}, "must be numbers"),
        ({"A": [1.0]}, {"A": float("inf")}, "must be numbers"),
    ],
)
def test_what_does_not_fit_is_refused(values, costs, said):
    with pytest.raises(ValueError, match=said):
        membership(values, costs)
