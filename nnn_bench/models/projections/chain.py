"""A map made of several maps of another kind, one after the other.

y = P_m(b( ... P_2(b(P_1(scale x)))))          b(x) = phi(scale x), see `models/chain.py`

The scaling of the input (`input_scale`) and that between the maps (`scale`) are told apart: the published high-order transformer
scales what it takes from its heads and nothing further in, and bends (GELU) only where its maps are linear.
Source: the feed-forward half of that network, `maps: 3`, hidden four times as wide as the heads together. And its Mamba: it asks
for a high-order network without hidden layers wherever a linear one has a map, and such a network still has a first and a last
layer, so that each map becomes two piecewise polynomials in a row with nothing between (`maps: 2, hidden: outputs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from torch import Tensor

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.activations import ActivationName, activation
from nnn_bench.models.chain import Between, Chain
from nnn_bench.models.flops import Flops
from nnn_bench.models.parts import Port
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    """`hidden` left out is as wide as the input; it may be as wide as the output."""

    maps: Annotated[int, Field(ge=2, strict=True)]
    hidden: PositiveInt | Literal["outputs"] | None = None
    input_scale: ScaleKind = "none"
    scale: ScaleKind = "none"
    activation: ActivationName | None = None
    projection: Component


class ScaledChain(Chain):
    def __init__(self, options: Options, builder: Builder, port: Port):
        hidden = port.outputs if options.hidden == "outputs" else options.hidden or port.inputs
        bent = None
        if options.activation is not None:
            bent = activation(options.activation, hidden, partial=False, builder=builder)
        super().__init__(
            builder.projector(options.projection),
            port.name,
            [port.inputs, *[hidden] * (options.maps - 1), port.outputs],
            Between(hidden, options.scale, bent),
            port.initial,
        )
        self.inputs, self.input_scale = port.inputs, options.input_scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(scaled(self.input_scale, x))

    def flops(self) -> Flops:
        return scaling_flops(self.input_scale, self.inputs) + super().flops()


Part = ScaledChain
