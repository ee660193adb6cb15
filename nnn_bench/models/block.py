"""The residual block that topologies are wired from: x += TimeMixer(Norm x); x += ChannelMixer(Norm x).

The second half is left out where `channel_mixer` is null, as in Mamba. Source: Radford et al. 2019 (norms before the mixers).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.norms import NormKind, norm, norm_flops
from nnn_bench.models.parts import Site, TimeMixer

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class BlockOptions(Settings):
    norm: NormKind = "layer"
    mixer: Component
    channel_mixer: Component | None


class Block(nn.Module):
    """`shared` is what the time mixers of all blocks own together; `scale` multiplies what the mixers add."""

    def __init__(self, options: BlockOptions, builder: Builder, site: Site):
        super().__init__()
        self.width, self._norm_kind = site.width, options.norm
        self.time_norm = norm(options.norm, site.width)
        self.time_mixer: TimeMixer = builder.time_mixer(options.mixer, site)
        self.channel_norm, self.channel_mixer = None, None
        if options.channel_mixer is not None:
            self.channel_norm = norm(options.norm, site.width)
            self.channel_mixer = builder.channel_mixer(options.channel_mixer, site)

    def forward(self, x: Tensor, shared: nn.Module | None = None, scale: Tensor | float | None = None) -> Tensor:
        x = x + _scaled(self.time_mixer(self.time_norm(x), shared), scale)
        return self.mixed_channels(x, scale)

    def mixed_channels(self, x: Tensor, scale: Tensor | float | None = None) -> Tensor:
        """The second half of the block alone."""
        if self.channel_norm is None or self.channel_mixer is None:
            return x
        return x + _scaled(self.channel_mixer(self.channel_norm(x)), scale)

    def initial_state(self, batch: int) -> Any:
        return self.time_mixer.initial_state(batch)

    def step(
        self, x: Tensor, state: Any, shared: nn.Module | None = None, scale: Tensor | float | None = None
    ) -> tuple[Tensor, Any]:
        mixed, state = self.time_mixer.step(self.time_norm(x), state, shared)
        return self.mixed_channels(x + _scaled(mixed, scale), scale), state

    def flops(self, context: int) -> Flops:
        """Forward operations per token of a window of `context`."""
        return self._around(self.time_mixer.flops(context))

    def step_flops(self, past: int) -> Flops:
        """Operations of one `step` that sees `past` positions, itself included."""
        return self._around(self.time_mixer.step_flops(past))

    def _around(self, mixing: Flops) -> Flops:
        norm_and_sum = norm_flops(self._norm_kind, self.width) + elementwise(self.width)
        if self.channel_mixer is None:
            return mixing + norm_and_sum
        return mixing + self.channel_mixer.flops() + norm_and_sum * 2


def seen_through(blocks: Iterable[Block], context: int) -> Tensor:
    """Which positions s (columns) reach each position t (rows) through `blocks` in a row, `(T, T)`, bool."""
    seen = torch.eye(context, dtype=torch.float64)
    for block in blocks:
        seen = ((block.time_mixer.sees(context).double() @ seen + seen) > 0).double()
    return seen > 0


def _scaled(x: Tensor, scale: Tensor | float | None) -> Tensor:
    return x if scale is None else x * scale
