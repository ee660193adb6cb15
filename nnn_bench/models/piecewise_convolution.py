"""A convolution whose every link is a piecewise polynomial: a map of a few neighbouring places, shared along the window.

y_p = P [f(x_{a+ps}); ..; f(x_{a+ps+K-1})]      x (L, I), P (K I -> O) any map, mostly a piecewise one; no bias;  y (L', O)
L' = floor((L - K) / s) + 1                     K kernel, s stride
f: folded into [-1, 1] like light between two mirrors (`pieces.mirrored`), so that nothing extrapolates

Where the strides do not fit, the a = L - K - (L' - 1) s oldest places are left out. A kernel longer than what is left is as long
as that.

The same function, and the same parameters, as the published one, which spreads each channel over its basis, V channels for one,
and convolves those: a convolution is a map of its unfolded places, and a piecewise map knows quicker ways than to multiply zeros
(closed form, rows of weights, a table for symbols; see `projections/piecewise.py`). Unfolding copies each number K / s times at
most, the basis would have made V of it.

Source: the convolution layers of high-order-layers-torch, periodicity 2. Departures: maps are born as they are elsewhere, uniform
in +-1 / (K I) where they are piecewise; the source divides by K twice, as if there were two dimensions, and by V. And it leaves
out the newest places where strides do not fit (`from_newest=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.number_window import KnowsSymbols
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.pieces import mirrored

#: Operations per number: shifted, a remainder, compared, reflected, shifted back.
_FOLD = 5


class Place(NamedTuple):
    """One layer of convolutions: its kernel and stride, and how many places go in and come out."""

    kernel: int
    stride: int
    inputs: int
    outputs: int

    @property
    def used(self) -> int:
        """Places that some output sees."""
        return (self.outputs - 1) * self.stride + self.kernel


def planned(kernels: Sequence[int], strides: Sequence[int], window: int) -> list[Place]:
    """Convolutions on top of each other, over a window."""
    places = []
    for kernel, stride in zip(kernels, strides, strict=True):
        kernel = min(kernel, window)
        places.append(Place(kernel, stride, window, (window - kernel) // stride + 1))
        window = places[-1].outputs
    return places


def reached(places: Sequence[Place], focus: Sequence[int]) -> int:
    """How many of the newest places of a window are seen, where the newest `focus[l]` inputs of layer l are read too."""
    needed = places[-1].outputs
    for place, also in reversed(list(zip(places, focus, strict=True))):
        needed = max((needed - 1) * place.stride + place.kernel, min(also, place.inputs))
    return needed


def unfolded(x: Tensor, place: Place, *, from_newest: bool = True) -> Tensor:
    """What each output sees, `(N, L, I) -> (N, L', K I)`; within a row place by place, the oldest first."""
    x = x[:, place.inputs - place.used :] if from_newest else x[:, : place.used]
    block = gcd(place.kernel, place.stride)  # places that never come apart
    x = x.reshape(len(x), place.used // block, -1)
    step, parts = place.stride // block, place.kernel // block
    if parts == 1:
        return x[:, ::step]
    last = (place.outputs - 1) * step + 1
    return torch.cat([x[:, part : part + last : step] for part in range(parts)], dim=-1)


class Convolution(nn.Module):
    """`project` makes P. Numbers `(N, L, I)`, or symbols `(N, L)` of which each is a number, to `(N, L', O)`."""

    map: Projection

    def __init__(
        self,
        project: Callable[[Port], Projection],
        name: str,
        inputs: int,
        outputs: int,
        place: Place,
        *,
        from_newest: bool = True,
    ):
        super().__init__()
        self.place, self.inputs, self.outputs, self.from_newest = place, inputs, outputs, from_newest
        seen = place.kernel * inputs
        self.map = project(Port(name, seen, outputs, Initial((3 * seen) ** -0.5, uniform=True)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.map(unfolded(mirrored(x), self.place, from_newest=self.from_newest))
        return y

    def of_symbols(self, symbols: Tensor, numbers: Tensor) -> Tensor:
        """The same for one channel of symbols, indices into known `numbers (K,)` in [-1, 1], which nothing needs to fold."""
        if not isinstance(self.map, KnowsSymbols):
            return self(numbers[symbols].unsqueeze(-1))
        rows = unfolded(symbols.unsqueeze(-1), self.place, from_newest=self.from_newest)
        return self.map.of_symbols(rows.flatten(0, 1), numbers).unflatten(0, rows.shape[:2])

    def flops(self) -> Flops:
        """Operations for one window."""
        return elementwise(self.place.inputs * self.inputs, _FOLD) + self.map.flops() * self.place.outputs

    def symbol_flops(self) -> Flops:
        """Operations of `of_symbols` for one window."""
        return self.map.symbol_flops() * self.place.outputs if isinstance(self.map, KnowsSymbols) else self.flops()


def convolutions(
    project: Sequence[Callable[[Port], Projection]],
    channels: Sequence[int],
    places: Sequence[Place],
    *,
    from_newest: bool = True,
) -> nn.ModuleList:
    """One convolution for each of `places`, from `channels[l]` to `channels[l + 1]`."""
    return nn.ModuleList(
        Convolution(make, f"convolution_{layer}", inputs, outputs, place, from_newest=from_newest)
        for layer, (make, (inputs, outputs), place) in enumerate(zip(project, pairwise(channels), places, strict=True))
    )
