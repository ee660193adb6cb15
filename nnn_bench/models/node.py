"""The node of a cascade: a network inside the network, and how nodes attend to each other at one position.

u = Blocks(Norm z)                                                node: `layers_per_node` residual blocks
q = W_q Norm(u);  k, v = W_k Norm(u), W_v Norm(u)                 what it asks the others, what it lets them remember
G[t] = sum_m softmax_m(q[t] . k_m[t] / sqrt(C)) v_m[t]            one head, no map behind it

The sum runs over nodes, never over time, so node attention is causal and `step` needs no cache for it. Each node has maps of its
own. Source: Abiaselli/node_neuron_network, whose text speaks of node attention and whose code has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BeforeValidator, model_validator
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent
from nnn_bench.models.block import Block, BlockOptions
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.norms import norm, norm_flops
from nnn_bench.models.parts import Port, Site

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


LOCAL_SHARE, GLOBAL_SHARE = (
    0.4,
    0.5,
)  # "40-50 percent of a single neuron's activation ... locally and globally respectively"


def _known_share(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "learned" and not (number and 0 <= value < float("inf")):
        raise ValueError("must be 'learned' or a number of at least 0")
    return value


Share = Annotated[float | Literal["learned"], BeforeValidator(_known_share)]


class NodeOptions(BlockOptions):
    """The shares of a node's output and of what it hears: numbers, or `learned` (a scalar a node, born at the default)."""

    layers_per_node: PositiveInt = 1
    local_share: Share = LOCAL_SHARE
    global_share: Share = GLOBAL_SHARE
    cross_projection: Component

    @model_validator(mode="after")
    def _what_is_heard_counts(self) -> NodeOptions:
        if self.global_share == 0:
            raise Inconsistent(
                "must be above 0; switch off the attentions that are not to be heard", key="global_share"
            )
        return self


class Memory(NamedTuple):
    """What one node, or each of many, lets others attend to: `key` and `value (..., C)`."""

    key: Tensor
    value: Tensor


def recall(query: Tensor, memories: Sequence[Memory]) -> Tensor:
    """Attention of `query (..., C)` over `memories`, position by position: `(..., C)`.

    Elementwise, for there are few nodes: matrix products of these shapes take three times as long on a CPU.
    """
    scores = torch.stack([(query * memory.key).sum(-1) for memory in memories], dim=-1)  # (..., M)
    weights = (scores / query.shape[-1] ** 0.5).softmax(dim=-1)
    heard = weights[..., :1] * memories[0].value
    for index, memory in enumerate(memories[1:], start=1):
        heard = heard + weights[..., index : index + 1] * memory.value
    return heard


def recall_flops(width: int, memories: int) -> Flops:
    """Per token: products and sums for scores and for values, six operations on each score."""
    return elementwise(memories, 4 * width + 6)


class MemoryWriter(nn.Module):
    """From normalised vectors `(..., C)` to a `Memory`; its values are born as small as all that joins a residual stream."""

    def __init__(self, projection: Component, builder: Builder, site: Site):
        super().__init__()
        project = builder.projector(projection)
        self.key = project(Port("node_key", site.width, site.width))
        self.value = project(Port("node_value", site.width, site.width, site.residual))

    def forward(self, x: Tensor) -> Memory:
        return Memory(self.key(x), self.value(x))

    def flops(self) -> Flops:
        return self.key.flops() + self.value.flops()


class Node(nn.Module):
    """One node at `depth` of `depths`, over vectors of `width`.

    It has the norm of its output only if something reads it: `crossed`, `asks` (a query of its own) or `remembered` (a memory).
    """

    def __init__(
        self,
        options: NodeOptions,
        builder: Builder,
        *,
        width: int,
        context: int,
        depth: int,
        depths: int,
        crossed: bool = False,
        asks: bool = False,
        remembered: bool = False,
    ):
        super().__init__()
        per_node = options.layers_per_node
        sites = [Site(width, context, depth * per_node + i, depths * per_node) for i in range(per_node)]
        self.site, self._norm_kind = sites[-1], options.norm
        self.norm = norm(options.norm, width)
        self.blocks = nn.ModuleList(Block(options, builder, site) for site in sites)
        self.output_norm = norm(options.norm, width) if crossed or asks or remembered else None
        project = builder.projector(options.cross_projection)
        self.query = project(Port("node_query", width, width)) if asks else None
        self.memory = MemoryWriter(options.cross_projection, builder, self.site) if remembered else None
        self.local_share = _share(options.local_share, LOCAL_SHARE)
        self.global_share = _share(options.global_share, GLOBAL_SHARE) if crossed or asks else 0.0

    def forward(self, seen: Tensor, shared: nn.Module | None) -> Tensor:
        """The output `u (B, T, C)` for the normalised input `seen (B, T, C)`."""
        for block in self.blocks:
            seen = block(seen, shared)
        return seen

    def initial_state(self, batch: int) -> list[Any]:
        return [block.initial_state(batch) for block in self._blocks()]

    def step(self, seen: Tensor, states: list[Any], shared: nn.Module | None) -> tuple[Tensor, list[Any]]:
        after = []
        for block, before in zip(self._blocks(), states, strict=True):
            seen, state = block.step(seen, before, shared)
            after.append(state)
        return seen, after

    def normalised(self, said: Tensor) -> Tensor:
        """`Norm u`, of which queries and memories are made; `u` itself where nothing is."""
        return said if self.output_norm is None else self.output_norm(said)

    def joined(self, z: Tensor, said: Tensor, heard: Sequence[Tensor]) -> Tensor:
        """The stream `z` with shares of what this node said and of the sum of what it heard."""
        z = z + self.local_share * said
        return z + self.global_share * sum(heard) if heard else z

    def shared(self, layers: int) -> nn.Module | None:
        """What the time mixers of `layers` such blocks own together."""
        return self._blocks()[0].time_mixer.shared(self.site.width, layers)

    def flops(self, context: int, memories: int, heard: int) -> Flops:
        """Forward operations per token; it recalls `memories` if it asks, and adds `heard` vectors to the stream."""
        return self._around([block.flops(context) for block in self._blocks()], memories, heard)

    def step_flops(self, past: int, memories: int, heard: int) -> Flops:
        return self._around([block.step_flops(past) for block in self._blocks()], memories, heard)

    def _around(self, blocks: list[Flops], memories: int, heard: int) -> Flops:
        width = self.site.width
        total = sum(blocks, norm_flops(self._norm_kind, width) + elementwise(2 * width))
        if self.output_norm is not None:
            total += norm_flops(self._norm_kind, width)
        if self.query is not None:
            total += self.query.flops() + recall_flops(width, memories)
        if self.memory is not None:
            total += self.memory.flops()
        return total + elementwise((heard + 1) * width if heard else 0)

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]


def _share(option: float | Literal["learned"], born: float) -> nn.Parameter | float:
    return nn.Parameter(torch.tensor(born)) if option == "learned" else option
