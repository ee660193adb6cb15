"""The high-order network: nothing but piecewise polynomials, one after another, over the numbers of a neighbourhood.

h_0 = P_0 x                                     x (W,), P_0 (W -> H): `number_window.py`
h_j = P_j(scale h_{j-1}),  j = 1 .. L           P_1 .. P_{L-1} (H -> H), P_L (H -> G)
logits = P_out(scale h_L)                       P_out (G -> V)

No bias, no other nonlinearity, no residual; logits are not scaled. `layers` is L; without one the network still bends, in P_out.
`scale` is one of `scaling.py`, or `batch` (`running_norm.py`). `hidden` is G, the width of the last of them (as wide as the
others unless given): by it a budget is met.

With two linear pieces a map (n = 2, S = 2, continuous) this is a plain network of its time: an embedding for each place, summed,
then dense maps of relu(x) and relu(-x) behind layer norms without gain (`piecewise_products.py`).

A P_out that is not dense is body: no capacity hides in a map to the vocabulary that has several weights a link.

Source: language-interpolation (class HighOrderMLP; layer norms whose gains were never trained, so there are none). Its option for
the number of nodes reaches P_out alone, and the hidden maps stay at two nodes whatever is asked for; here each is what its own
configuration says, and both readings are variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.flops import Flops
from nnn_bench.models.number_window import NumberWindow
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.running_norm import WindowScale, normaliser

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class HighOrderOptions(Settings):
    """`projection` makes P_1 .. P_L, and P_out too where that has none of its own."""

    width: PositiveInt
    hidden: PositiveInt | None = None
    layers: Annotated[int, Field(ge=0, le=16, strict=True)]
    scale: WindowScale = "layer"
    input_projection: Component
    projection: Component
    output_projection: Component | None = None

    @model_validator(mode="after")
    def _nothing_is_said_of_what_is_not_there(self) -> HighOrderOptions:
        if self.layers == 0 and self.hidden is not None:
            raise Inconsistent("there is no hidden layer; leave it out, or ask for layers: 1", key="hidden")
        if self.layers == 0 and self.output_projection is not None:
            raise Inconsistent(
                "without hidden layers the output is the only map left; say projection alone", key="output_projection"
            )
        return self


class HighOrderNetwork(NumberWindow):
    def __init__(
        self, options: HighOrderOptions, builder: Builder, vocabulary: int, context: int, offsets: Sequence[int]
    ):
        super().__init__(vocabulary, context, offsets, options.input_projection, options.width, builder)
        last = options.hidden or options.width
        self.widths = [*[options.width] * options.layers, last]
        self.norms = nn.ModuleList(normaliser(options.scale, width) for width in self.widths)
        project = builder.projector(options.projection)
        self.hidden_maps = nn.ModuleList(
            project(Port(f"hidden_{number}", inputs, outputs, Initial((3 * inputs) ** -0.5, uniform=True)))
            for number, (inputs, outputs) in enumerate(pairwise(self.widths))
        )
        output = options.output_projection or options.projection
        self._dense_head = output.kind == "dense"
        self.output = builder.projector(output)(Port("head", last, vocabulary))

    def rest(self, h: Tensor) -> Tensor:
        for norm, one in zip(self.norms, self._later(), strict=True):
            h = one(norm(h))
        return h

    def rest_flops(self) -> Flops:
        return sum((one.flops() for one in [*self.norms, *self._later()]), Flops())

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return self.output.parameters() if self._dense_head else ()

    def _later(self) -> list[Projection]:
        """P_1 .. P_L and P_out."""
        return [*self.hidden_maps, self.output]
