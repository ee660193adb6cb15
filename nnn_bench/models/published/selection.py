"""Control: the two-way selection unit as published. Its selector learns to pick the worse computation.

p = sigmoid(S x + s)                            (..., O)        one selector per output unit
a = A x + alpha;  b = B x + beta                (..., O)        two computations, through a ReLU if `rectified`
hard = [p < 1/2];  m = hard - stop(p) + p;  y = m a + (1 - m) b

Forward A is taken where p is small, yet dm/dp = +1: dp = (a - b) dy. Where A is the better one p rises, which takes B; then B
gets the gradient and improves. Both end up about as good and as often used as each other, and it looks like a learned balance.
The repaired form is `projections/selection`, whose choice and gradient agree.

Source: the published two-way unit. Its maps stand in every place of a transformer here, without the ReLU where the unit's own
place has none; the initialisation is `projections/selection`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Port, Projection
from nnn_bench.models.selecting import selector_initial

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    rectified: bool = False


class PublishedSelection(Projection):
    """`weight (2, O, I)`, `bias (2 O,)`: A and B; `selector_weight (O, I)`, `selector_bias (O,)`. `watch`, `swapped` as in
    `selecting.py`, with 0 and s as the logits of A and B."""

    decides = True

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        O, I = port.outputs, port.inputs  # noqa: E741
        self.rectified = options.rectified
        self.watch: list[Tensor] | None = None
        self.swapped = False
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(2, O, I)))
        self.bias = nn.Parameter(torch.zeros(2 * O))
        self.selector_weight = nn.Parameter(selector_initial(I, O).fill_(torch.empty(O, I)))
        self.selector_bias = nn.Parameter(torch.zeros(O))

    def forward(self, x: Tensor) -> Tensor:
        logits, values = self.logits_and_values(x)
        if self.watch is not None:
            self.watch.append(logits.detach())
        a, b = values.unbind(-2)
        p = torch.sigmoid(logits[..., 1, :])
        hard = (p >= 0.5 if self.swapped else p < 0.5).to(p.dtype)
        m = hard - p.detach() + p
        return m * a + (1 - m) * b

    def logits_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(..., 2, O)` both: that the larger logit is taken holds here as elsewhere."""
        s = F.linear(x, self.selector_weight, self.selector_bias)
        values = F.linear(x, self.weight.flatten(0, 1), self.bias).unflatten(-1, (2, -1))
        return torch.stack([torch.zeros_like(s), s], dim=-2), values.relu() if self.rectified else values

    def flops(self) -> Flops:
        _, O, I = self.weight.shape  # noqa: E741
        # three biases, two rectifications, then sigmoid, comparison, the choice in six
        return linear(I, 3 * O) + elementwise(O, (5 if self.rectified else 3) + 8)


Part = PublishedSelection
