"""Piecewise polynomials of one number: where a number lies, and what each node weighs there.

The domain [-1, 1] is cut into S equal segments, each with n nodes X_j = -cos(pi j / (n - 1)) (Chebyshev-Lobatto; a single node
lies at 0). For a number x:

k = clamp(trunc((x + 1) / 2 S), 0, S - 1)          its segment
t = S (x + 1) - 2 k - 1                            its place there: in [-1, 1] inside the domain, beyond it outside
l_j(t) = prod_{m != j} (t - X_m) / (X_j - X_m)     the Lagrange basis, so that a weight is the function's value at its node

`continuous`: neighbours share the node between them, V = (n - 1) S + 1 weights, segment k begins at weight k (n - 1).
`discontinuous`: V = n S weights, segment k begins at weight k n.
A gradient reaches x through l_j'(t) S and none through k. Outside the domain the end segments extrapolate.
Source: high-order-layers-torch (its layers; Loverich 2022).
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
        return (0.0,) if n == 1 else tuple(-math.cos(math.pi * j / (n - 1)) for j in range(n))

    def node_places(self) -> Tensor:
        """Where each weight's node lies in [-1, 1], `(V,)`, float64."""
        local = torch.tensor(self.segment_nodes, dtype=torch.float64)
        places = torch.empty(self.weights, dtype=torch.float64)
        for k in range(self.segments):
            places[k * self.stride : k * self.stride + self.nodes] = (local + 2 * k + 1) / self.segments - 1
        return places

    def located(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the first weight, and the place t in the segment, of every number in `x`: both of its shape."""
        k = ((x.detach() + 1) * (0.5 * self.segments)).to(torch.int64).clamp_(0, self.segments - 1)
        return k * self.stride, self.segments * (x + 1) - (2 * k + 1)

    def basis(self, t: Tensor) -> Tensor:
        """l_j(t), `(..., n)`."""
        X = self.segment_nodes
        factors = [t - node for node in X]
        values = []
        for j in range(self.nodes):
            value = torch.ones_like(t)
            for m in range(self.nodes):
                if m != j:
                    value = value * factors[m] * (1 / (X[j] - X[m]))
            values.append(value)
        return torch.stack(values, dim=-1)

    def spread(self, x: Tensor) -> Tensor:
        """What each weight is multiplied by at every number in `x`, `(..., V)`: n values, zero elsewhere."""
        first, t = self.located(x)
        places = first.unsqueeze(-1) + torch.arange(self.nodes, device=x.device)
        basis = self.basis(t)
        return basis.new_zeros(*x.shape, self.weights).scatter(-1, places, basis)


def mirrored(x: Tensor) -> Tensor:
    """`x` folded into [-1, 1] like light between two mirrors: a triangle wave of period 4."""
    r = torch.remainder(x + 1, 4)
    return torch.where(r > 2, 4 - r, r) - 1
