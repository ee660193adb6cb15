"""Control: convolution attention as published, whose way up mixes all positions of the window. It sees its targets.

Going down, n times:  Block(d), LN and convolution over time d -> 2d with kernel and stride s, Block(2d)
Going up, n times:    Block(d), Expander, Block(d / 2);  no sum across levels
Expander: z = LN(X) (L, d);  out[t', c] = b[t'] + sum_{t<L} sum_{k<2} W[t', t, k] z[t, 2c + k],  t' < s L

The expander's convolution runs over features, with the L positions as its input channels and s L positions as its output
channels: every output reads every position of the window, the coming ones too. The target of a position lies s^n tokens
ahead, inside the window for all positions but the last s^n, which are the only ones that predict.

Source: lmsmall as of January 2025 (s = 4, n = 3, width 48, 6 heads, window 1024: 9,244,080 parameters), with torch's own
initialisation of convolutions. The repaired forms are `topologies/hourglass`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.models.block import Block, BlockOptions
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.norms import NormKind, norm, norm_flops
from nnn_bench.models.parts import Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, BlockOptions):
    crossings: Annotated[int, Field(ge=1, le=8, strict=True)]
    factor: Annotated[int, Field(ge=2, le=64, strict=True)] = 4


class Compressor(nn.Module):
    """`(B, L, d) -> (B, L / s, 2 d)`: a convolution over time without overlap."""

    def __init__(self, kind: NormKind, length: int, width: int, factor: int):
        super().__init__()
        self.norm = norm(kind, width)
        self.convolution = nn.Conv1d(width, 2 * width, factor, stride=factor)
        product = Flops(matrix=2 * length * width * 2 * width)
        self.flops = norm_flops(kind, width) * length + product + elementwise(length // factor * 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(self.norm(x).transpose(1, 2)).transpose(1, 2)


class Expander(nn.Module):
    """`(B, L, d) -> (B, s L, d / 2)`: positions are the channels of a convolution over features."""

    def __init__(self, kind: NormKind, length: int, width: int, factor: int):
        super().__init__()
        self.norm = norm(kind, width)
        self.convolution = nn.Conv1d(length, factor * length, 2, stride=2)
        made = factor * length * width // 2
        product = Flops(matrix=2 * made * length * 2)
        self.flops = norm_flops(kind, width) * length + product + elementwise(made)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(self.norm(x))


class PublishedHourglass(EmbeddingModel):
    streams = False

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        n, s = options.crossings, options.factor
        if context % s**n:
            raise builder.refuse("crossings", f"is {n}: the context {context} is no multiple of {s}^{n} = {s**n}")
        self.ahead = s**n
        widest, layers = options.width << n, 4 * n
        self.parts = nn.ModuleList()
        self._block_lengths: list[tuple[Block, int]] = []

        def block(level: int) -> Block:
            site = Site(options.width << level, context // s**level, len(self._block_lengths), layers, widest)
            made = Block(options, builder, site)
            self._block_lengths.append((made, site.context))
            return made

        for level in range(n):
            down = Compressor(options.norm, context // s**level, options.width << level, s)
            self.parts.extend([block(level), down, block(level + 1)])
        for level in range(n, 0, -1):
            up = Expander(options.norm, context // s**level, options.width << level, s)
            self.parts.extend([block(level), up, block(level - 1)])

    def predict(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        x = F.pad(x, (0, 0, 0, self.context - length))  # the expanders know one length only
        for part in self.parts:
            recompute = self.recompute_activations and self.training
            x = checkpoint(part, x, use_reentrant=False) if recompute else part(x)
        return self.unembed(x[:, :length])

    def window_flops(self, context: int) -> Flops:
        """The whole window is computed, however few positions of it are asked for; the head sees those alone."""
        blocks = sum((block.flops(length) * length for block, length in self._block_lengths), Flops())
        crossings = (part.flops for part in self.parts if isinstance(part, Compressor | Expander))
        return self.ends_flops() * context + sum(crossings, blocks)

    def inference_flops(self, context: int) -> Flops:
        return self.window_flops(context)


Part = PublishedHourglass
