"""Several maps in a row as one map, scaled and bent between.

y = P_m(b( ... P_2(b(P_1 x))))                          b(x) = phi(scale x)
P_1 (inputs -> hidden), P_2 .. (hidden -> hidden), P_m (hidden -> outputs)

Piecewise polynomials bend by themselves and need no phi; two of them in a row without scaling are a polynomial of a polynomial.
All but the last map are born uniform in +-1 / sqrt(their inputs), torch's own way and that of the published networks: maps born
small by a constant would, several in a row, say next to nothing. The last map is born as the place of the whole asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor, nn

from nnn_bench.models.activations import Activation
from nnn_bench.models.flops import Flops
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops


@dataclass(frozen=True)
class Between:
    """phi(scale x) of vectors of `width`."""

    width: int
    scale: ScaleKind = "none"
    activation: Activation | None = None

    def __call__(self, x: Tensor) -> Tensor:
        x = scaled(self.scale, x)
        return x if self.activation is None else self.activation(x)

    def flops(self) -> Flops:
        bent = Flops() if self.activation is None else self.activation.flops()
        return scaling_flops(self.scale, self.width) + bent


class Chain(Projection):
    """`make` makes each map; `widths` are `[inputs, hidden, .., outputs]`, the hidden ones alike; `last` is how P_m is born."""

    def __init__(
        self,
        make: Callable[[Port], Projection],
        name: str,
        widths: Sequence[int],
        between: Between,
        last: Initial | None = None,
    ):
        super().__init__()
        self.between = between
        ports = [
            Port(f"{name}_{number}", inputs, outputs, Initial((3 * inputs) ** -0.5, uniform=True))
            for number, (inputs, outputs) in enumerate(pairwise(widths))
        ]
        if last is not None:
            ports[-1] = replace(ports[-1], initial=last)
        self.maps = nn.ModuleList(make(port) for port in ports)

    def forward(self, x: Tensor) -> Tensor:
        first, *later = self.maps
        x = first(x)
        for one in later:
            x = one(self.between(x))
        return x

    def flops(self) -> Flops:
        maps: list[Projection] = list(self.maps)  # type: ignore[arg-type]
        return sum((one.flops() for one in maps), self.between.flops() * (len(maps) - 1))
