"""Gated linear unit: y = W_d (SiLU(W_g x) * W_u x).

Source: the channel mixer of the MatMul-free network (arXiv 2406.02528), there with ternary maps; one map makes gate and value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    projection: Component
    gate_and_value_projection: Component | None = None
    down_projection: Component | None = None


class GLU(ChannelMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.hidden = site.hidden(options.hidden)
        self.gate_and_value = builder.projector(options.gate_and_value_projection or options.projection)(
            Port("gate_and_value", site.width, 2 * self.hidden)
        )
        self.down = builder.projector(options.down_projection or options.projection)(
            Port("down", self.hidden, site.width, site.residual)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_and_value(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)

    def flops(self) -> Flops:
        gated = elementwise(self.hidden, 3)  # sigmoid, times itself, times the value
        return self.gate_and_value.flops() + gated + self.down.flops()


Part = GLU
