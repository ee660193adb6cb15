"""Piecewise polynomials of one number: where a number lies, and what each node weighs there.

The domain [-1, 1] is cut into S equal segments, each with n nodes X_j = -cos(pi j / (n - 1)) (Chebyshev-Lobatto; a single node
lies at 0). For a number x:

k = clamp(trunc((x + 1) / 2 S), 0, S - 1)          its segment
t = S x - (2 k + 1 - S)                            its place there: in [-1, 1] inside the domain, beyond it outside
l_j(t) = prod_{m != j} (t - X_m) / (X_j - X_m)     the Lagrange basis, so that a weight is the function's value at its node

`continuous`: neighbours share the node between them, V = (n - 1) S + 1 weights, segment k begins at weight k (n - 1).
`discontinuous`: V = n S weights, segment k begins at weight k n.
A gradient reaches x through l_j'(t) S and none through k. Outside the domain the end segments extrapolate.
Source: high-order-layers-torch (its layers; Loverich 2022). The same numbers, rounded with more care: the nodes are exactly
symmetric, so that the middle one of an odd number is 0, and t is not made from x + 1, which forgets the last bits of x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Form = Literal["continuous", "discontinuous"]


@dataclass(frozen=True)
class Pieces:
    """`nodes` per segment (degree nodes - 1) on each of `segments`."""

    form: Form
    nodes: int
    segments: int

    @property
    def weights(self) -> int:
        """V, the weights of one function."""
        if self.form == "continuous":
            return (self.nodes - 1) * self.segments + 1
        return self.nodes * self.segments

    @property
    def stride(self) -> int:
        """Weights from the first of one segment to the first of the next."""
        return self.nodes - 1 if self.form == "continuous" else self.nodes

    @property
    def segment_nodes(self) -> tuple[float, ...]:
        """X_j of one segment, in its own coordinate."""
        n = self.nodes
        return (0.0,) if n == 1 else tuple(math.sin(math.pi * (2 * j + 1 - n) / (2 * n - 2)) for j in range(n))

    @property
    def scales(self) -> list[float]:
        """prod_{m != j} 1 / (X_j - X_m), by which the product of all (t - X_m) becomes l_j(t)."""
        X = self.segment_nodes
        return [math.prod(1 / (here - node) for m, node in enumerate(X) if m != j) for j, here in enumerate(X)]

    @property
    def operations(self) -> int:
        """To locate a number, and to weigh its n nodes: n differences, and n products of n - 1 factors, scaled."""
        return 6 + self.nodes + self.nodes * max(0, 2 * self.nodes - 3)

    def node_places(self) -> Tensor:
        """Where each weight's node lies in [-1, 1], `(V,)`, float64."""
        local = torch.tensor(self.segment_nodes, dtype=torch.float64)
        places = torch.empty(self.weights, dtype=torch.float64)
        for k in range(self.segments):
            places[k * self.stride : k * self.stride + self.nodes] = (local + 2 * k + 1) / self.segments - 1
        return places

    def located(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the first weight, and the place t in the segment, of every number in `x`: both of its shape."""
        S = self.segments
        # clamped once more as whole numbers: what is not a number must not become an index either
        k = ((x.detach() + 1) * (0.5 * S)).clamp_(0, S - 1).to(torch.int64).clamp_(0, S - 1)
        return k * self.stride, S * x - (2 * k + (1 - S))

    def basis(self, t: Tensor) -> Tensor:
        """l_j(t), `(..., n)`."""
        return torch.stack([self._product(t, leaving=(j,)) * scale for j, scale in enumerate(self.scales)], dim=-1)

    def slopes(self, t: Tensor) -> Tensor:
        """dl_j / dx = S l_j'(t), `(..., n)`."""
        found = []
        for j, scale in enumerate(self.scales):
            slope = torch.zeros_like(t)
            for m in range(self.nodes):
                if m != j:
                    slope = slope + self._product(t, leaving=(j, m))
            found.append(slope * (self.segments * scale))
        return torch.stack(found, dim=-1)

    def _product(self, t: Tensor, leaving: tuple[int, ...]) -> Tensor:
        """prod_m (t - X_m) over all nodes but those `leaving`."""
        factors = [t - node for m, node in enumerate(self.segment_nodes) if m not in leaving]
        product = factors[0] if factors else torch.ones_like(t)
        for factor in factors[1:]:
            product = product * factor
        return product

    def known(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """First weight `(K,)` and basis `(K, n)` of numbers that nothing has changed since they were chosen.

        A number as near to the middle of its segment as rounding can tell lies in the middle. There, an odd n has a node, and its
        neighbours must hear nothing: an optimizer that looks at signs alone would take a full step for the rounding.
        """
        first, t = self.located(numbers)
        rounding = 2 * self.segments * torch.finfo(numbers.dtype).eps
        return first, self.basis(torch.where(t.abs() <= rounding, 0.0, t))


def mirrored(x: Tensor) -> Tensor:
    """`x` folded into [-1, 1] like light between two mirrors: a triangle wave of period 4."""
    r = torch.remainder(x + 1, 4)
    return torch.where(r > 2, 4 - r, r) - 1
