"""The gated linear recurrence of the MatMul-free network (MLGRU).

i, f, g = P_i u, P_f u, P_g u                               (B, T, C), P ternary in the source
F_t = lower + (1 - lower) sigmoid(f_t)                      lower: one bound per layer and channel, rising with depth
h_t = F_t h_{t-1} + (1 - F_t) SiLU(i_t),  h_{-1} = 0        state: C floats, whatever the context
o_t = P_o( RMSNorm_w(g_t) h_t sigmoid(h_t) )                output_gate `code`
o_t = P_o( sigmoid(g_t) h_t )                               output_gate `paper`

Source: arXiv 2406.02528. Its code gates with SiLU(h) and normalises the gate; its paper writes the second form. The bounds
of all layers come from one (layers, C) parameter G: the cumulative sum over layers of softmax_layers(G), shifted so that the
first layer is bounded by 0; zero at birth, which spaces the bounds evenly. The variant `matmul_free` has a dense head where the
source has a ternary one: heads stay dense in matched studies, so that no capacity hides there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.norms import norm, norm_flops
from nnn_bench.models.parts import Initial, Port, Site, TimeMixer
from nnn_bench.models.precision import wide
from nnn_bench.models.recurrence import linear_recurrence

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    output_gate: Literal["code", "paper"] = "code"
    projection: Component


class ForgetBounds(nn.Module):
    """Least forget gate of every layer and channel, `(layers, C)`, learned together."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers, width))

    def forward(self, layer: int) -> Tensor:
        shares = self.logits.softmax(dim=0)
        return shares[1 : layer + 1].sum(dim=0)


class MLGRU(TimeMixer):
    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.width, self.layer, self.layers = site.width, site.layer, site.layers
        # Xavier-uniform with gain 2^-2.5, as the published code initialises the maps of its mixer
        initial = Initial(2**-2.5 / site.width**0.5, uniform=True)
        project = builder.projector(options.projection)
        self.input = project(Port("input", site.width, site.width, initial))
        self.forget = project(Port("forget", site.width, site.width, initial))
        self.gate = project(Port("gate", site.width, site.width, initial))
        self.out = project(Port("out", site.width, site.width, initial))
        self.gate_norm = norm("rms", site.width) if options.output_gate == "code" else None

    @staticmethod
    def shared(width: int, layers: int) -> nn.Module | None:
        return ForgetBounds(width, layers) if layers > 1 else None  # the first layer has no bound

    def forward(self, x: Tensor, shared: nn.Module | None = None) -> Tensor:
        decay, drive = self._recurrence(x, shared)
        return self._output(x, linear_recurrence(decay, drive))

    def initial_state(self, batch: int) -> Tensor:
        return wide(next(self.parameters())).new_zeros(batch, self.width)

    def step(self, x: Tensor, state: Tensor, shared: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        decay, drive = self._recurrence(x, shared)
        state = decay * state + drive
        return self._output(x, state), state

    def _recurrence(self, x: Tensor, shared: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Decay and drive of the state, the same shape as `x`."""
        # in float32 at least: in half precision a gate near one would round to one, and the state never forget
        forget, new = wide(self.forget(x)), wide(self.input(x))
        keep = torch.sigmoid(forget)
        if self.layer > 0:
            assert isinstance(shared, ForgetBounds)
            keep = torch.lerp(keep, torch.ones_like(keep), shared(self.layer))
        return keep, (1 - keep) * F.silu(new)

    def _output(self, x: Tensor, state: Tensor) -> Tensor:
        gate = wide(self.gate(x))
        if self.gate_norm is not None:
            return self.out(self.gate_norm(gate) * F.silu(state))
        return self.out(torch.sigmoid(gate) * state)

    def flops(self, context: int) -> Flops:
        return self.step_flops(context)

    def step_flops(self, past: int) -> Flops:
        maps = self.input.flops() + self.forget.flops() + self.gate.flops() + self.out.flops()
        # sigmoid; 1 - F, SiLU, product; multiply-add; then either SiLU and product, or sigmoid and product
        gates = elementwise(self.width, 1 + 4 + 2) + (elementwise(self.width, 3) if self.layer > 0 else Flops())
        if self.gate_norm is not None:
            return maps + gates + norm_flops("rms", self.width) + elementwise(self.width, 3)
        return maps + gates + elementwise(self.width, 2)


Part = MLGRU
