"""A map whose every link is a piecewise polynomial of its input: the "high order" layer.

y_o = sum_i sum_v w[v, i, o] b_v(x_i)      b_v: the basis of `pieces.py`, n of V values that are not zero; no bias

w (V, I, O): each weight is the value of its link at its node. Initialisations:

constant   one r_io ~ U(0, 1/I) for all nodes of a link: the network answers the same to everything until the last map has moved
uniform    w ~ U(-1/I, 1/I), each by itself
linear     w = a X_v + b with a, b ~ U(-1/2, 1/2) per link, not scaled by the number of inputs

Source: high-order-layers-torch (`constant` from 2.5.0 on, `uniform` before).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, linear
from nnn_bench.models.parts import Port, Projection
from nnn_bench.models.pieces import Form, Pieces
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    form: Form = "continuous"
    nodes: PositiveInt = 2
    segments: PositiveInt = 2
    initial: Literal["constant", "uniform", "linear"] = "uniform"
    scale: ScaleKind = "none"
    clamp: bool = False


class Piecewise(Projection):
    """`weight (V, I, O)`. Inputs are scaled first (`scale`), and clamped to [-1, 1] where `clamp` says so."""

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.pieces = Pieces(options.form, options.nodes, options.segments)
        self.scale, self.clamp = options.scale, options.clamp
        self.inputs, self.outputs = port.inputs, port.outputs
        self.weight = nn.Parameter(self._fresh(options.initial))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., I) -> (..., O)`."""
        x = scaled(self.scale, x)
        x = x.clamp(-1, 1) if self.clamp else x
        spread = self.pieces.spread(x).transpose(-1, -2).flatten(-2)  # (..., I, V) -> (..., V I)
        return spread @ self.weight.flatten(0, 1)

    def of_symbols(self, symbols: Tensor, numbers: Tensor) -> Tensor:
        """The same for inputs out of a few known `numbers (K,)`: `symbols (N, I)`, indices into them, to `(N, O)`."""
        return self(numbers[symbols])

    def _fresh(self, initial: str) -> Tensor:
        V, I, O = self.pieces.weights, self.inputs, self.outputs  # noqa: E741
        if initial == "constant":
            return torch.empty(I, O).uniform_(0, 1 / I).expand(V, I, O).clone()
        if initial == "uniform":
            return torch.empty(V, I, O).uniform_(-1 / I, 1 / I)
        slope, middle = torch.empty(2, I, O).uniform_(-0.5, 0.5).unbind(0)
        return self.pieces.node_places().to(slope).view(V, 1, 1) * slope + middle

    def flops(self) -> Flops:
        return scaling_flops(self.scale, self.inputs) + linear(self.pieces.weights * self.inputs, self.outputs)


Part = Piecewise
