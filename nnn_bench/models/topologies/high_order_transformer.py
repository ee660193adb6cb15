"""The high-order transformer: piecewise polynomials throughout, and as its author meant it, attention over time.

x = e(token) + P[position]                                       e and the way to the logits: `models/numbered.py`
s = scale x;  r = TimeMixer(s) + s;  x = r, L times              with a channel mixer: s = scale r; x = s + ChannelMixer(s)
logits_t = answer(r_t)                                           readout `position`
logits_t = answer( (1 / (t + 1)) sum_{s<=t} r_s )                readout `mean`

The stream itself is scaled before each mixer, and never in front of the answer; the scaling has no parameters. In the source the
time mixer is attention with heads as wide as the whole (`head_width: width`), whose outgoing map M is three maps in a row
(`out_projection: {kind: chain, maps: 3, input_scale: layer}`), and there is no channel mixer. Any time mixer may stand there.

Source: language-interpolation (d_model 8, 4 heads, 3 blocks, M hidden 128; two nodes and two segments: 275,440 parameters, of
which 976 are gains and biases of norms that were never trained). What is repaired: the softmax runs over time, causally (there
over the heads inside each position); positions are those in the window (there the row in the batch), from a learned table as in
the other topologies (there sinusoids); the embedding is not doubled; logits are not normalised; the first block has its residual
too. Departure: the answer is read from its own position. The source reads the mean over all of a window, the only thing there
that mixes positions; a causal network gets its past from attention, and under a mean the last character would weigh as little as
any other. `readout: mean` is the source's, as a running mean. `published/high_order_transformer` is the network as coded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.numbered import NumberedModel, NumberedOptions
from nnn_bench.models.parts import Initial, Site, TimeMixer
from nnn_bench.models.scaling import scaled, scaling_flops

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class Options(NumberedOptions):
    layers: PositiveInt
    positions: Literal["learned", "none"] = "learned"
    readout: Literal["position", "mean"] = "position"
    mixer: Component
    channel_mixer: Component | None


class State(NamedTuple):
    """The next position, the sum of all blocks' results so far `(B, C)`, and the state of each block's time mixer."""

    position: int
    total: Tensor
    blocks: list[Any]


class ScaledBlock(nn.Module):
    """s + TimeMixer(s), then s + ChannelMixer(s) where there is one, s the scaled stream each time."""

    def __init__(self, options: Options, builder: Builder, site: Site):
        super().__init__()
        self.width, self.scale = site.width, options.scale
        self.time_mixer: TimeMixer = builder.time_mixer(options.mixer, site)
        self.channel_mixer = None
        if options.channel_mixer is not None:
            self.channel_mixer = builder.channel_mixer(options.channel_mixer, site)

    def forward(self, x: Tensor, shared: nn.Module | None) -> Tensor:
        x = scaled(self.scale, x)
        return self._mixed_channels(x + self.time_mixer(x, shared))

    def step(self, x: Tensor, state: Any, shared: nn.Module | None) -> tuple[Tensor, Any]:
        x = scaled(self.scale, x)
        mixed, state = self.time_mixer.step(x, state, shared)
        return self._mixed_channels(x + mixed), state

    def _mixed_channels(self, x: Tensor) -> Tensor:
        if self.channel_mixer is None:
            return x
        x = scaled(self.scale, x)
        return x + self.channel_mixer(x)

    def around(self, mixing: Flops) -> Flops:
        """Operations per token, those of the time mixer being `mixing`."""
        scale_and_sum = scaling_flops(self.scale, self.width) + elementwise(self.width)
        if self.channel_mixer is None:
            return mixing + scale_and_sum
        return mixing + self.channel_mixer.flops() + scale_and_sum * 2


class HighOrderTransformer(NumberedModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        self.positions = None
        if options.positions == "learned":
            self.positions = nn.Parameter(Initial().fill_(torch.empty(context, options.width)))
        sites = [Site(options.width, context, layer, options.layers) for layer in range(options.layers)]
        self.blocks = nn.ModuleList(ScaledBlock(options, builder, site) for site in sites)
        self.shared = self._blocks()[0].time_mixer.shared(options.width, options.layers)
        self.readout = options.readout

    def embed(self, tokens: Tensor) -> Tensor:
        x = self.vectors(tokens)
        return x if self.positions is None else x + self.positions[: tokens.shape[1]]

    def predict(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, use_reentrant=False)
            else:
                x = block(x, self.shared)
        if self.readout == "mean":
            x = x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(-1)
        return self.logits(x)

    def initial_state(self, batch: int) -> State:
        nothing = self.embedding.new_zeros(batch, self.width)
        return State(0, nothing, [block.time_mixer.initial_state(batch) for block in self._blocks()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        x, states = self.vectors(token), []
        x = x if self.positions is None else x + self.positions[state.position]
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x, after = block.step(x, before, self.shared)
            states.append(after)
        seen, total = state.position + 1, state.total + x
        return self.logits(total / seen if self.readout == "mean" else x), State(seen, total, states)

    def table_parameters(self) -> Iterable[nn.Parameter]:
        tables = super().table_parameters()
        return tables if self.positions is None else [*tables, self.positions]

    def window_flops(self, context: int) -> Flops:
        mixing = (block.around(block.time_mixer.flops(context)) for block in self._blocks())
        return sum(mixing, self._ends_flops()) * context

    def inference_flops(self, context: int) -> Flops:
        mixing = (block.around(block.time_mixer.step_flops(context)) for block in self._blocks())
        return sum(mixing, self._ends_flops())

    def _ends_flops(self) -> Flops:
        placed = elementwise(0 if self.positions is None else self.width)
        return self.ends_flops() + placed + elementwise(self.width, 2 if self.readout == "mean" else 0)

    def _blocks(self) -> list[ScaledBlock]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = HighOrderTransformer
