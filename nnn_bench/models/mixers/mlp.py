"""Two maps with a nonlinearity between: y = W_2 phi(W_1 x), hidden width given.

Source: GPT-2 (phi = GELU in its tanh form, hidden = 4 x width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import ChannelMixer, Port, Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    hidden: PositiveInt
    activation: Literal["gelu", "relu"] = "gelu"
    projection: Component
    up_projection: Component | None = None
    down_projection: Component | None = None


class MLP(ChannelMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.hidden, self.activation = site.hidden(options.hidden), options.activation
        self.up = builder.projector(options.up_projection or options.projection)(Port("up", site.width, self.hidden))
        self.down = builder.projector(options.down_projection or options.projection)(
            Port("down", self.hidden, site.width, site.residual)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        return self.down(F.gelu(h, approximate="tanh") if self.activation == "gelu" else F.relu(h))

    def flops(self) -> Flops:
        nonlinear = elementwise(self.hidden, 9 if self.activation == "gelu" else 1)
        return self.up.flops() + nonlinear + self.down.flops()


Part = MLP
