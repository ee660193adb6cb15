"""Floating-point operations, declared by each part of a model.

`matrix` counts matrix products and convolutions, 2 per multiply-add, and equals what torch's `FlopCounterMode` sees under the
math attention kernel. `other` counts what that counter cannot see (scans, softmax, norms, activations): one per arithmetic
operation or elementary function and element. `skipped` is the part of the matrix products of a backward pass, usually twice
the forward ones, that is not done here: weights that are frozen, inputs that are hidden from the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flops:
    matrix: int = 0
    other: int = 0
    skipped: int = 0

    def __add__(self, more: Flops) -> Flops:
        return Flops(self.matrix + more.matrix, self.other + more.other, self.skipped + more.skipped)

    def __mul__(self, times: int) -> Flops:
        return Flops(self.matrix * times, self.other * times, self.skipped * times)

    def __floordiv__(self, parts: int) -> Flops:
        return Flops(self.matrix // parts, self.other // parts, self.skipped // parts)

    @property
    def total(self) -> int:
        return self.matrix + self.other

    @property
    def with_backward(self) -> Flops:
        """A forward pass and the backward pass that follows it."""
        return Flops(3 * self.matrix - self.skipped, 3 * self.other)


def linear(inputs: int, outputs: int) -> Flops:
    """One matrix-vector product."""
    return Flops(matrix=2 * inputs * outputs)


def elementwise(elements: int, operations: int = 1) -> Flops:
    return Flops(other=elements * operations)


def one_sided(forward: Flops) -> Flops:
    """A product of which only one factor gets a gradient: half of its backward pass is not done."""
    return Flops(forward.matrix, forward.other, forward.skipped + forward.matrix)
