"""What follows a single vector in the networks that are polynomial at their input alone, or not at all: dense maps and ReLU.

z = W_1 scale x + b_1                           x (H,), W_1 (H -> G)
z = W_j relu(scale z) + b_j,  j = 2 .. L        (G -> G)
logits = W relu(scale z) + b                    (G -> V)

Nothing bends between x and W_1. Maps are born uniform in +-1 / sqrt(their inputs), torch's own way and the source's; biases are
zero. The map to the vocabulary is born as in the other networks, normal with 0.02, so that a fresh one is as unsure as they are.

Source: language-interpolation (high_order_input and low_order_mlp share it; H = G = 1000, L = 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.running_norm import WindowScale, normaliser

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class RectifiedOptions(Settings):
    """`width` is H, `hidden` G, `layers` L. `projection` makes all maps, but W where that has its own."""

    width: PositiveInt
    hidden: PositiveInt | None = None
    layers: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    scale: WindowScale = "layer"
    projection: Component
    output_projection: Component | None = None


class Rectified(nn.Module):
    """`(..., H) -> (..., V)`."""

    def __init__(self, options: RectifiedOptions, builder: Builder, vocabulary: int):
        super().__init__()
        G = options.hidden or options.width
        self.widths = [options.width, *[G] * options.layers]
        self.norms = nn.ModuleList(normaliser(options.scale, width) for width in self.widths)
        project = builder.projector(options.projection)
        self.maps = nn.ModuleList(
            project(Port(f"hidden_{number}", inputs, G, Initial((3 * inputs) ** -0.5, uniform=True)))
            for number, inputs in enumerate(self.widths[:-1])
        )
        output = options.output_projection or options.projection
        self._dense_head = output.kind == "dense"
        self.output = builder.projector(output)(Port("head", G, vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        first, *later = self._all()
        nearest, *deeper = self.norms
        z = first(nearest(x))
        for norm, one in zip(deeper, later, strict=True):
            z = one(norm(z).relu())
        return z

    def flops(self) -> Flops:
        return sum((one.flops() for one in [*self.norms, *self._all()]), elementwise(sum(self.widths[1:])))

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """The map to the vocabulary where it is dense: any other is body, so that no capacity hides in it."""
        return self.output.parameters() if self._dense_head else ()

    def _all(self) -> list[Projection]:
        return [*self.maps, self.output]
