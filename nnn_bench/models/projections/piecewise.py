"""A map whose every link is a piecewise polynomial of its input: the "high order" layer.

y_o = sum_i sum_v w[v, i, o] b_v(x_i)      b_v: the basis of `pieces.py`, n of V values that are not zero; no bias

w (V, I, O): each weight is the value of its link at its node. Initialisations:

constant   one r_io ~ U(0, 1/I) for all nodes of a link: the network answers the same to everything until the last map has moved
uniform    w ~ U(-1/I, 1/I), each by itself
linear     w = a X_v + b with a, b ~ U(-1/2, 1/2) per link, not scaled by the number of inputs

One function, several algorithms, told in `piecewise_products.py` and `piecewise_rows.py`: `algorithm: auto` takes what `quickest`
says. They agree but for rounding, the gradients too, so that a choice among them is no choice of a network.

Source: high-order-layers-torch (`constant` from 2.5.0 on, `uniform` before). Its layers keep weights as (O, I, V); here those of
one node lie together, ready to be multiplied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Port, Projection
from nnn_bench.models.pieces import Form, Pieces
from nnn_bench.models.piecewise_products import closed_form, product
from nnn_bench.models.piecewise_rows import bag, table
from nnn_bench.models.precision import product_dtype, wide
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


Algorithm = Literal["closed_form", "dense_basis", "bag"]


class Options(Settings):
    form: Form = "continuous"
    nodes: PositiveInt = 2
    segments: PositiveInt = 2
    initial: Literal["constant", "uniform", "linear"] = "uniform"
    scale: ScaleKind = "none"
    clamp: bool = False
    algorithm: Algorithm | Literal["auto"] = "auto"

    @property
    def pieces(self) -> Pieces:
        return Pieces(self.form, self.nodes, self.segments)

    @model_validator(mode="after")
    def _closed_form_is_for_two_lines(self) -> Options:
        if self.algorithm == "closed_form" and not two_lines(self.pieces):
            raise Inconsistent(
                "closed_form needs form: continuous, nodes: 2, segments: 2; leave it at auto", key="algorithm"
            )
        return self


def two_lines(pieces: Pieces) -> bool:
    """Whether a link is two straight lines that meet in the middle."""
    return pieces == Pieces("continuous", 2, 2)


def quickest(pieces: Pieces) -> Algorithm:
    """The algorithm of least time for floats, by how many times the products of `dense_basis` exceed what is not zero.

    Forward and backward on one core, 1,000 rows from 128 to 250, ms (a dense map: 3); c and d are the forms, with n x S:
    closed_form 7 where dense_basis takes 11 and bag 28;
    dense_basis and bag: d2x2 15, 30; c3x2 20, 45; c4x4 44, 50; c2x8 32, 33; c3x8 57, 40; d2x8 55, 29; d1x8 24, 17; c2x128 -, 41.
    They meet at V / n of about five, with 40 inputs and outputs too.
    """
    if two_lines(pieces):
        return "closed_form"
    return "dense_basis" if pieces.weights <= 5 * pieces.nodes else "bag"


class Piecewise(Projection):
    """`weight (V, I, O)`. Inputs are scaled first (`scale`), and clamped to [-1, 1] where `clamp` says so."""

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.pieces = options.pieces
        self.algorithm: Algorithm = quickest(self.pieces) if options.algorithm == "auto" else options.algorithm
        self.scale, self.clamp = options.scale, options.clamp
        self.inputs, self.outputs = port.inputs, port.outputs
        self.weight = nn.Parameter(self._fresh(options.initial))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., I) -> (..., O)`."""
        x = scaled(self.scale, x)
        x = x.clamp(-1, 1) if self.clamp else x
        rows = x.reshape(-1, self.inputs).contiguous()
        if self.algorithm == "closed_form":
            y = closed_form(rows, self.weight)
        elif self.algorithm == "dense_basis":
            y = product(rows, self.weight, self.pieces)
        else:
            y = bag(rows, self.weight, self.pieces).to(product_dtype(self.weight))
        return y.unflatten(0, x.shape[:-1]) if x.dim() != 2 else y

    def of_symbols(self, symbols: Tensor, numbers: Tensor) -> Tensor:
        """The same for inputs out of a few known `numbers (K,)`: `symbols (N, I)`, indices into them, to `(N, O)`."""
        if self.scale != "none":  # what a number becomes is up to its neighbours
            return self(numbers[symbols])
        numbers = numbers.clamp(-1, 1) if self.clamp else numbers
        first, basis = self.pieces.known(wide(numbers))
        return table(symbols, first, basis.to(wide(self.weight[:0]).dtype), self.weight).to(product_dtype(self.weight))

    def _fresh(self, initial: str) -> Tensor:
        V, I, O = self.pieces.weights, self.inputs, self.outputs  # noqa: E741
        weight = torch.empty(V, I, O)
        if weight.is_meta:  # nothing to fill, and budgets count thousands of these
            return weight
        if initial == "constant":
            return weight.copy_(torch.empty(I, O).uniform_(0, 1 / I))
        if initial == "uniform":
            return weight.uniform_(-1 / I, 1 / I)
        slope, middle = torch.empty(2, I, O).uniform_(-0.5, 0.5).unbind(0)
        return self.pieces.node_places().to(weight).view(V, 1, 1) * slope + middle

    def flops(self) -> Flops:
        I, O, V = self.inputs, self.outputs, self.pieces.weights  # noqa: E741
        prepared = scaling_flops(self.scale, I) + elementwise(I, 2 if self.clamp else 0)
        if self.algorithm == "closed_form":  # the weights' differences are made once for all rows
            return prepared + elementwise(I, 2) + linear(2 * I, O) + elementwise(O)
        located = prepared + elementwise(I, self.pieces.operations)
        if self.algorithm == "dense_basis":
            return located + linear(V * I, O)
        return located + elementwise(I * O, 2 * self.pieces.nodes)

    def symbol_flops(self) -> Flops:
        """Operations per token of `of_symbols`: a sum of rows of a table, which is made once for all tokens of a call."""
        return elementwise(self.inputs * self.outputs) if self.scale == "none" else self.flops()


Part = Piecewise
