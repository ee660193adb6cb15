"""The ordinary linear map: y = W x + b."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Port, Projection

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    bias: bool = True


class Dense(Projection):
    """`weight (outputs, inputs)`, `bias (outputs,)` zero at birth."""

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(port.outputs, port.inputs)))
        self.bias = nn.Parameter(torch.zeros(port.outputs)) if options.bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def flops(self) -> Flops:
        outputs, inputs = self.weight.shape
        return linear(inputs, outputs) + elementwise(outputs if self.bias is not None else 0)


Part = Dense
