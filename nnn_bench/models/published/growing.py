"""Control: progressive diverging as published. After its first growth hardly anything is trained any more.

Depth 12 throughout; 3, then 6, then 12 distinct blocks, each copied from its ancestor. A grown block reads

  x += attention(LN x) + 2 change(LN x);  x += MLP(LN x)

`attention` is the frozen copy, and `change` a second, causal attention of rank 8 with its own queries, keys, values and softmax,
whose factors all start at random: growing changes the function, and the change can never be merged.

The published program makes the new blocks only while it runs, long after the optimizer was made, and never tells it: nothing of
them is trained, though nothing says so. Here the same is had by parameters that take no gradient and are not declared frozen. It
also tests without saying how far training has come, and so tests the path of the first stage with the tables of the last:
`eval()` does that here.

Source: lmsmall, its progressive network. The repaired form is `topologies/growing`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.block import Block, BlockOptions
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise, linear, one_sided
from nnn_bench.models.growth import Growth, Origin
from nnn_bench.models.parts import Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, BlockOptions):
    stages: list[PositiveInt] = Field(min_length=2)
    heads: PositiveInt
    rank: PositiveInt = 8
    growth: Growth


class RankLimitedAttention(nn.Module):
    """Attention of which every map is a product of two thin ones, with torch's own initialisation."""

    def __init__(self, width: int, heads: int, rank: int):
        super().__init__()
        self.heads, self.width, self.rank = heads, width, rank
        self.inward = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, 3 * width, bias=False))
        self.outward = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.inward(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.outward(y.transpose(1, 2).reshape(B, T, C))  # (B, T, H, D) -> (B, T, C)

    def flops(self, past: int) -> Flops:
        C, r = self.width, self.rank
        scores = Flops(matrix=4 * C * past) + elementwise(self.heads * past, 6)
        # nothing here learns, but the gradient passes through: every map skips half of its backward pass
        maps = linear(C, r) * 2 + linear(r, 3 * C) + linear(r, C)
        return one_sided(maps) + scores + elementwise(C, 2)


class GrownBlock(nn.Module):
    """A copied block and its second attention."""

    def __init__(self, block: Block, change: RankLimitedAttention):
        super().__init__()
        self.block, self.change = block, change

    def forward(self, x: Tensor, shared: nn.Module | None) -> Tensor:
        seen = self.block.time_norm(x)
        return self.block.mixed_channels(x + self.block.time_mixer(seen, shared) + 2 * self.change(seen))


class PublishedGrowing(EmbeddingModel):
    preserves_function = False
    streams = False

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        if options.width % options.heads:
            raise builder.refuse("heads", f"is {options.heads}, which does not divide the width {options.width}")
        self.options, self.growth, self.stages = options, options.growth, len(options.stages)
        if len(options.growth.at) != self.stages - 1:
            raise builder.refuse("growth.at", f"must hold {self.stages - 1} shares, one for each stage after the first")
        self._made_from = options, builder, vocabulary, context
        depth, first = options.stages[-1], options.stages[0]
        sites = [Site(options.width, context, index * depth // first, depth) for index in range(first)]
        self.blocks = nn.ModuleList(Block(options, builder, site) for site in sites)
        self.grown_blocks = nn.ModuleList()
        self.shared = self._first_blocks()[0].time_mixer.shared(options.width, depth)

    def at_birth(self) -> PublishedGrowing:
        return PublishedGrowing(*self._made_from)

    def grow(self) -> dict[str, Origin]:
        options, stage = self.options, self.stage + 1
        old, new = options.stages[stage - 1], options.stages[stage]
        ancestors = [self._distinct(stage - 1)[index * old // new] for index in range(new)]
        blocks = [one.block if isinstance(one, GrownBlock) else one for one in ancestors]
        self.grown_blocks = nn.ModuleList(
            GrownBlock(
                copy.deepcopy(block),
                RankLimitedAttention(self.width, options.heads, options.rank).to(self.embedding.device),
            ).to(self.embedding.dtype)
            for block in blocks
        )
        for parameter in (*self.blocks.parameters(), *self.grown_blocks.parameters()):
            parameter.requires_grad_(False)
        self.stage = stage
        return {name: Origin(name) for name, parameter in self.named_parameters() if parameter.requires_grad}

    def predict(self, x: Tensor) -> Tensor:
        distinct = self._distinct(self.stage if self.training else 0)
        depth = self.options.stages[-1]
        for place in range(depth):
            x = distinct[place * len(distinct) // depth](x, self.shared)
        return self.unembed(x)

    def window_flops(self, context: int) -> Flops:
        depth = self.options.stages[-1]
        block = self._first_blocks()[0].flops(context)
        if self.stage:
            change = RankLimitedAttention(self.width, self.options.heads, self.options.rank).flops(context)
            # the block's maps are frozen too; attention's two products between activations are not maps
            maps = Flops(matrix=block.matrix - 4 * self.width * context)
            block = block + Flops(skipped=one_sided(maps).skipped) + change
        return (block * depth + self.ends_flops()) * context

    def inference_flops(self, context: int) -> Flops:
        return self.window_flops(context)

    def _distinct(self, stage: int) -> list[Any]:
        return list(self.grown_blocks if stage else self.blocks)

    def _first_blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = PublishedGrowing
