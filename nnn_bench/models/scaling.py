"""How numbers are brought back towards [-1, 1] before a piecewise polynomial: without parameters, over the last dimension.

layer      (x - mean) / sqrt(variance + 1e-5)      about a third of the entries of a normal vector still lie outside
maxabs     x / (max |x| + 1e-6)                    none does
maxcenter  (x - m) / (max - m + 1e-6), m = (max + min) / 2
none       x

Source: the published high-order networks, whose layer norms never had trained gains or biases.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.models.flops import Flops, elementwise

ScaleKind = Literal["layer", "maxabs", "maxcenter", "none"]

_LEAST = 1e-6
#: Operations per number: mean, centre, square, mean, scale; magnitude, maximum, scale; maximum, minimum, centre, scale.
_OPERATIONS = {"layer": 5, "maxabs": 3, "maxcenter": 4, "none": 0}
assert set(_OPERATIONS) == set(get_args(ScaleKind))


def scaled(kind: ScaleKind, x: Tensor) -> Tensor:
    """`x (..., C)` scaled over its last dimension."""
    if kind == "layer":
        return F.layer_norm(x, x.shape[-1:], eps=1e-5)
    if kind == "maxabs":
        return x / (x.abs().amax(dim=-1, keepdim=True) + _LEAST)
    if kind == "maxcenter":
        most = x.amax(dim=-1, keepdim=True)
        middle = (most + x.amin(dim=-1, keepdim=True)) / 2
        return (x - middle) / (most - middle + _LEAST)
    return x


def scaling_flops(kind: ScaleKind, width: int) -> Flops:
    return elementwise(width, _OPERATIONS[kind])


class Scaling(nn.Module):
    """`scaled` as a module, for those who may have a norm with parameters in its place."""

    def __init__(self, kind: ScaleKind, width: int):
        super().__init__()
        self.kind, self.width = kind, width

    def forward(self, x: Tensor) -> Tensor:
        return scaled(self.kind, x)

    def flops(self) -> Flops:
        """Per vector."""
        return scaling_flops(self.kind, self.width)
