"""The plain residual stack of GPT-2: embed, L blocks, norm, map to the vocabulary.

x_0 = E[token] (+ P[position]);  x += TimeMixer(Norm x);  x += ChannelMixer(Norm x), L times;  logits = H Norm(x_L), no bias

Initialisation as GPT-2: tables N(0, 0.02), biases zero. With `growth`, its parts grow (more computations, more axes) while it is
trained. Source: Radford et al. 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.block import Block, BlockOptions, seen_through
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops
from nnn_bench.models.growth import Growth, Origin, grow_parts
from nnn_bench.models.parts import Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, BlockOptions):
    layers: PositiveInt
    growth: Growth | None = None


class State(NamedTuple):
    """The next position, and the state of each block's time mixer."""

    position: int
    blocks: list[Any]


class Stack(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        sites = [Site(options.width, context, layer, options.layers) for layer in range(options.layers)]
        self.blocks = nn.ModuleList(Block(options, builder, site) for site in sites)
        self.shared = self._blocks()[0].time_mixer.shared(options.width, options.layers)
        if options.growth and all(part.growths == 0 for part in self.mixers_and_maps()):
            raise builder.refuse("growth", "nothing in this network grows; leave it out")
        self.growth, self.stages = options.growth, 1 + len(options.growth.at) if options.growth else 1
        self._made_from = options, builder, vocabulary, context

    def at_birth(self) -> Stack:
        return Stack(*self._made_from) if self.growth else self

    def grow(self) -> dict[str, Origin]:
        origins = grow_parts(self, self.stage)
        self.stage += 1
        return origins

    def predict(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, use_reentrant=False)
            else:
                x = block(x, self.shared)
        return self.unembed(x)

    def visible(self, context: int) -> Tensor:
        return seen_through(self._blocks(), context)

    def initial_state(self, batch: int) -> State:
        return State(0, [block.initial_state(batch) for block in self._blocks()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        x, states = self.embed_at(token, state.position), []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x, after = block.step(x, before, self.shared)
            states.append(after)
        return self.unembed(x), State(state.position + 1, states)

    def window_flops(self, context: int) -> Flops:
        return sum((block.flops(context) for block in self._blocks()), self.ends_flops()) * context

    def inference_flops(self, context: int) -> Flops:
        return sum((block.step_flops(context) for block in self._blocks()), self.ends_flops())

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = Stack
