"""Task streams: which examples a task holds, and what each scenario shows of them."""

from __future__ import annotations

import pytest
import torch

from nnn_bench.config.errors import UserError
from nnn_bench.data.labelled.examples import Examples, Part
from nnn_bench.data.labelled.streams import PAIRS, SCENARIOS, permuted_stream, split_stream


def part(labels: list[int], first: int = 0) -> Part:
    """Example number n holds 10 n to 10 n + 3, as 2 x 2."""
    values = torch.arange(first, first + len(labels)).reshape(-1, 1, 1) * 10 + torch.arange(4).reshape(2, 2)
    return Part(values.float(), torch.tensor(labels))


@pytest.fixture
def examples() -> Examples:
    """Classes 0 to 3."""
    return Examples(part([2, 0, 1, 3, 0]), part([3, 1, 2, 0], 100), part([0, 1, 2, 3], 200), 4, 0.0, 1.0)


def numbers(values: torch.Tensor) -> list[int]:
    return (values[:, 0, 0] / 10).int().tolist()


# parts of task 1 of ((0, 1), (3, 2)) by hand: labels, allowed outputs
SEEN = {
    "task": ([3, 2], [False, False, True, True]),
    "domain": ([1, 0], [True, True]),
    "class": ([3, 2], [True, True, True, True]),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios_by_hand(examples, scenario):
    stream = split_stream(examples, ((0, 1), (3, 2)))
    view = stream.view(1, "train", scenario)
    assert numbers(view.values) == [0, 3]  # classes 2 and 3, in the order of publication
    labels, allowed = SEEN[scenario]
    assert view.allowed.tolist() == allowed and view.allowed.dtype == torch.bool
    assert stream.outputs(scenario) == len(allowed)
    # outputs stand in the order in which classes are met: 0, 1, 3, 2
    assert view.labels.tolist() == labels
    assert stream.classes == (0, 1, 3, 2)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_tasks_share_no_example_and_lose_none(examples, name):
    stream = split_stream(examples, ((0, 1), (2, 3)))
    met = [numbers(stream.view(number, name, "class").values) for number in range(2)]
    assert sorted(met[0] + met[1]) == numbers(examples.part(name).values)
    for number, classes in enumerate(((0, 1), (2, 3))):
        found = stream.tasks[number].part(name)
        assert set(found.labels.tolist()) == set(classes)
        assert torch.equal(stream.view(number, name, "class").labels, found.labels)  # here an output is its class


def test_allowed_answers_always_hold_the_right_one(examples):
    for stream in (split_stream(examples, ((2, 0), (1, 3))), permuted_stream(examples, 2, 0)):
        for scenario in SCENARIOS:
            for number in range(len(stream.tasks)):
                view = stream.view(number, "test", scenario)
                assert view.allowed[view.labels].all() and len(view.labels) == len(view.values)


def test_a_stream_may_leave_classes_out(examples):
    stream = split_stream(examples, ((3, 1),))
    view = stream.view(0, "validation", "class")
    assert numbers(view.values) == [100, 101] and view.labels.tolist() == [0, 1] and stream.outputs("class") == 2


def test_tasks_of_several_sizes_have_no_shared_outputs(examples):
    wider = Examples(part([0, 1, 2, 3, 4]), part([0, 1, 2, 3, 4]), part([0, 1, 2, 3, 4]), 5, 0.0, 1.0)
    stream = split_stream(wider, ((0, 1, 2), (3, 4)))
    assert stream.view(1, "train", "task").allowed.tolist() == [False, False, False, True, True]
    with pytest.raises(UserError, match="tasks of 2 and of 3 classes share no outputs"):
        stream.view(0, "train", "domain")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ((), "a stream needs a task"),
        (((0,), (1, 2)), r"task \[0\] has nothing to tell apart"),
        (((0, 1), (1, 2)), "class 1 is named twice"),
        (((0, 0),), "class 0 is named twice"),
        (((0, 4),), "there is no class 4; there are 0 to 3"),
        (((-1, 0),), "there is no class -1"),
        (PAIRS, "there is no class 4"),
    ],
)
def test_tasks_that_make_no_stream(examples, tasks, message):
    with pytest.raises(UserError, match=f"^tasks: {message}"):
        split_stream(examples, tasks)


def test_permuted_tasks_hold_the_same_values_elsewhere(examples):
    stream = permuted_stream(examples, 4, seed=3)
    first = stream.view(0, "train", "domain")
    assert torch.equal(first.values, examples.train.values) and first.labels.tolist() == [2, 0, 1, 3, 0]
    orders = set()
    for number in range(4):
        view = stream.view(number, "train", "domain")
        assert view.values.shape == (5, 2, 2) and view.allowed.tolist() == [True] * 4
        assert torch.equal(view.values.flatten(1).sort(1).values, examples.train.values.flatten(1))
        order = view.values.flatten(1) - 10 * torch.arange(5).unsqueeze(1)  # where each value came from
        assert (order == order[0]).all()  # one shuffle for all examples of a task ...
        test = stream.view(number, "test", "task").values.flatten(1)[0] - 2000
        assert torch.equal(test, order[0])  # ... and for all its parts
        orders.add(tuple(order[0].tolist()))
    assert len(orders) > 1


def test_permutations_come_from_the_seed(examples):
    def orders(tasks: int, seed: int) -> list[list[int]]:
        return [task.order.tolist() for task in permuted_stream(examples, tasks, seed).tasks if task.order is not None]

    assert orders(5, 3) == orders(5, 3)
    assert orders(3, 3) == orders(5, 3)[:2]
    assert orders(5, 3) != orders(5, 4)
    with pytest.raises(UserError, match="0 tasks"):
        permuted_stream(examples, 0, 0)
