"""A linear map that, once its network has grown, learns a low-rank change of frozen weights (LoRA).

y = (W + (alpha / r) B A) x + b            A (r, inputs), B (outputs, r)

At birth there is no change and W is trained like any dense map. Each time the network grows: the change so far is merged into W,
exactly; A is drawn anew, uniform in +-1 / sqrt(inputs), and B set to zero, so that nothing the map says changes; W and b stay
frozen from then on unless `train_base`.

Sources: Hu et al. 2021; merged at each growth as the progressive-diverging network of lmsmall would need it (its own delta, a
second attention with factors that do not start at zero, cannot be merged: `published/growing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear, one_sided
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Initial, Port, Projection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class Options(Settings):
    rank: PositiveInt
    alpha: float = Field(default=16.0, gt=0)
    bias: bool = True
    train_base: bool = False


class LowRankDelta(Projection):
    """`weight (outputs, inputs)`, `bias (outputs,)`; once grown also `delta_down (r, inputs)` and `delta_up (outputs, r)`."""

    growths = None

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.rank, self.factor, self.train_base = options.rank, options.alpha / options.rank, options.train_base
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(port.outputs, port.inputs)))
        self.bias = nn.Parameter(torch.zeros(port.outputs)) if options.bias else None
        self.delta_down: nn.Parameter | None = None
        self.delta_up: nn.Parameter | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if self.delta_down is None or self.delta_up is None:
            return y
        return y + self.factor * F.linear(F.linear(x, self.delta_down), self.delta_up)

    def grow(self) -> dict[str, Origin]:
        outputs, inputs = self.weight.shape
        if self.delta_down is not None and self.delta_up is not None:
            with torch.no_grad():
                self.weight.addmm_(self.delta_up, self.delta_down, alpha=self.factor)
        spread = Initial((1 / (3 * inputs)) ** 0.5, uniform=True)
        self.delta_down = nn.Parameter(spread.fill_(self.weight.new_empty(self.rank, inputs)))
        self.delta_up = nn.Parameter(self.weight.new_zeros(outputs, self.rank))
        for parameter in self.frozen_parameters():
            parameter.requires_grad_(False)
        return {}

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        if self.delta_down is None or self.train_base:
            return []
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def flops(self) -> Flops:
        outputs, inputs = self.weight.shape
        plain = linear(inputs, outputs) + elementwise(outputs if self.bias is not None else 0)
        if self.delta_down is None:
            return plain
        change = linear(inputs, self.rank) + linear(self.rank, outputs) + elementwise(outputs, 2)
        return (plain if self.train_base else one_sided(plain)) + change


Part = LowRankDelta
