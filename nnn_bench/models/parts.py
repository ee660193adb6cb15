"""The three kinds of part a topology is made of, and what each is told about its place.

A part lives in one file of `projections/` or `mixers/`. The file declares `Options` (what its YAML may say) and binds its
class to the name `Part`; the builder calls `Part(options, builder, place)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnn_bench.models.flops import Flops
from nnn_bench.models.growth import Growable


@dataclass(frozen=True)
class Initial:
    """Distribution of fresh weights: zero mean, standard deviation `std`, normal or uniform."""

    std: float = 0.02
    uniform: bool = False

    def fill_(self, weight: Tensor) -> Tensor:
        if weight.is_meta:  # nothing to fill, and budgets count thousands of these
            return weight
        with torch.no_grad():
            if self.uniform:
                bound = self.std * 3.0**0.5
                return weight.uniform_(-bound, bound)
            return weight.normal_(0.0, self.std)


@dataclass(frozen=True)
class Site:
    """Where a mixer sits: `layer` of `layers`, on vectors of `width`, over at most `context` positions.

    `widest` is the greatest width in the network, where that is not one for all.
    """

    width: int
    context: int
    layer: int
    layers: int
    widest: int | None = None

    @property
    def residual(self) -> Initial:
        """GPT-2's initialisation of a map that writes to the residual stream: two such maps a layer."""
        return Initial(0.02 / (2 * self.layers) ** 0.5)

    def hidden(self, widest: int) -> int:
        """Hidden width here, in proportion, where the widest place of the network has `widest`."""
        return max(1, round(widest * self.width / (self.widest or self.width)))


@dataclass(frozen=True)
class Port:
    """What a projection connects: `inputs` to `outputs` features. `name` tells it from its siblings."""

    name: str
    inputs: int
    outputs: int
    initial: Initial = Initial()


class Part(Growable):
    """What mixers and projections have in common, towards whoever trains them."""

    decides: bool = False  # rounds or picks, so that a last bit may become a visible difference
    hears_progress: bool = False  # wants `progressed` before each training step
    #: While it is a list, every forward pass in training mode may append a term of the loss, in nats.
    auxiliary: list[Tensor] | None = None

    def progressed(self, share: float) -> None:
        """`share` of the run is done. A part that was never told behaves as at the end."""


class Projection(Part):
    """A map `(..., inputs) -> (..., outputs)`, position by position."""

    def flops(self) -> Flops:
        """Forward operations per token."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that are meant to stay as they are from now on."""
        return ()


class ChannelMixer(Part):
    """Mixes features, position by position: `(..., width) -> (..., width)`."""

    def flops(self) -> Flops:
        """Forward operations per token."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")


class TimeMixer(Part):
    """Moves information along time, causally: `(B, T, width) -> (B, T, width)`.

    `shared` is one module per model for what all layers of this mixer own together (`None` for most).
    """

    partial: bool = False  # one layer sees only part of its past: `sees` says which

    @staticmethod
    def shared(width: int, layers: int) -> nn.Module | None:
        return None

    def sees(self, context: int) -> Tensor:
        """Which positions s (columns) one layer brings to each position t (rows), `(T, T)`, bool."""
        return torch.ones(context, context, dtype=torch.bool).tril()

    def initial_state(self, batch: int) -> Any:
        """State before the first token. `step` may overwrite the state it is given."""
        raise TypeError(f"{type(self).__name__} has no state")

    def step(self, x: Tensor, state: Any, shared: nn.Module | None) -> tuple[Tensor, Any]:
        """One position: `(B, width)` and the state after the positions before it."""
        raise TypeError(f"{type(self).__name__} has no step")

    def flops(self, context: int) -> Flops:
        """Forward operations per token of a window of `context`."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def step_flops(self, past: int) -> Flops:
        """Operations of one `step` that sees `past` positions, itself included."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")
