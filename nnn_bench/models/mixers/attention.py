"""Causal multi-head self-attention, as in GPT-2.

q, k, v = W_qkv x; y_t = W_o concat_h softmax_{s<=t}(q_t . k_s / sqrt(D)) v_s, with D = width / heads.
Source: Radford et al. 2019. One map makes q, k and v; for projections that work unit by unit that is the same as three.
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

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    heads: PositiveInt
    projection: Component


class Cache(NamedTuple):
    """Keys and values of the positions seen so far, `(B, H, context, D)`, of which the first `length` are filled."""

    keys: Tensor
    values: Tensor
    length: int


class Attention(TimeMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        if site.width % options.heads:
            raise builder.refuse("heads", f"is {options.heads}, which does not divide the width {site.width}")
        self.heads, self.width, self.context = options.heads, site.width, site.context
        project = builder.projector(options.projection)
        self.query_key_value = project(Port("query_key_value", site.width, 3 * site.width))
        self.out = project(Port("out", site.width, site.width, site.residual))

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.query_key_value(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))  # (B, T, H, D) -> (B, T, C)

    def initial_state(self, batch: int) -> Cache:
        reference = next(self.parameters())
        empty = reference.new_zeros(2, batch, self.heads, self.context, self.width // self.heads)
        return Cache(empty[0], empty[1], 0)

    def step(self, x: Tensor, state: Cache, shared: nn.Module | None = None) -> tuple[Tensor, Cache]:
        if state.length >= self.context:
            raise ValueError(f"the cache holds {self.context} positions and is full")
        q, k, v = self.query_key_value(x).view(x.shape[0], 3, self.heads, 1, -1).unbind(1)  # (B, H, 1, D)
        with torch.no_grad():
            state.keys[:, :, state.length] = k[:, :, 0]
            state.values[:, :, state.length] = v[:, :, 0]
        length = state.length + 1
        y = F.scaled_dot_product_attention(q, state.keys[:, :, :length], state.values[:, :, :length])
        return self.out(y.reshape(x.shape)), Cache(state.keys, state.values, length)

    def flops(self, context: int) -> Flops:
        return self.step_flops(context)  # the square of scores is computed whole, future half included

    def step_flops(self, past: int) -> Flops:
        scores = Flops(matrix=4 * self.width * past) + elementwise(self.heads * past, 6)  # scale, softmax in five
        return self.query_key_value.flops() + scores + self.out.flops()


Part = Attention
