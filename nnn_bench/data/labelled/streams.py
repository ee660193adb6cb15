"""Task streams for continual learning: the examples of one data set, met task after task.

A *split* stream gives each task classes of its own, a *permuted* stream all classes and a shuffle of values of its own. What a
learner is told is the *scenario* (van de Ven and Tolias, 2019, "Three scenarios for continual learning"):

| scenario | is told the task | answers with | labels | chance, five tasks of two |
| --- | --- | --- | --- | --- |
| `task` | yes | one output for each class of the stream; only the task's own may be given | class | 1/2 |
| `domain` | no | one output for each place within a task, shared by all tasks | place of the class in its task | 1/2 |
| `class` | no | one output for each class of the stream, all of them open | class | 1/10 |

In a permuted stream all tasks have the same classes, so the three are one. Streams hold rows and orders, not copies: values are
picked when a part is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from nnn_bench.config.errors import UserError
from nnn_bench.data.labelled.examples import Examples, Part
from nnn_bench.data.splits import SplitName

Scenario = Literal["task", "domain", "class"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


@dataclass(frozen=True)
class Task:
    """One task: its classes in the order of their places, and `order`, where each value `(values,)` comes from, if shuffled."""

    examples: Examples
    classes: tuple[int, ...]
    order: torch.Tensor | None = None

    def part(self, name: SplitName) -> Part:
        """The task's examples in the order of publication, labels as classes of the data set."""
        whole = self.examples.part(name)
        if len(self.classes) < self.examples.classes:
            rows = torch.isin(whole.labels, torch.tensor(self.classes)).nonzero().squeeze(1)
            whole = Part(whole.values[rows], whole.labels[rows])
        if self.order is None:
            return whole
        return Part(whole.values.flatten(1)[:, self.order].reshape(whole.values.shape), whole.labels)


@dataclass(frozen=True)
class View:
    """A part of a task as a scenario shows it.

    `labels` `(N,)` index the outputs of the net; `allowed` `(outputs,)` is true for those that may be answered here.
    """

    values: torch.Tensor
    labels: torch.Tensor
    allowed: torch.Tensor


@dataclass(frozen=True)
class Stream:
    """Tasks in the order in which they are met."""

    tasks: tuple[Task, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """All classes, in the order in which they are first met: the outputs of the scenarios `task` and `class`."""
        return tuple(dict.fromkeys(one for task in self.tasks for one in task.classes))

    def outputs(self, scenario: Scenario) -> int:
        """How many outputs a net needs. Raises `UserError` for `domain` where tasks differ in how many classes they have."""
        if scenario != "domain":
            return len(self.classes)
        sizes = {len(task.classes) for task in self.tasks}
        if len(sizes) > 1:
            raise UserError(
                f"tasks of {min(sizes)} and of {max(sizes)} classes share no outputs; make them alike", key="tasks"
            )
        return sizes.pop()

    def view(self, number: int, part: SplitName, scenario: Scenario) -> View:
        """Part `part` of task `number`, from 0, under `scenario`."""
        task, outputs = self.tasks[number], self.outputs(scenario)
        found = task.part(part)
        place = {one: index for index, one in enumerate(task.classes if scenario == "domain" else self.classes)}
        to_place = torch.zeros(task.examples.classes, dtype=torch.int64)
        to_place[list(place)] = torch.tensor(list(place.values()))
        allowed = torch.ones(outputs, dtype=torch.bool)
        if scenario == "task":
            allowed[:] = False
            allowed[[place[one] for one in task.classes]] = True
        return View(found.values, to_place[found.labels], allowed)


def split_stream(examples: Examples, tasks: Sequence[Sequence[int]] = PAIRS) -> Stream:
    """One task for each group of classes. Raises `UserError` for a group of less than two, a class absent or named twice."""
    if not tasks:
        raise UserError("a stream needs a task", key="tasks")
    named: set[int] = set()
    for group in tasks:
        if len(group) < 2:
            raise UserError(f"task {list(group)} has nothing to tell apart; give it two classes or more", key="tasks")
        for one in group:
            if one in named:
                raise UserError(f"class {one} is named twice; a class belongs to one task", key="tasks")
            if not 0 <= one < examples.classes:
                raise UserError(f"there is no class {one}; there are 0 to {examples.classes - 1}", key="tasks")
            named.add(one)
    return Stream(tuple(Task(examples, tuple(group)) for group in tasks))


def permuted_stream(examples: Examples, tasks: int, seed: int) -> Stream:
    """`tasks` tasks over all classes: the first with its values in place, each other with a shuffle drawn from `seed`.

    A longer stream of one seed begins with the shorter one. Raises `UserError` for less than one task.
    """
    if tasks < 1:
        raise UserError(f"a stream of {tasks} tasks is none; give 1 or more", key="tasks")
    size = examples.train.values[0].numel()
    generator = torch.Generator().manual_seed(seed)
    orders = [None, *(torch.randperm(size, generator=generator) for _ in range(tasks - 1))]
    return Stream(tuple(Task(examples, tuple(range(examples.classes)), order) for order in orders))
