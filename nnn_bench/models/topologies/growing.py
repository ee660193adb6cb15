"""Progressive diverging: a stack whose number of distinct blocks grows while it is trained (for example 3, 6, 12).

form `untie`: the depth D = last of `stages` never changes; block b of m fills D / m places in a row, so growing copies each block
    into places it already filled and changes nothing. What grows is parameters, not computation.
form `gate`, `half_step`, `accept`: the depth is m, and each block becomes two. x + f(x) then reads
    gate        x1 = x + f(x);  x1 + g f'(x1)          g learned, 0 at birth: the function is kept
    half_step   x1 = x + f(x) / 2;  x1 + f'(x1) / 2    as two steps of an ordinary differential equation: kept to first order
    accept      x1 = x + f(x);  x1 + f'(x1)            the jump is taken as it comes
order `adjacent` (a a b b c c) or `stacked` (a b c a b c).

A copy that fills rho times the places of its ancestor sees about rho times its gradient, and a half step about half of it: the
`gradient_share` of its origin. A gated copy starts without a past.

Source: the progressive-diverging network of lmsmall (3 -> 6 -> 12 blocks, depth 12). Departures, each of which mends a defect
of it (`published/growing`): all blocks are trained, after growing as before; what attention learns after growing is a true
low-rank change (`low_rank_delta` as its projection), zero at birth and merged at the next growth; the depth-doubling forms are
what its text describes and its code does not do. A mixer that owns something per layer keeps that of the block it copies.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent
from nnn_bench.models.block import Block, BlockOptions, seen_through
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.growth import Growth, Origin, grow_parts
from nnn_bench.models.parts import Projection, Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, BlockOptions):
    stages: list[PositiveInt] = Field(min_length=1, description="distinct blocks of each stage")
    form: Literal["untie", "gate", "half_step", "accept"]
    order: Literal["adjacent", "stacked"] = "adjacent"
    growth: Growth

    @model_validator(mode="after")
    def _stages_fit(self) -> Options:
        if len(self.growth.at) != len(self.stages) - 1:
            raise Inconsistent(
                f"must hold {len(self.stages) - 1} shares, one for each stage after the first", key="growth.at"
            )
        if self.form == "untie":
            if any(
                later % earlier or later == earlier
                for earlier, later in zip(self.stages, self.stages[1:], strict=False)
            ):
                raise Inconsistent("must each be a multiple of the one before", key="stages")
        elif any(later != 2 * earlier for earlier, later in zip(self.stages, self.stages[1:], strict=False)):
            raise Inconsistent("must double from stage to stage", key="stages")
        return self


class State(NamedTuple):
    """The next position, and the state of the time mixer at each place in depth."""

    position: int
    places: list[Any]


class Growing(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        self.options, self.growth, self.stages = options, options.growth, len(options.stages)
        self.preserves_function = options.form in ("untie", "gate")
        self._made_from = options, builder, vocabulary, context
        final, first = options.stages[-1], options.stages[0]
        sites = [Site(options.width, context, index * final // first, final) for index in range(first)]
        self.blocks = nn.ModuleList(Block(options, builder, site) for site in sites)
        self.gates = nn.ParameterDict()
        # a single first block is every later one's ancestor: all of them keep what it owned as the first layer
        self.shared = self._blocks()[0].time_mixer.shared(options.width, final if first > 1 else 1)

    def at_birth(self) -> Growing:
        return Growing(*self._made_from)

    def grow(self) -> dict[str, Origin]:
        old, new = self.options.stages[self.stage], self.options.stages[self.stage + 1]
        kept = [name for name, _ in self.named_parameters() if not name.startswith(("blocks.", "gates.", "head."))]
        origins = {name: Origin(name) for name in kept}
        if isinstance(self.head, Projection):
            origins |= {
                f"head.{name}": origin.within("head.") for name, origin in grow_parts(self.head, self.stage).items()
            }
        share = {"untie": old / new, "gate": 1.0, "half_step": 0.5, "accept": 1.0}[self.options.form]
        blocks, gates, copied = [], nn.ParameterDict(), set()
        for index in range(new):
            ancestor = self._ancestor(index, new, old)
            block = copy.deepcopy(self._blocks()[ancestor])
            copies = grow_parts(block, self.stage)
            gated = self.options.form == "gate" and ancestor in copied
            if gated:
                gates[str(index)] = nn.Parameter(self.embedding.new_zeros(()))
            else:
                for name, origin in copies.items():
                    scaled = replace(origin.within(f"blocks.{ancestor}."), gradient_share=share * origin.gradient_share)
                    origins[f"blocks.{index}.{name}"] = scaled
                if str(ancestor) in self.gates:
                    gates[str(index)] = nn.Parameter(self.gates[str(ancestor)].detach().clone())
                    origins[f"gates.{index}"] = Origin(f"gates.{ancestor}")
            blocks.append(block)
            copied.add(ancestor)
        self.blocks, self.gates = nn.ModuleList(blocks), gates
        self.stage += 1
        return origins

    def predict(self, x: Tensor) -> Tensor:
        for index, block in self._places():
            if self.recompute_activations and self.training:
                x = checkpoint(block, x, self.shared, self._scale(index), use_reentrant=False)
            else:
                x = block(x, self.shared, self._scale(index))
        return self.unembed(x)

    def visible(self, context: int) -> Tensor:
        return seen_through((block for _, block in self._places()), context)

    def initial_state(self, batch: int) -> State:
        return State(0, [block.initial_state(batch) for _, block in self._places()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        x, states = self.embed_at(token, state.position), []
        for (index, block), before in zip(self._places(), state.places, strict=True):
            x, after = block.step(x, before, self.shared, self._scale(index))
            states.append(after)
        return self.unembed(x), State(state.position + 1, states)

    def window_flops(self, context: int) -> Flops:
        return self._through([block.flops(context) for _, block in self._places()]) * context

    def inference_flops(self, context: int) -> Flops:
        return self._through([block.step_flops(context) for _, block in self._places()])

    def _through(self, blocks: list[Flops]) -> Flops:
        scaled = sum(self._scale(index) is not None for index, _ in self._places())
        return sum(blocks, self.ends_flops()) + elementwise(2 * self.width * scaled)

    def _places(self) -> list[tuple[int, Block]]:
        """The block of each place in depth, with its number."""
        blocks = self._blocks()
        depth = self.options.stages[-1] if self.options.form == "untie" else len(blocks)
        numbers = [self._ancestor(place, depth, len(blocks)) for place in range(depth)]
        return [(number, blocks[number]) for number in numbers]

    def _ancestor(self, index: int, new: int, old: int) -> int:
        return index * old // new if self.options.order == "adjacent" else index % old

    def _scale(self, index: int) -> Tensor | float | None:
        if self.options.form == "half_step" and self.stage:
            return 0.5**self.stage
        return self.gates.get(str(index))

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]


Part = Growing
