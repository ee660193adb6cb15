"""The plain residual stack of GPT-2: embed, L blocks, norm, map to the vocabulary.

x_0 = E[token] (+ P[position]);  x += TimeMixer(Norm x);  x += ChannelMixer(Norm x), L times;  logits = H Norm(x_L), no bias

Initialisation as GPT-2: tables N(0, 0.02), biases zero. With a tied head H = E. Source: Radford et al. 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.norms import NormKind, norm, norm_flops
from nnn_bench.models.parts import Initial, Site, TimeMixer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class Options(Settings):
    width: PositiveInt
    layers: PositiveInt
    norm: NormKind = "layer"
    positions: Literal["learned", "none"] = "learned"
    tied_head: bool = True
    mixer: Component
    channel_mixer: Component


class Block(nn.Module):
    """x += TimeMixer(Norm x); x += ChannelMixer(Norm x)."""

    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.time_norm = norm(options.norm, site.width)
        self.time_mixer: TimeMixer = builder.time_mixer(options.mixer, site)
        self.channel_norm = norm(options.norm, site.width)
        self.channel_mixer = builder.channel_mixer(options.channel_mixer, site)

    def forward(self, x: Tensor, shared: nn.Module | None) -> Tensor:
        x = x + self.time_mixer(self.time_norm(x), shared)
        return x + self.channel_mixer(self.channel_norm(x))

    def step(self, x: Tensor, state: Any, shared: nn.Module | None) -> tuple[Tensor, Any]:
        mixed, state = self.time_mixer.step(self.time_norm(x), state, shared)
        x = x + mixed
        return x + self.channel_mixer(self.channel_norm(x)), state


class State(NamedTuple):
    """The next position, and the state of each block's time mixer."""

    position: int
    blocks: list[Any]


class Stack(LanguageModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__()
        self.options, self.vocabulary, self.context = options, vocabulary, context
        width, table = options.width, Initial(0.02)
        self.embedding = nn.Parameter(table.fill_(torch.empty(vocabulary, width)))
        self.positions = (
            nn.Parameter(table.fill_(torch.empty(context, width))) if options.positions == "learned" else None
        )
        self.blocks = nn.ModuleList(
            Block(options, builder, Site(width, context, layer, options.layers)) for layer in range(options.layers)
        )
        self.shared = self._blocks()[0].time_mixer.shared(width, options.layers)
        self.norm = norm(options.norm, width)
        self.head = None if options.tied_head else nn.Parameter(table.fill_(torch.empty(vocabulary, width)))

    def forward(self, tokens: Tensor) -> Tensor:
        x = F.embedding(tokens, self.embedding)  # (B, T, C)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, use_reentrant=False)
            else:
                x = block(x, self.shared)
        return F.linear(self.norm(x), self._head())

    def initial_state(self, batch: int) -> State:
        return State(0, [block.time_mixer.initial_state(batch) for block in self._blocks()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        x = F.embedding(token, self.embedding)  # (B, C)
        if self.positions is not None:
            x = x + self.positions[state.position]
        states = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x, after = block.step(x, before, self.shared)
            states.append(after)
        return F.linear(self.norm(x), self._head()), State(state.position + 1, states)

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return [self.embedding] if self.positions is None else [self.embedding, self.positions]

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return [] if self.head is None else [self.head]

    def forward_flops(self, context: int) -> Flops:
        return self._flops([block.time_mixer.flops(context) for block in self._blocks()])

    def inference_flops(self, context: int) -> Flops:
        return self._flops([block.time_mixer.step_flops(context) for block in self._blocks()])

    def _flops(self, time_mixers: list[Flops]) -> Flops:
        width, kind = self.options.width, self.options.norm
        total = linear(width, self.vocabulary) + norm_flops(kind, width)
        total += elementwise(0 if self.positions is None else width)
        for block, mixing in zip(self._blocks(), time_mixers, strict=True):
            residual = norm_flops(kind, width) * 2 + elementwise(2 * width)
            total += mixing + block.channel_mixer.flops() + residual
        return total

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _head(self) -> Tensor:
        return self.embedding if self.head is None else self.head


Part = Stack
