"""The radix comb: fixed mixing over all of the past, in one step per digit of the position.

u = W_in x                                                        (B, T, H)
y_0 = u;  y_d[t] = sum_{q < b_d} w_d[phi_d(t), q] y_{d-1}[t - q s_d]    order `sequential`, v = y_D
v = sum_d (that sum, with u in place of y_{d-1})                  order `parallel`
out = W_out phi(v)                                                with `gate`: phi(v sigmoid(W_g u))

Radices b_1..b_D, strides s_1 = 1, s_d = b_1 ... b_{d-1}. Every lag below b_1 ... b_D is one sum of q_d s_d, so one sequential
layer sees all of a window that long, each position by exactly one path; a parallel one sees the lags q s_d alone, and D
layers all. A row of w_d per phi_d(t): one row (`toeplitz`), the digit of t on the axis (`shared`), t itself (`separate`).
Rows of the last axis that reach back to before the window are counted as the others are, and never act.
Source: the multidimensional layers, in the causal form of the specification (F1; computed as F2, see `radix.py`). The published
layer mixes time and features as axes alike, without masks; triangular masks on both axes of time would be blind
(`axial_attention.py`).

Departures. Groups of features have weights of their own, as attention has heads: with one w for all, what lies at two places of
the past is added up in the same features. The variants keep the learned positions and the channel mixer of `gpt2`, though
W_in and W_out mix features too, so that they differ from it in what moves information along time alone.

A path is a product of D weights, so every step is born keeping the variance of what it is given: half of it from the position
itself, w[., 0] = sqrt(1/2), and half from all lags alike, each w plus N(0, 1 / (2 b_d)). No path is lost in the product,
and none starts closed. (The source draws all from U(-a, a) with a = b_d^-1/2: a third of the variance at every step, and the
position itself no larger than a far one. One seed of 800 steps on text, 60,000 parameters, 64 characters: 2.93 nats, against
2.95 with all lags alike from N(0, 1 / b_d), and 2.99 with w[., 0] = 1 and the rest ten times smaller.) `parallel` adds D
steps: sqrt(1/2) / D and N(0, 1 / (2 D b_d)).

With `born_axes` the comb starts with its first axes and gets the next one at each growth, with w[., 0] = 1 and 0
elsewhere: that step passes what it is given, so growing changes no output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.activations import ActivationName, activation
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Initial, Port, Site, TimeMixer
from nnn_bench.models.radix import balanced, combed, combed_flops, strides

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder

_MOST_AXES = 16


class Options(Settings):
    """Either `radices` or, for the smallest balanced ones that span the context, the number of `axes`."""

    radices: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1, max_length=_MOST_AXES)] | None = None
    axes: int | None = Field(default=None, ge=1, le=_MOST_AXES)
    born_axes: PositiveInt | None = None
    sharing: Literal["toeplitz", "shared", "separate"] = "shared"
    order: Literal["sequential", "parallel"] = "sequential"
    groups: PositiveInt = 1
    hidden: PositiveInt | None = None
    activation: ActivationName = "gelu"
    partial_activation: bool = False
    gate: bool = False
    projection: Component
    in_projection: Component | None = None
    out_projection: Component | None = None

    @model_validator(mode="after")
    def _axes_once(self) -> Options:
        if (self.radices is None) == (self.axes is None):
            raise Inconsistent("give either radices, as [8, 8], or the number of axes", key="axes")
        number = self.axes if self.radices is None else len(self.radices)
        if self.born_axes is not None and number is not None and self.born_axes > number:
            raise Inconsistent(f"must be at most {number}, the number of axes", key="born_axes")
        if self.born_axes is not None and self.born_axes != number and self.order == "parallel":
            raise Inconsistent(
                "needs order: sequential; a parallel axis that passes its input adds it", key="born_axes"
            )
        return self


class State(NamedTuple):
    """The next position, and a ring of the last (b_d - 1) s_d inputs of each step, `(G, that many, B * H / G)`."""

    position: int
    rings: list[Tensor]


class Comb(TimeMixer):
    """`weights[d]`: `(G, rows, b_d)`, of the axes there are by now."""

    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.hidden = site.hidden(options.hidden) if options.hidden else site.width
        if self.hidden % options.groups:
            raise builder.refuse("groups", f"is {options.groups}, which does not divide the hidden width {self.hidden}")
        self.context, self.groups = site.context, options.groups
        self.sharing, self.order = options.sharing, options.order
        self.radices = options.radices or balanced(site.context, options.axes or 1)
        self.strides = strides(self.radices)
        for radix, stride in zip(self.radices, self.strides, strict=True):
            if stride >= site.context or radix > site.context:
                raise builder.refuse(
                    "radices" if options.radices else "axes",
                    f"an axis of {radix} steps of {stride} lies beyond the context of {site.context}: use fewer or smaller ones",
                )
        born = options.born_axes or len(self.radices)
        self.growths = len(self.radices) - born
        self.weights = nn.ParameterList(self._fresh(axis) for axis in range(born))
        self.partial = self._reach < site.context or (self.order == "parallel" and born > 1)
        project = builder.projector(options.projection)
        self.input = builder.projector(options.in_projection or options.projection)(Port("in", site.width, self.hidden))
        self.gate = project(Port("gate", self.hidden, self.hidden)) if options.gate else None
        self.activation = activation(
            options.activation, self.hidden, partial=options.partial_activation, builder=builder
        )
        self.out = builder.projector(options.out_projection or options.projection)(
            Port("out", self.hidden, site.width, site.residual)
        )

    def _shape(self, axis: int) -> tuple[int, int, int]:
        radix = self.radices[axis]
        return self.groups, {"toeplitz": 1, "shared": radix, "separate": self.context}[self.sharing], radix

    def _fresh(self, axis: int) -> nn.Parameter:
        summed = len(self.radices) if self.order == "parallel" else 1
        initial = Initial((2 * summed * self.radices[axis]) ** -0.5)
        weights = initial.fill_(torch.empty(self._shape(axis)))
        weights[..., 0] += 0.5**0.5 / summed
        return nn.Parameter(weights)

    @property
    def _reach(self) -> int:
        """The sequential steps there are by now see all lags below this."""
        return math.prod(self.radices[: len(self.weights)])

    def grow(self) -> dict[str, Origin]:
        passing = self.weights[0].new_zeros(self._shape(len(self.weights)))
        passing[..., 0] = 1
        self.weights.append(nn.Parameter(passing))
        self.partial = self._reach < self.context
        return {}

    def prunable(self) -> Iterable[nn.Parameter]:
        """The weights that a curve of density may thin out."""
        return list(self.weights)

    def sees(self, context: int) -> Tensor:
        lags = torch.zeros(context, dtype=torch.bool)
        if self.order == "sequential":
            lags[: self._reach] = True
        else:
            for radix, stride in zip(self.radices, self.strides, strict=True):
                lags[: radix * stride : stride] = True
        position = torch.arange(context)
        lag = position[:, None] - position
        return lags[lag.clamp(min=0)] & (lag >= 0)

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        B, T, _ = x.shape
        # time first: one step is then a few large products, whatever the batch
        u = self.input(x.transpose(0, 1).contiguous())  # (T, B, H)
        v = u.unflatten(2, (self.groups, -1)).permute(2, 0, 1, 3).reshape(self.groups, T, -1)  # (G, T, B H / G)
        v = self._mixed(v)
        v = v.unflatten(2, (B, -1)).permute(1, 2, 0, 3).reshape(u.shape)
        return self._output(u, v).transpose(0, 1)

    def _axes(self) -> list[tuple[Tensor, int, int]]:
        """Weights, radix and stride of each axis there is by now."""
        return list(zip(self.weights, self.radices, self.strides, strict=False))

    def _mixed(self, x: Tensor) -> Tensor:
        found = []
        for weights, _, stride in self._axes():
            found.append(combed(x, weights, stride, by_position=self.sharing == "separate"))
            x = found[-1] if self.order == "sequential" else x
        return self._joined(found)

    def _joined(self, found: list[Tensor]) -> Tensor:
        return found[-1] if self.order == "sequential" else torch.stack(found).sum(dim=0)

    def _output(self, u: Tensor, v: Tensor) -> Tensor:
        if self.gate is not None:
            v = v * torch.sigmoid(self.gate(u))
        return self.out(self.activation(v))

    def initial_state(self, batch: int) -> State:
        features = batch * self.hidden // self.groups
        rings = [w.new_zeros(self.groups, (radix - 1) * stride, features) for w, radix, stride in self._axes()]
        return State(0, rings)

    def step(self, x: Tensor, state: State, shared: nn.Module | None = None) -> tuple[Tensor, State]:
        u, position, found = self.input(x), state.position, []
        given = u.unflatten(1, (self.groups, -1)).transpose(0, 1).reshape(self.groups, 1, -1)  # (G, 1, B H / G)
        for (weights, radix, stride), ring in zip(self._axes(), state.rings, strict=True):
            size = ring.shape[1]
            places = [(position - lag * stride) % size for lag in range(1, radix)]
            past = torch.cat((given, ring[:, places]), dim=1)  # (G, b, B H / G), by lag
            row = {"toeplitz": 0, "shared": position // stride % radix, "separate": position}[self.sharing]
            found.append(weights[:, row, None] @ past)
            with torch.no_grad():
                ring[:, position % size] = given[:, 0]
            given = found[-1] if self.order == "sequential" else given
        v = self._joined(found).reshape(self.groups, len(x), -1).transpose(0, 1).reshape(u.shape)
        return self._output(u, v), State(position + 1, state.rings)

    def flops(self, context: int) -> Flops:
        steps = (combed_flops(context, radix, stride) for _, radix, stride in self._axes())
        # rounded down, where a window is not filled by whole blocks
        return self._around(sum(steps, Flops()) * self.hidden // context)

    def step_flops(self, past: int) -> Flops:
        return self._around(Flops(matrix=2 * self.hidden * sum(radix for _, radix, _ in self._axes())))

    def _around(self, mixing: Flops) -> Flops:
        mixing += elementwise(self.hidden, len(self.weights) - 1 if self.order == "parallel" else 0)
        around = self.input.flops() + mixing + self.activation.flops() + self.out.flops()
        if self.gate is not None:
            around += self.gate.flops() + elementwise(self.hidden, 2)
        return around


Part = Comb
