"""Two maps of another kind in a row: inputs to outputs, then outputs to outputs, with nothing between.

y = P_2 P_1 x                     P_1 (inputs -> outputs), P_2 (outputs -> outputs)

Source: language-interpolation, whose Mamba asks for a high-order network without hidden layers wherever a linear one has a map.
Such a network still has a first and a last layer, so that each map becomes two piecewise polynomials, with no normalisation
between: the second sees what the first gives as it is, unless it clamps or scales by its own option. Two dense maps in a row are
one, of more parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnn_bench.config.component import Component
from nnn_bench.config.validation import Settings
from nnn_bench.models.chain import Between, Chain
from nnn_bench.models.parts import Port

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    projection: Component


class PiecewisePair(Chain):
    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__(
            builder.projector(options.projection),
            port.name,
            [port.inputs, port.outputs, port.outputs],
            Between(port.outputs),
            port.initial,
        )


Part = PiecewisePair
