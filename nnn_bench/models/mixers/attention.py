"""Causal multi-head self-attention, as in GPT-2.

q, k, v = W_qkv x; y_t = W_o concat_h softmax_{s<=t}(q_t . k_s / sqrt(D)) v_s, with D = width / heads.
`head_width` sets D apart from that: any number, or `width` for heads each as wide as the whole. W_o then takes heads x D.
Source: Radford et al. 2019. One map makes q, k and v; for projections that work unit by unit that is the same as three, while
those that decide or mix as a whole (layer_selection, ternary, axis) decide once for all three.
With a map of its own for one of them there are three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
    head_width: PositiveInt | Literal["width"] | None = None
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
        if options.head_width is None and site.width % options.heads:
            raise builder.refuse("heads", f"is {options.heads}, which does not divide the width {site.width}")
        self.heads, self.context = options.heads, site.context
        self.inner = self._inner(options, site.width)
        named = {name: getattr(options, f"{name}_projection") for name in ("query", "key", "value")}
        if any(named.values()):
            self.query_key_value: Projection = SideBySide(
                {
                    name: builder.projector(own or options.projection)(Port(name, site.width, self.inner))
                    for name, own in named.items()
                }
            )
        else:
            project = builder.projector(options.projection)
            self.query_key_value = project(Port("query_key_value", site.width, 3 * self.inner))
        project = builder.projector(options.out_projection or options.projection)
        self.out = project(Port("out", self.inner, site.width, site.residual))

    @staticmethod
    def _inner(options: Options, width: int) -> int:
        """Features of all heads together."""
        if options.head_width is None:
            return width
        return options.heads * (width if options.head_width == "width" else options.head_width)

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        B, T, _ = x.shape
        q, k, v = self.query_key_value(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, self.inner))  # (B, T, H, D) -> (B, T, H D)

    def initial_state(self, batch: int) -> Cache:
        return Cache.empty(next(self.parameters()), batch, self.heads, self.context, self.inner)

    def step(self, x: Tensor, state: Cache, shared: nn.Module | None = None) -> tuple[Tensor, Cache]:
        q, k, v = self.query_key_value(x).view(x.shape[0], 3, self.heads, -1).unbind(1)  # (B, H, D)
        state = state.extended(k, v)
        y = F.scaled_dot_product_attention(q.unsqueeze(2), *state.filled)
        return self.out(y.reshape(-1, self.inner)), state

    def flops(self, context: int) -> Flops:
        return self.step_flops(context)  # the square of scores is computed whole, future half included

    def step_flops(self, past: int) -> Flops:
        scores = Flops(matrix=4 * self.inner * past) + elementwise(self.heads * past, 6)  # scale, softmax in five
        return self.query_key_value.flops() + scores + self.out.flops()


Part = Attention
