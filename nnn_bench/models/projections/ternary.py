"""A linear map with weights in {-b, 0, +b} and 8-bit activations (BitLinear), no bias.

n = RMSNorm_w(x), eps 1e-8                                              (..., inputs)
a = 127 / max_i |n_i|;  q = clip(round(a n), -128, 127) / a             per token
b = mean |W|;  Q = b clip(round(W / b), -1, 1)                          per matrix
y = q Q^T

Both roundings let the gradient pass unchanged (straight-through), with their scales held constant: dq = dy Q, dW = dy^T q.
Source: arXiv 2406.02528, whose fused kernel computes the same. Once trained, W is known by its codes and b: `models/packing.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.norms import norm_flops
from nnn_bench.models.parts import Port, Projection

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

_LEAST = 1e-5  # keeps an all-zero token or matrix from dividing by zero, as in the published code


class Options(Settings):
    pass


class _Through(torch.autograd.Function):
    """Forward: the rounded values. Backward: as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@torch.no_grad()
def codes_and_scale(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Which of -1, 0, +1 each element of `weight` rounds to, and b, its mean magnitude (0-dim)."""
    scale = weight.abs().mean().clamp_(min=_LEAST)
    return (weight / scale).round_().clamp_(-1, 1), scale


def ternarised(weight: Tensor) -> Tensor:
    """`weight` rounded to {-b, 0, +b} with b its mean magnitude; differentiable straight through."""
    codes, scale = codes_and_scale(weight)
    result: Tensor = _Through.apply(weight, codes.mul_(scale))
    return result


def eight_bit(x: Tensor) -> Tensor:
    """`x` rounded to 256 levels per token (last dimension); differentiable straight through."""
    with torch.no_grad():
        scale = 127 / x.abs().amax(dim=-1, keepdim=True).clamp_(min=_LEAST)
        rounded = (x * scale).round_().clamp_(-128, 127).div_(scale)
    result: Tensor = _Through.apply(x, rounded)
    return result


class Ternary(Projection):
    """`weight (outputs, inputs)` is trained in full precision and rounded at each use."""

    decides = True

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        self.norm = nn.RMSNorm(port.inputs, eps=1e-8)
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(port.outputs, port.inputs)))

    def forward(self, x: Tensor) -> Tensor:
        exact = self.norm(x.to(self.norm.weight.dtype))  # an autocast neighbour may have left x in half precision
        return F.linear(eight_bit(exact), ternarised(self.weight))

    def codes(self) -> Tensor:
        """The -1, 0, +1 that its weights round to, `(outputs, inputs)`."""
        return codes_and_scale(self.weight)[0]

    def flops(self) -> Flops:
        outputs, inputs = self.weight.shape
        # magnitude, maximum, scale, round, two clips, unscale; rounding the weights is shared by all tokens of a batch
        return norm_flops("rms", inputs) + elementwise(inputs, 7) + linear(inputs, outputs)


Part = Ternary
