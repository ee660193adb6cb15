"""Causal attention along one axis of time after the other: the control that has more axes and keeps attention.

Positions lie in rows of b, t = i b + j. q1, k1, v, q2, k2 = W x, five maps of (B, T, C) in one.

r[i, j] = sum_{j' <= j} softmax_{j'}(q1[i, j] . k1[i, j'] / sqrt(D)) v[i, j']        within the row
y[i, j] = sum_{i' <= i} softmax_{i'}(q2[i, j] . k2[i', j] / sqrt(D)) r[i', j]        within the column
out = W_o concat_h y                                                                 D = width / heads

Triangular masks on both axes are causal and blind: position (i', j') reaches (i, j) where i' <= i and j' <= j alone, so nothing
of an earlier row that stands further to the right, through however many layers. In rows of 16 that is 14,400 of the 32,896
pairs of a window of 256. `sees` says so, and the gate holds it to that; the comb (`comb.py`) has as many axes and sees all.
Source: the multidimensional layers with attention along each axis in turn, with the masks of the specification. Departure:
the column goes over what the row found, with no map of its own between, as the axes of those layers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Port, Site, TimeMixer
from nnn_bench.models.radix import balanced

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    """`row` is the length of a row; left out, rows and columns are about as long."""

    heads: PositiveInt
    row: PositiveInt | None = None
    projection: Component
    out_projection: Component | None = None


class State(NamedTuple):
    """The next position; keys and values of the present row, `(2, B, H, b, D)`, and of all columns, `(2, B, H, b, a, D)`."""

    position: int
    row: Tensor
    columns: Tensor


class AxialAttention(TimeMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        if site.width % options.heads:
            raise builder.refuse("heads", f"is {options.heads}, which does not divide the width {site.width}")
        self.heads, self.width, self.context = options.heads, site.width, site.context
        self.row = options.row or balanced(site.context, 2)[0]
        self.partial = self.row > 1 and site.context > self.row  # a single row or column is attention as it is
        project = builder.projector(options.projection)
        self.axes = project(Port("axes", site.width, 5 * site.width))
        self.out = builder.projector(options.out_projection or options.projection)(
            Port("out", site.width, site.width, site.residual)
        )

    def sees(self, context: int) -> Tensor:
        position = torch.arange(context)
        rows, columns = position // self.row, position % self.row
        return (rows[:, None] >= rows) & (columns[:, None] >= columns)

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        B, T, C = x.shape
        H, b, a = self.heads, self.row, self._rows(T)
        made = F.pad(self.axes(x), (0, 0, 0, a * b - T))  # what pads comes last: nobody sees it
        made = made.view(B, a, b, 5, H, C // H)
        q, k, v = made[:, :, :, :3].flatten(0, 1).permute(2, 0, 3, 1, 4).unbind(0)  # (B a, H, b, D)
        r = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        q, k = made[:, :, :, 3:].permute(3, 0, 2, 4, 1, 5).flatten(1, 2).unbind(0)  # (B b, H, a, D)
        r = r.view(B, a, H, b, -1).permute(0, 3, 2, 1, 4).flatten(0, 1)
        y = F.scaled_dot_product_attention(q, k, r, is_causal=True)
        return self.out(y.view(B, b, H, a, -1).permute(0, 3, 1, 2, 4).reshape(B, a * b, C)[:, :T])

    def initial_state(self, batch: int) -> State:
        a, b, D = self._rows(self.context), self.row, self.width // self.heads
        room = next(self.parameters()).new_zeros
        return State(0, room(2, batch, self.heads, b, D), room(2, batch, self.heads, b, a, D))

    def step(self, x: Tensor, state: State, shared: nn.Module | None = None) -> tuple[Tensor, State]:
        if state.position >= self.context:
            raise ValueError(f"the state holds {self.context} positions and is full")
        i, j = divmod(state.position, self.row)
        q1, k1, v, q2, k2 = self.axes(x).view(x.shape[0], 5, self.heads, -1).unbind(1)  # (B, H, D)
        row = _written(state.row, k1, v, j)
        r = F.scaled_dot_product_attention(q1.unsqueeze(2), *row)
        column = _written(state.columns[:, :, :, j], k2, r.squeeze(2), i)
        y = F.scaled_dot_product_attention(q2.unsqueeze(2), *column)
        return self.out(y.reshape(x.shape)), state._replace(position=state.position + 1)

    def flops(self, context: int) -> Flops:
        a, b = self._rows(context), self.row
        # both squares of scores are computed whole; rounded down, where the last row is not full
        return self._around((a + b) * a * b, context)

    def step_flops(self, past: int) -> Flops:
        i, j = divmod(past - 1, self.row)
        return self._around(i + 1 + j + 1, 1)

    def _rows(self, length: int) -> int:
        return -(-length // self.row)

    def _around(self, pairs: int, tokens: int) -> Flops:
        """The maps, and a share of `pairs` of positions that look at each other, for one of `tokens`."""
        scores = Flops(matrix=4 * self.width * pairs) + elementwise(self.heads * pairs, 6)  # scale, softmax in five
        return self.axes.flops() + scores // tokens + self.out.flops()


def _written(cache: Tensor, key: Tensor, value: Tensor, place: int) -> Tensor:
    """Keys and values up to `place` of `cache (2, B, H, n, D)`, once these `(B, H, D)` stand there; written in place."""
    with torch.no_grad():
        cache[:, :, :, place] = torch.stack((key, value))
    return cache[:, :, :, : place + 1]


Part = AxialAttention
