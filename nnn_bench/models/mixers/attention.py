"""Causal multi-head self-attention, as in GPT-2.

q, k, v = W_qkv x; y_t = W_o concat_h softmax_{s<=t}(q_t . k_s / sqrt(D)) v_s, with D = width / heads.
Source: Radford et al. 2019. One map makes q, k and v; for projections that work unit by unit that is the same as three, while
those that decide or mix as a whole (layer_selection, ternary, axis) decide once for all three.
With a map of its own for one of them there are three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.cache import Cache
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Port, Projection, Site, TimeMixer

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    """`projection` makes every map that has none of its own."""

    heads: PositiveInt
    projection: Component
    query_projection: Component | None = None
    key_projection: Component | None = None
    value_projection: Component | None = None
    out_projection: Component | None = None


class SideBySide(Projection):
    """Several maps of one input, their outputs joined: `(..., inputs) -> (..., sum of outputs)`."""

    def __init__(self, maps: dict[str, Projection]):
        super().__init__()
        self.maps = nn.ModuleDict(maps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([made(x) for made in self.maps.values()], dim=-1)

    def flops(self) -> Flops:
        return sum((made.flops() for made in self.maps.values()), Flops())  # type: ignore[operator]


class Attention(TimeMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        if site.width % options.heads:
            raise builder.refuse("heads", f"is {options.heads}, which does not divide the width {site.width}")
        self.heads, self.width, self.context = options.heads, site.width, site.context
        named = {name: getattr(options, f"{name}_projection") for name in ("query", "key", "value")}
        if any(named.values()):
            self.query_key_value: Projection = SideBySide(
                {
                    name: builder.projector(own or options.projection)(Port(name, site.width, site.width))
                    for name, own in named.items()
                }
            )
        else:
            project = builder.projector(options.projection)
            self.query_key_value = project(Port("query_key_value", site.width, 3 * site.width))
        project = builder.projector(options.out_projection or options.projection)
        self.out = project(Port("out", site.width, site.width, site.residual))

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.query_key_value(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))  # (B, T, H, D) -> (B, T, C)

    def initial_state(self, batch: int) -> Cache:
        return Cache.empty(next(self.parameters()), batch, self.heads, self.context, self.width)

    def step(self, x: Tensor, state: Cache, shared: nn.Module | None = None) -> tuple[Tensor, Cache]:
        q, k, v = self.query_key_value(x).view(x.shape[0], 3, self.heads, -1).unbind(1)  # (B, H, D)
        state = state.extended(k, v)
        y = F.scaled_dot_product_attention(q.unsqueeze(2), *state.filled)
        return self.out(y.reshape(x.shape)), state

    def flops(self, context: int) -> Flops:
        return self.step_flops(context)  # the square of scores is computed whole, future half included

    def step_flops(self, past: int) -> Flops:
        scores = Flops(matrix=4 * self.width * past) + elementwise(self.heads * past, 6)  # scale, softmax in five
        return self.query_key_value.flops() + scores + self.out.flops()


Part = Attention
