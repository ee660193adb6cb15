"""Features as the points of a grid: n_1 x .. x n_D inputs, m_1 x .. x m_D outputs, and at most one axis whose length changes.

Of all ways to lay a map out on D axes, the most balanced one is taken: the least sum of lengths, inputs and outputs together,
which for a given number of features is also about the least work. The axis that changes stands last where the map widens and
first where it narrows, so that axes that are mixed one after the other meet the smaller grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Grid:
    """Lengths of the axes before and after a map."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def axes(self) -> int:
        return len(self.inputs)

    @property
    def resized(self) -> int:
        """The axis whose length changes; the last, where none does."""
        changed = [axis for axis in range(self.axes) if self.inputs[axis] != self.outputs[axis]]
        return changed[0] if changed else self.axes - 1

    def before(self, axis: int) -> int:
        """Points of the axes before `axis`, in their lengths after the map."""
        return math.prod(self.outputs[:axis])

    def after(self, axis: int) -> int:
        """Points of the axes behind `axis`, in their lengths before the map."""
        return math.prod(self.inputs[axis + 1 :])


@cache
def factorings(number: int, factors: int, least: int = 2) -> tuple[tuple[int, ...], ...]:
    """All ways to write `number` as a product of so many `factors`, none below `least`, in rising order."""
    if factors == 0:
        return ((),) if number == 1 else ()
    if factors == 1:
        return ((number,),) if number >= least else ()
    return tuple(
        (first, *rest)
        for first in range(least, math.isqrt(number) + 1)
        if number % first == 0
        for rest in factorings(number // first, factors - 1, first)
    )


@cache
def balanced(inputs: int, outputs: int, axes: int, even: bool = False) -> Grid | None:
    """The most balanced grid of `axes` axes of at least two points, or None where there is none.

    `even` asks for an even length, before and after, of the axis that `Grid.resized` names.
    """
    common = math.gcd(inputs, outputs)
    found = []
    for kept in (divisor for divisor in range(1, common + 1) if common % divisor == 0):
        old, new = inputs // kept, outputs // kept
        if min(old, new) < 2 or (even and (old % 2 or new % 2)):
            continue
        found += [(2 * sum(others) + old + new, others, old, new) for others in factorings(kept, axes - 1)]
    if not found:
        return None
    _, others, old, new = min(found)
    if new < old:
        return Grid((old, *others), (new, *others))
    return Grid((*others, old), (*others, new))


def given(inputs: int, outputs: int, sizes: Sequence[int | None]) -> Grid | None:
    """The grid whose axes have these lengths before the map, one of which may be open; None where that cannot be.

    An open axis takes what the others leave, before and after. Without one, the axis that can be resized is looked for from the
    end that `balanced` would choose.
    """
    known = math.prod(size for size in sizes if size is not None)
    if None in sizes:
        if inputs % known or outputs % known or min(inputs, outputs) < 2 * known:
            return None
        return Grid(*(tuple(size or features // known for size in sizes) for features in (inputs, outputs)))
    full = [size for size in sizes if size is not None]
    if known != inputs:
        return None
    candidates = range(len(full)) if outputs < inputs else reversed(range(len(full)))
    for axis in candidates:
        length, rest = divmod(outputs, known // full[axis])
        if not rest and length >= 2:
            return Grid(tuple(full), (*full[:axis], length, *full[axis + 1 :]))
    return None
