"""A stack whose output is fed to it again: the same L blocks, K times.

x_0 = E[token] (+ P[position]);  x_{k+1} = Blocks(x_k), with `inject` Blocks(x_k + x_0) from the second pass on;
logits = H Norm(x_K), no bias

`drawn`: in training K is drawn for each forward pass, uniform in 1 .. `passes`, so that every number of passes gives an answer.
    In evaluation, and after the last training step, K = `passes`.
`backward_through` k: only the last k passes are back-propagated; what went before them is a constant, but x_0 is not.
`halting`: each position decides by its own state how often it is fed. With p_k = sigmoid(w . x_k + b) it halts at the first
    pass N at which p_1 + .. + p_N > 1 - epsilon, or at K. It says sum_{k<N} p_k x_k + (1 - sum_{k<N} p_k) x_N, and later passes
    show x_N to the positions that still run. `ponder` times the mean of N plus the last weight is added to the loss. All K
    passes are computed for all positions: halting changes what is said, and saves no operation.

Residual maps are born for the depth the network is run at, L K. Where a mixer owns something per layer, it is per block.

Sources: mohamed-services/mnn, whose trained demonstration applies one layer eight times; Graves 2016 (halting), as Dehghani et
al. 2018 use it position by position. Departures: x_0 is not added to itself at the first pass; b = -ln(K - 1) at birth, so that a
fresh network averages its passes evenly where epsilon is at most 1 / K, while the source halts early from the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.block import Block, BlockOptions, seen_through
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Initial, Site
from nnn_bench.models.parts import Part as AnyPart

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

#: What pass k (from 0) makes of its input.
Pass = Callable[[int, Tensor], Tensor]


class HaltingOptions(Settings):
    epsilon: float = Field(default=0.01, gt=0, lt=0.5)
    ponder: float = Field(default=0.01, ge=0, description="nats for each pass of the mean position")


class Options(EmbeddingOptions, BlockOptions):
    layers: PositiveInt
    passes: PositiveInt
    inject: bool = False
    drawn: bool = False
    backward_through: PositiveInt | None = None
    halting: HaltingOptions | None = None

    @model_validator(mode="after")
    def _agree(self) -> Options:
        cut = self.backward_through is not None and self.backward_through < self.passes
        if self.backward_through is not None and not cut:
            raise Inconsistent(
                f"must be below passes, {self.passes}; leave it out to go through all", key="backward_through"
            )
        if cut and not self.inject:
            raise Inconsistent(
                "must be true with backward_through: nothing else would train the embedding", key="inject"
            )
        if self.drawn and self.passes == 1:
            raise Inconsistent("must be at least 2 with drawn: there is nothing to draw", key="passes")
        if self.halting is None:
            return self
        if self.drawn or cut:
            raise Inconsistent("goes with neither drawn nor backward_through; leave these out, or it", key="halting")
        if self.passes == 1:
            raise Inconsistent("must be at least 2 with halting: there is nothing to decide", key="passes")
        return self


class Draw(AnyPart):
    """Draws the number of passes while a run goes on; a network that was never told of one always makes all."""

    hears_progress = True

    def __init__(self, passes: int):
        super().__init__()
        self.passes, self._over = passes, True

    def progressed(self, share: float) -> None:
        self._over = share >= 1

    def forward(self) -> int:
        if self._over or not self.training:
            return self.passes
        return int(torch.randint(1, self.passes + 1, ()))


class Halting(AnyPart):
    """Makes passes and averages their states for each position until it halts."""

    decides = True

    def __init__(self, options: HaltingOptions, width: int, passes: int):
        super().__init__()
        self.epsilon, self.ponder, self.passes = options.epsilon, options.ponder, passes
        self.unit = nn.Linear(width, 1)
        Initial(0.02).fill_(self.unit.weight)
        nn.init.constant_(self.unit.bias, -math.log(passes - 1))

    def forward(self, x: Tensor, fed: Pass) -> Tensor:
        """The mean state; leaves the cost of pondering in training."""
        answer, spent, cost = torch.zeros_like(x), torch.zeros_like(x[..., :1]), torch.zeros_like(x[..., :1])
        running = torch.ones_like(spent, dtype=torch.bool)
        for k in range(self.passes):
            x = torch.where(running, fed(k, x), x)
            rest = 1 - spent
            if k + 1 < self.passes:
                probability = torch.sigmoid(self.unit(x))
                goes_on = running & (spent + probability <= 1 - self.epsilon)
                weight = torch.where(goes_on, probability, rest)
            else:
                goes_on, weight = torch.zeros_like(running), rest
            weight = torch.where(running, weight, 0.0)
            answer, spent = answer + weight * x, spent + weight
            # the number of passes itself has no gradient; the last weight has, and shrinks as passes before it take more
            cost = cost + running + torch.where(running & ~goes_on, weight, 0.0)
            running = goes_on
        if self.training and self.auxiliary is not None:
            self.auxiliary.append(self.ponder * cost.mean())
        return answer

    def flops(self, width: int) -> Flops:
        # bias, sigmoid (3), sum and comparison; rest, mean, cost at every pass
        deciding = (linear(width, 1) + elementwise(6)) * (self.passes - 1)
        return deciding + elementwise(2 * width + 4, self.passes)


class State(NamedTuple):
    """The next position, and for each pass the state of each block's time mixer."""

    position: int
    passes: list[list[Any]]


