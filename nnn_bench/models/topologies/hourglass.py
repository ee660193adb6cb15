"""Convolution attention: attention at several granularities, the coarse ones on convolved positions, causal throughout.

Level l has width d_l = width 2^l and T_l = ceil(T_{l-1} / s) positions, T_0 = T. Let F_l map X (T_l, d_l):

  X = Before_l(X)                                              causal blocks at this granularity
  Z[i] = sum_{k<m} C_k LN(X)[s i - (m - 1) + k] + c            zeros before the start; (T_{l+1}, d_{l+1})
  Z = F_{l+1}(Z);  X[s i + r] += A_r LN(Z[i]) + a_r, r < s     one map per phase
  X = After_l(X)

The newest position in Z[i] is s i, and what Z[i] becomes is read from position s i on, so every coarse vector is a function of
positions up to its own place: nothing sees the future, at any number of levels. The price: coarse news is 0 to s - 1
positions old. `kernel` m > s lets neighbouring convolutions overlap further into the past, never into the future.

`alignment: block` is the published one instead: Z[i] convolves positions s i to s i + s - 1, so that position t may see up to
the end of its block of s^levels tokens. That is honest only for a target at least s^levels tokens `ahead`, and such a network has
no `step`. There `skip: false` drops the sum: what comes up replaces what went down, as published.

Source: the convolution-attention network of lmsmall. Departures: it convolves its own block (alignment `block`) and maps coarse
positions to fine ones by one dense map over all positions of the window, which sees every target (`published/hourglass`). It has
one block before and after each crossing; here `blocks` says how many each level has: the first half, rounded up, before going
down, the rest after coming up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.block import Block, BlockOptions
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.norms import norm, norm_flops
from nnn_bench.models.parts import Port, Projection, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, BlockOptions):
    blocks: list[PositiveInt] = Field(min_length=2, max_length=8)  # per level, the finest first
    factor: Annotated[int, Field(ge=2, le=64, strict=True)] = 4
    kernel: PositiveInt | None = None  # positions a convolution reads; the factor, unless more are asked for
    alignment: Literal["causal", "block"] = "causal"
    skip: bool = True
    crossing_projection: Component


class Level(nn.Module):
    """One granularity: its blocks, the way down to the next coarser level and back up (none at the coarsest)."""

    def __init__(self, options: Options, builder: Builder, context: int, index: int):
        super().__init__()
        levels, s = len(options.blocks), options.factor
        self.width, self.factor = options.width << index, s
        self.context = -(-context // s**index)
        self.kernel = options.kernel or s
        self.causal, self.skip = options.alignment == "causal", options.skip
        self.recompute_activations = False
        count, first = options.blocks[index], sum(options.blocks[:index])
        widest, total = options.width << (levels - 1), sum(options.blocks)
        sites = [Site(self.width, self.context, first + i, total, widest) for i in range(count)]
        blocks = [Block(options, builder, site) for site in sites]
        self.before, self.after = nn.ModuleList(blocks[: -(-count // 2)]), nn.ModuleList(blocks[-(-count // 2) :])
        # a level of the first block alone shares as one layer would
        self.shared = blocks[0].time_mixer.shared(self.width, total if first + count > 1 else 1)
        self.down: Projection | None = None
        if index + 1 < levels:
            project = builder.projector(options.crossing_projection)
            coarse = 2 * self.width
            self.down_norm = norm(options.norm, self.width)
            self.down = project(Port("down", self.kernel * self.width, coarse))
            self.up_norm = norm(options.norm, coarse)
            self.up = project(Port("up", coarse, s * self.width, sites[0].residual))
            self._crossing_norms = norm_flops(options.norm, self.width), norm_flops(options.norm, coarse)

    def forward(self, x: Tensor, coarser: list[Level]) -> Tensor:
        """`x (B, T, C)` of this level, through the `coarser` levels in order."""
        x = self._through(self.before, x)
        if self.down is not None:
            coarse = coarser[0](self._compressed(x), coarser[1:])
            news = self._expanded(coarse, x.shape[1])
            x = x + news if self.skip else news
        return self._through(self.after, x)

    def _through(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in blocks:
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, use_reentrant=False)
            else:
                x = block(x, self.shared)
        return x

    def _compressed(self, x: Tensor) -> Tensor:
        """Coarse vectors `(B, ceil(T / s), 2 C)` of `x (B, T, C)`."""
        assert self.down is not None
        T, s, m = x.shape[1], self.factor, self.kernel
        right = 0 if self.causal else -T % s
        left = m - 1 if self.causal else m - s
        padded = F.pad(self.down_norm(x), (0, 0, left, right))
        windows = padded.unfold(1, m, s).transpose(2, 3)  # (B, coarse T, m, C)
        return self.down(windows.flatten(2))

    def _expanded(self, coarse: Tensor, length: int) -> Tensor:
        """What the `length` fine positions hear from `coarse (B, coarse T, 2 C)`, `(B, length, C)`."""
        phases = self.up(self.up_norm(coarse))  # (B, coarse T, s C)
        return phases.unflatten(2, (self.factor, self.width)).flatten(1, 2)[:, :length]

    def initial_state(self, batch: int) -> dict[str, Any]:
        """Mixer states, the last kernel - 1 normalised positions, what the present coarse vector says, and the place."""
        blank = next(self.parameters()).new_zeros
        return {
            "before": [block.initial_state(batch) for block in _blocks(self.before)],
            "after": [block.initial_state(batch) for block in _blocks(self.after)],
            "recent": blank(batch, self.kernel - 1, self.width),
            "news": blank(batch, self.factor, self.width),
            "position": 0,
        }

    def step(self, x: Tensor, states: list[dict[str, Any]], coarser: list[Level]) -> Tensor:
        """One position `(B, C)` of this level; `states` of this and the coarser levels are brought up to date."""
        state = states[0]
        x = self._stepped(self.before, state, "before", x)
        if self.down is not None:
            window = torch.cat([state["recent"], self.down_norm(x).unsqueeze(1)], dim=1)  # (B, m, C)
            state["recent"] = window[:, 1:]
            phase = state["position"] % self.factor
            if phase == 0:
                coarse = coarser[0].step(self.down(window.flatten(1)), states[1:], coarser[1:])
                state["news"] = self.up(self.up_norm(coarse)).unflatten(1, (self.factor, self.width))
            x = x + state["news"][:, phase] if self.skip else state["news"][:, phase]
        state["position"] += 1
        return self._stepped(self.after, state, "after", x)

    def _stepped(self, blocks: nn.ModuleList, state: dict[str, Any], place: str, x: Tensor) -> Tensor:
        for index, block in enumerate(_blocks(blocks)):
            x, state[place][index] = block.step(x, state[place][index], self.shared)
        return x

    def crossing_flops(self, length: int, crossings: int) -> Flops:
        """Of going down and up `crossings` times, `length` fine positions taking part."""
        if self.down is None:
            return Flops()
        fine_norm, coarse_norm = self._crossing_norms
        heard = elementwise(self.width if self.skip else 0)
        return (fine_norm + heard) * length + (self.down.flops() + coarse_norm + self.up.flops()) * crossings

    def blocks(self) -> Iterator[Block]:
        yield from _blocks(self.before)
        yield from _blocks(self.after)


class Hourglass(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        if options.kernel is not None and options.kernel < options.factor:
            raise builder.refuse(
                "kernel", f"is {options.kernel}, below the factor {options.factor}: positions would be lost"
            )
        if options.skip is False and options.alignment == "causal":
            raise builder.refuse(
                "skip", "is false: causal coarse vectors are old news and cannot stand in for a position"
            )
        self.factor = options.factor
        self.levels = nn.ModuleList(Level(options, builder, context, i) for i in range(len(options.blocks)))
        if options.alignment == "block":
            self.ahead, self.streams = options.factor ** (len(options.blocks) - 1), False

    def predict(self, x: Tensor) -> Tensor:
        finest, *coarser = self._levels()
        for level in self._levels():
            level.recompute_activations = self.recompute_activations
        return self.unembed(finest(x, coarser))

    def initial_state(self, batch: int) -> list[dict[str, Any]]:
        return [level.initial_state(batch) for level in self._levels()]

    def step(self, token: Tensor, state: list[dict[str, Any]]) -> tuple[Tensor, list[dict[str, Any]]]:
        if not self.streams:
            raise TypeError("a network aligned to blocks sees to the end of its block and cannot go token by token")
        finest, *coarser = self._levels()
        x = finest.step(self.embed_at(token, state[0]["position"]), state, coarser)
        return self.unembed(x), state

    def window_flops(self, context: int) -> Flops:
        total, length = self.ends_flops() * context, context
        for level in self._levels():
            coarse = -(-length // self.factor)
            per_position = sum((block.flops(length) for block in level.blocks()), Flops())
            total += per_position * length + level.crossing_flops(length, coarse)
            length = coarse
        return total

    def inference_flops(self, context: int) -> Flops:
        """Of the `context`-th step: every level whose turn it is."""
        if not self.streams:
            return self.window_flops(context)
        total, position = self.ends_flops(), context - 1
        for level in self._levels():
            crosses = position % self.factor == 0
            total += sum((block.step_flops(position + 1) for block in level.blocks()), Flops())
            total += level.crossing_flops(1, int(crosses))
            if not crosses:
                break
            position //= self.factor
        return total

    def _levels(self) -> list[Level]:
        return list(self.levels)  # type: ignore[arg-type]


def _blocks(modules: nn.ModuleList) -> list[Block]:
    return list(modules)  # type: ignore[arg-type]


Part = Hourglass
