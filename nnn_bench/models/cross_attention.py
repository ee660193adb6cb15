"""Causal multi-head attention of one stream to another: queries from the first, keys and values from the second.

q = W_q x;  k, v = W_kv y;  out_t = W_o concat_h softmax_{s<=t}(q_t . k_s / sqrt(D)) v_s,  D = width / heads

Position t of one stream sees the other one up to t, itself included. Source: the cross-node attention of
Abiaselli/node_neuron_network. One map makes keys and values, so that the keys' bias, to which a softmax over time is blind, is
no parameter tensor of its own without a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.models.cache import Cache
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Port, Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class CrossAttention(nn.Module):
    def __init__(self, heads: int, projection: Component, builder: Builder, site: Site):
        super().__init__()
        if site.width % heads:
            raise builder.refuse("heads", f"is {heads}, which does not divide the width {site.width}")
        self.heads, self.width, self.context = heads, site.width, site.context
        project = builder.projector(projection)
        self.query = project(Port("cross_query", site.width, site.width))
        self.key_value = project(Port("cross_key_value", site.width, 2 * site.width))
        self.out = project(Port("cross_out", site.width, site.width, site.residual))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """`(B, T, C)`: what the positions of `x (B, T, C)` hear from `y (B, T, C)`."""
        q, k, v = self._heads(x, y)
        heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(heard.transpose(1, 2).flatten(2))  # (B, T, H, D) -> (B, T, C)

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        """How much position t of `x` attends to each position of `y`, `(B, T, T)`: averaged over heads, rows sum to one."""
        q, k, _ = self._heads(x, y)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, H, T, T)
        future = torch.ones_like(scores, dtype=torch.bool).triu(1)
        return scores.masked_fill(future, float("-inf")).softmax(dim=-1).mean(dim=1)

    def initial_state(self, batch: int) -> Cache:
        return Cache.empty(next(self.parameters()), batch, self.heads, self.context, self.width)

    def step(self, x: Tensor, y: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """One position of both streams, `(B, C)` each. The given state is overwritten."""
        q, k, v = self._heads(x.unsqueeze(1), y.unsqueeze(1))  # (B, H, 1, D)
        state = state.extended(k[:, :, 0], v[:, :, 0])
        return self.out(F.scaled_dot_product_attention(q, *state.filled).flatten(1)), state

    def flops(self, context: int) -> Flops:
        """Forward operations per token of a window of `context`."""
        return self.step_flops(context)  # the square of scores is computed whole, future half included

    def step_flops(self, past: int) -> Flops:
        """Operations of one `step` that sees `past` positions, itself included."""
        scores = Flops(matrix=4 * self.width * past) + elementwise(self.heads * past, 6)  # scale, softmax in five
        return self.query.flops() + self.key_value.flops() + scores + self.out.flops()

    def _heads(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `(B, H, T, D)`."""
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(y).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v