class Refed(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        self.passes, self.inject = options.passes, options.inject
        self.backward_through = options.backward_through or options.passes
        depth = options.layers * options.passes
        sites = [Site(options.width, context, layer, depth) for layer in range(options.layers)]
        self.blocks = nn.ModuleList(Block(options, builder, site) for site in sites)
        self.shared = self._blocks()[0].time_mixer.shared(options.width, options.layers)
        self.draw = Draw(options.passes) if options.drawn else None
        self.halting = Halting(options.halting, options.width, options.passes) if options.halting else None

    def predict(self, x: Tensor) -> Tensor:
        return self.unembed(self._fed(x, self._window_pass, self.draw() if self.draw else self.passes))

    def _window_pass(self, k: int, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, use_reentrant=False)
            else:
                x = block(x, self.shared)
        return x

    def _fed(self, first: Tensor, once: Pass, passes: int) -> Tensor:
        """What is said after so many passes, or where each position halts."""

        def fed(k: int, x: Tensor) -> Tensor:
            return once(k, x + first if self.inject and k else x)

        if self.halting is not None:
            return self.halting(first, fed)
        x = first
        for k in range(passes):
            x = fed(k, x)
            if k + self.backward_through < passes:
                # cut behind the pass rather than compute it without gradients: under autocast the weights it casts are
                # kept for the next pass, and would be kept without their gradients
                x = x.detach()
        return x

    def visible(self, context: int) -> Tensor:
        return seen_through(self._blocks() * self.passes, context)

    def initial_state(self, batch: int) -> State:
        return State(0, [[block.initial_state(batch) for block in self._blocks()] for _ in range(self.passes)])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        after: list[list[Any]] = []

        def once(k: int, x: Tensor) -> Tensor:
            after.append([])
            for block, before in zip(self._blocks(), state.passes[k], strict=True):
                x, own = block.step(x, before, self.shared)
                after[k].append(own)
            return x

        x = self._fed(self.embed_at(token, state.position), once, self.passes)
        return self.unembed(x), State(state.position + 1, after)

    def window_flops(self, context: int) -> Flops:
        one = sum((block.flops(context) for block in self._blocks()), Flops())
        constant = Flops(one.matrix, one.other, 2 * one.matrix)  # a pass without a backward pass
        behind = self.passes - self.backward_through
        return (constant * behind + one * self.backward_through + self._between_passes()) * context

    def inference_flops(self, context: int) -> Flops:
        one = sum((block.step_flops(context) for block in self._blocks()), Flops())
        return one * self.passes + self._between_passes()

    def _between_passes(self) -> Flops:
        """Operations per token outside the blocks."""
        total = self.ends_flops() + elementwise(self.width * (self.passes - 1) if self.inject else 0)
        return total if self.halting is None else total + self.halting.flops(self.width)

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = Refed
