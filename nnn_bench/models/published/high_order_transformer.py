"""Control: the high-order transformer as published, which has no attention over time and no positions.

x = 2 e(token) + S[row]                      S[p] = sin and cos of p / 10000^(2 i / C), p the number of the row in the batch
s = scale x;  q, k, v = P s (heads x C)
v'_h = sum_h' softmax_h'(q_h . k_h' / sqrt(C)) v_h'             over the heads of one position
r = M(concat_h v'_h), in later blocks + s;  x = r               M: `out_projection`
logits = scale(answer(r_t))                                     readout `position`
logits = scale(answer( mean_{s<=t} r_s ))                       readout `mean`

- Nothing moves along time but the mean. With readout `position` an answer depends on its own character alone; with the source's
  `mean`, on all of them in any order: a bag of characters. The source answers once a window, here it is a running mean.
- The encoding of positions is added by row: what a row says depends on where in the batch it stands.
- Scaled logits have mean 0 and standard deviation 1 (`layer`), so that no answer is ever sure: the best of V = 128 costs
  ln(1 + (V - 1) exp(-V / sqrt(V - 1))) = 0.0015 nats, and a fresh network half a nat more than a uniform guess.
- The first block has no residual.

Source: language-interpolation at 1879681. As elsewhere in this project widths follow one knob; the ends (`models/numbered.py`)
are those of the repaired form, `topologies/high_order_transformer`. There is no `step`: an answer depends on its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.numbered import NumberedModel, NumberedOptions
from nnn_bench.models.parts import Initial, Port
from nnn_bench.models.scaling import scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(NumberedOptions):
    """Queries, keys and values are made by `mixer_projection`."""

    layers: PositiveInt
    heads: PositiveInt
    readout: Literal["position", "mean"] = "position"
    mixer_projection: Component
    out_projection: Component


class HeadsBlock(nn.Module):
    """M of what the heads of each position take from each other, `(..., C) -> (..., C)`, without a residual."""

    def __init__(self, options: Options, builder: Builder):
        super().__init__()
        self.heads, self.width = options.heads, options.width
        inner = options.heads * options.width
        project = builder.projector(options.mixer_projection)
        self.query_key_value = project(Port("query_key_value", options.width, 3 * inner))
        # as the repaired form is born: `Site.residual`
        last = Initial(0.02 / (2 * options.layers) ** 0.5)
        self.out = builder.projector(options.out_projection)(Port("out", inner, options.width, last))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query_key_value(x).unflatten(-1, (3, self.heads, self.width)).unbind(-3)  # (..., H, C)
        return self.out(F.scaled_dot_product_attention(q, k, v).flatten(-2))

    def flops(self) -> Flops:
        """Forward operations per token: scores of H heads with H heads; scale, softmax in five."""
        scores = Flops(matrix=4 * self.heads**2 * self.width) + elementwise(self.heads**2, 6)
        return self.query_key_value.flops() + scores + self.out.flops()


def sinusoids(rows: int, width: int, like: Tensor) -> Tensor:
    """`(rows, width)`: sines of p / 10000^(2 i / width) at even places, cosines at odd ones."""
    wide = torch.promote_types(like.dtype, torch.float32)
    even = torch.arange(0, width, 2, device=like.device, dtype=wide)
    angles = torch.arange(rows, device=like.device).unsqueeze(1) * 10000 ** (-even / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width].to(like.dtype)


class PublishedHighOrderTransformer(NumberedModel):
    streams = False

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        self.scale, self.readout = options.scale, options.readout
        self.blocks = nn.ModuleList(HeadsBlock(options, builder) for _ in range(options.layers))

    def embed(self, tokens: Tensor) -> Tensor:
        x = 2 * self.vectors(tokens)
        return x + sinusoids(len(x), self.width, x).unsqueeze(1)

    def predict(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = scaled(self.scale, x)
            recompute = self.recompute_activations and self.training
            mixed = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            x = mixed + x if number else mixed
        if self.readout == "mean":
            x = x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(-1)
        return scaled(self.scale, self.logits(x))

    def window_flops(self, context: int) -> Flops:
        around = scaling_flops(self.scale, self.width) + elementwise(self.width)
        blocks = sum((block.flops() + around for block in self._blocks()), Flops())
        # doubled, and a row's encoding added; the first block has no sum
        ends = self.ends_flops() + elementwise(self.width, 2 - 1) + scaling_flops(self.scale, self.vocabulary)
        return (blocks + ends + elementwise(self.width, 2 if self.readout == "mean" else 0)) * context

    def inference_flops(self, context: int) -> Flops:
        return self.window_flops(context)

    def _blocks(self) -> list[HeadsBlock]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = PublishedHighOrderTransformer
