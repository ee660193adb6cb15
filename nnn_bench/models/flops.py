"""Floating-point operations, declared by each part of a model.

`matrix` counts matrix products and convolutions, 2 per multiply-add, and equals what torch's `FlopCounterMode` sees under the
math attention kernel. `other` counts what that counter cannot see (scans, softmax, norms, activations): one per arithmetic
operation or elementary function and element.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flops:
    matrix: int = 0
    other: int = 0

    def __add__(self, more: Flops) -> Flops:
        return Flops(self.matrix + more.matrix, self.other + more.other)

    def __sub__(self, less: Flops) -> Flops:
        return Flops(self.matrix - less.matrix, self.other - less.other)

    def __mul__(self, times: int) -> Flops:
        return Flops(self.matrix * times, self.other * times)

    @property
    def total(self) -> int:
        return self.matrix + self.other


def linear(inputs: int, outputs: int) -> Flops:
    """One matrix-vector product."""
    return Flops(matrix=2 * inputs * outputs)


def elementwise(elements: int, operations: int = 1) -> Flops:
    return Flops(other=elements * operations)
