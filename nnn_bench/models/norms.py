"""Normalisation over the last dimension, by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

from nnn_bench.models.flops import Flops, elementwise

NormKind = Literal["layer", "rms"]


def norm(kind: NormKind, width: int) -> nn.Module:
    """`layer`: zero mean, unit variance, gain and bias (eps 1e-5, as GPT-2). `rms`: unit mean square, gain (eps 1e-6)."""
    return nn.LayerNorm(width) if kind == "layer" else nn.RMSNorm(width, eps=1e-6)


def norm_flops(kind: NormKind, width: int) -> Flops:
    """layer: mean, centre, square, mean, scale, gain, bias; rms: square, mean, scale, gain."""
    return elementwise(width, 7 if kind == "layer" else 4)
