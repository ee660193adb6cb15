"""Batch normalisation that keeps rows apart: by the mean and variance of the batches before.

y = g (x - m) / sqrt(v + 1e-5) + b              x (..., C); g, b (C,) trained; m, v (C,) running, per feature, without a gradient
m <- m + r (m' - m),  v <- v + r (v' - v)       m', v': of all numbers of the last step's batch
r = max(0.1, 1 / n) at the n-th time            so that the first batch counts whole

Training and evaluation normalise alike. A forward pass in training mode only notes the mean and mean square of what it sees, and
the note is used when the next step begins (`progressed`); several passes of one step are averaged. So no answer depends on what
else is in the batch, nor on the characters after it, and a pass can be repeated. Whoever never says that a step begins, an audit
or a forward pass that compiles, leaves no note. All of it lies in buffers: a run that was cut off goes on as it would have.

Source: Ioffe & Szegedy 2015, whose normalisation by the present batch mixes the windows of a batch; in a network that answers at
every position of a text these are each other's past and future (`published/sparse_convolution`). The published network also gives
the number of channels in the place of the epsilon.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Part
from nnn_bench.models.scaling import ScaleKind, Scaling

WindowScale = ScaleKind | Literal["batch"]

_LEAST = 1e-5
_RATE = 0.1


class RunningNorm(Part):
    """Over all but the last dimension."""

    hears_progress = True
    mean: Tensor
    variance: Tensor
    noted_mean: Tensor
    noted_square: Tensor
    noted: Tensor
    updates: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("noted_mean", torch.zeros(width))
        self.register_buffer("noted_square", torch.zeros(width))
        self.register_buffer("noted", torch.zeros((), dtype=torch.long))  # passes since the step began
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self._listening = False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self._listening:
            self._note(x.detach())
        scale = self.gain * (self.variance + _LEAST).rsqrt()
        return torch.addcmul(self.bias - self.mean * scale, x, scale)

    @torch.no_grad()
    def _note(self, x: Tensor) -> None:
        rows = x.to(self.mean.dtype).flatten(0, -2)
        self.noted_mean += rows.mean(dim=0)
        self.noted_square += rows.square().mean(dim=0)
        self.noted += 1

    @torch.no_grad()
    def progressed(self, share: float) -> None:
        """A step begins: what was noted in the last one counts from now on."""
        self._listening = True
        if self.noted == 0:
            return
        self.updates += 1
        rate = (1 / self.updates).clamp(min=_RATE)
        mean = self.noted_mean / self.noted
        self.mean.lerp_(mean, rate.to(mean.dtype))
        self.variance.lerp_((self.noted_square / self.noted - mean.square()).clamp(min=0), rate.to(mean.dtype))
        for note in (self.noted_mean, self.noted_square, self.noted):
            note.zero_()

    def flops(self) -> Flops:
        """Per vector: scaled, and shifted."""
        return elementwise(2 * len(self.gain))


def normaliser(kind: WindowScale, width: int) -> RunningNorm | Scaling:
    """What normalises vectors of `width` in a window network: by themselves, or by the batches before."""
    return RunningNorm(width) if kind == "batch" else Scaling(kind, width)
