"""The mixer of Mamba: a short convolution over time, then a recurrence whose decay, input and output maps follow the data.

[u, r] = P_in x                                          (B, T, width) -> twice (B, T, D), D = `inner`
u = SiLU(conv u + c)                                     depthwise over the last K = `convolution` positions, causal
[dl, B, C] = P_x u                                       R = `rank`, N = `state` and N features
Dt = softplus(P_dt dl + b)                               (B, T, D)
s_t = exp(Dt_t A) s_{t-1} + (Dt_t u_t) B_t^T             A = -exp(log_rates), born -1 .. -N; see `selective_scan.py`
y_t = s_t C_t + skip u_t,  skip born 1
out = P_out(y SiLU(r))                                   back to width

It needs no channel mixer: in a Mamba network, a block is this mixer alone. State: N + K - 1 floats per inner feature.
Source: Gu & Dao 2023, arXiv 2312.00752, and language-interpolation (state_space_network), where the four maps may be piecewise
polynomials: as meant one layer each (`piecewise`), as coded two in a row (`chain`). Departures from the second:

- b belongs to the mixer and not to P_dt, so that maps of any kind can have it. It is born as in the first source, Dt between
  0.001 and 0.1; in the second as torch does, and polynomial maps have none (`step_bias: false`): they leave Dt near ln 2, and a
  state forgets within a few positions. Dense maps are given `bias: false` in the variants.
- P_out is born smaller by sqrt(layers), as in the first source; otherwise maps are born as both have it, uniform in
  +-1 / sqrt(inputs). Piecewise maps are born in their own way wherever they stand.
- `inner`, `state` and `rank` are free: 2 width, 32 and width / 16 there. The variants have 16 states, as the first source.
- The variants clamp what their polynomials take to [-1, 1], which the second source does not. u goes through three maps and is
  multiplied four times before it leaves: beyond the domain, 20,000 weights of quadratic maps overflow floats after 130 steps at
  a learning rate of 0.01, pairs of them after five. Scaled as layers, all maps but that of the few dl, they are at 3.2 of 3.4
  nats when the clamped ones know a batch by heart; scaled by maxabs, pairs take longer than clamped.
- Decay of weights acts on log_rates, to the optimizer a matrix like others; the first source leaves it out.

The convolution is K shifted products rather than torch's: as fast or faster on one core, without moving time to the end and back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Initial, Port, Projection, Site, TimeMixer
from nnn_bench.models.precision import wide
from nnn_bench.models.selective_scan import selective_scan, selective_step

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

_LEAST_STEP, _MOST_STEP = 0.001, 0.1


class Options(Settings):
    """`projection` makes every map that has none of its own; `rank` left out is a sixteenth of the width, rounded up."""

    inner: PositiveInt
    state: PositiveInt = 32
    rank: PositiveInt | None = None
    convolution: PositiveInt = 4
    step_bias: bool = True
    projection: Component
    in_projection: Component | None = None
    parameter_projection: Component | None = None
    step_projection: Component | None = None
    out_projection: Component | None = None


class State(NamedTuple):
    """The last inputs of the convolution, oldest first `(B, K - 1, D)`, and s `(B, D, N)`."""

    recent: Tensor
    scan: Tensor


class Mamba(TimeMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.inner, self.state = site.hidden(options.inner), options.state
        self.rank = options.rank or math.ceil(site.width / 16)

        def made(own: Component | None, name: str, inputs: int, outputs: int, share: float = 1.0) -> Projection:
            """A map born uniform in +- share / sqrt(inputs)."""
            initial = Initial(share / (3 * inputs) ** 0.5, uniform=True)
            return builder.projector(own or options.projection)(Port(name, inputs, outputs, initial))

        self.input = made(options.in_projection, "input", site.width, 2 * self.inner)
        self.parameter = made(options.parameter_projection, "parameter", self.inner, self.rank + 2 * self.state)
        self.step_size = made(options.step_projection, "step_size", self.rank, self.inner)
        self.out = made(options.out_projection, "out", self.inner, site.width, site.layers**-0.5)
        around = Initial((3 * options.convolution) ** -0.5, uniform=True)
        self.convolution = nn.Parameter(around.fill_(torch.empty(options.convolution, self.inner)))  # oldest first
        self.convolution_bias = nn.Parameter(around.fill_(torch.empty(self.inner)))
        self.step_bias = nn.Parameter(_fresh_bias(self.inner)) if options.step_bias else None
        self.log_rates = nn.Parameter(torch.arange(1.0, self.state + 1).log().repeat(self.inner, 1))
        self.skip = nn.Parameter(torch.ones(self.inner))

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        u, gate = self.input(x).chunk(2, dim=-1)
        u = F.silu(self._convolved(u))
        return self._output(u, selective_scan(u, *self._followed(u)), gate)

    def initial_state(self, batch: int) -> State:
        like = wide(self.skip)
        return State(
            like.new_zeros(batch, len(self.convolution) - 1, self.inner),
            like.new_zeros(batch, self.inner, self.state),
        )

    def step(self, x: Tensor, state: State, shared: nn.Module | None = None) -> tuple[Tensor, State]:
        u, gate = self.input(x).chunk(2, dim=-1)  # (B, D)
        window = torch.cat([state.recent, u.unsqueeze(1)], dim=1)
        u = F.silu((window * self.convolution).sum(dim=1) + self.convolution_bias)
        y, scan = selective_step(u, *self._followed(u), state.scan)
        return self._output(u, y, gate), State(window[:, 1:], scan)

    def _convolved(self, u: Tensor) -> Tensor:
        T, weights = u.shape[1], self.convolution.flip(0)
        y = u * weights[0] + self.convolution_bias
        for back in range(1, min(len(weights), T)):
            y = y + F.pad(u[:, : T - back] * weights[back], (0, 0, back, 0))
        return y

    def _followed(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Dt, A, B and C where the convolution gave `u (..., D)`."""
        low, into, out_of = self.parameter(u).split([self.rank, self.state, self.state], dim=-1)
        step_size = wide(self.step_size(low))
        if self.step_bias is not None:
            step_size = step_size + self.step_bias
        return F.softplus(step_size), -torch.exp(wide(self.log_rates)), into, out_of

    def _output(self, u: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        return self.out((y + self.skip * u) * F.silu(gate))

    def flops(self, context: int) -> Flops:
        return self.step_flops(context)

    def step_flops(self, past: int) -> Flops:
        maps = self.input.flops() + self.parameter.flops() + self.step_size.flops() + self.out.flops()
        # convolution; SiLU twice; softplus, b; Dt u, skip twice, gate
        single = 2 * len(self.convolution) + 4 + 3 + (0 if self.step_bias is None else 1) + 4
        # exponent and its exponential, state and drive in three, answer in two
        return maps + elementwise(self.inner, single) + elementwise(self.inner * self.state, 7)


def _fresh_bias(width: int) -> Tensor:
    """What softplus takes to numbers drawn evenly between the logarithms of the least and the most step."""
    step = torch.empty(width).uniform_(math.log(_LEAST_STEP), math.log(_MOST_STEP)).exp()
    return step.expm1().log()


Part = Mamba
