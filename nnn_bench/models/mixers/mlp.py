"""Two maps with a nonlinearity between: y = W_2 phi(W_1 x), hidden width given.

Source: GPT-2 (phi = GELU in its tanh form, hidden = 4 x width). Other nonlinearities, and phi on the first three quarters of the
hidden features alone, are those of `activations.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.activations import ActivationName, activation
from nnn_bench.models.flops import Flops
from nnn_bench.models.parts import ChannelMixer, Port, Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    hidden: PositiveInt
    activation: ActivationName = "gelu"
    partial_activation: bool = False
    projection: Component
    up_projection: Component | None = None
    down_projection: Component | None = None


class MLP(ChannelMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.hidden = site.hidden(options.hidden)
        self.activation = activation(
            options.activation, self.hidden, partial=options.partial_activation, builder=builder
        )
        self.up = builder.projector(options.up_projection or options.projection)(Port("up", site.width, self.hidden))
        self.down = builder.projector(options.down_projection or options.projection)(
            Port("down", self.hidden, site.width, site.residual)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))

    def flops(self) -> Flops:
        return self.up.flops() + self.activation.flops() + self.down.flops()


Part = MLP
