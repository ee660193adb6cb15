"""The node-neuron cascade in parallel: stages of nodes side by side that attend to each other, each with a stream of its own.

z_{0,p} = E[token] (+ P[position], once);  for stages s = 1..S and nodes p = 1..P:
u_{s,p} = Node_{s,p}(LN z_{s-1,p})                                                           `layers_per_node` blocks
g_{s,p}[t] = sum_r softmax_r(q_{s,p}[t] . k_{s,r}[t] / sqrt(C)) v_{s,r}[t], r = 1..P         over nodes, at one position
z_{s,p} = z_{s-1,p} + a_loc u_{s,p} + a_glob g_{s,p}
logits = H LN( sum_p softmax_p(w . LN z_{S,p} / sqrt(C)) z_{S,p} )                           no bias

With `split`, node p has the p-th part of the features, C / P of them, in place of all: a stream is a part of the vector, and the
head reads the parts side by side, without the last sum.

Source: Abiaselli/node_neuron_network, whose text says that activation is "parallel and sequential" and meets in "a central or
final node", and whose code is sequential. Assumption A3: nodes of one stage run at once, hear each other through the attention
above, and the final node is a pool over them. Where that leaves room: a node hears itself as one of P; each node has maps of its
own, with one head and none behind it; the pool's query w is a learned vector, and its norm is that of the head, since the bias of
one of its own would shift all scores alike. What a mixer shares over depth, the nodes of a stage share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops
from nnn_bench.models.node import Memory, Node, NodeOptions, recall, recall_flops
from nnn_bench.models.norms import norm_flops
from nnn_bench.models.parts import Initial

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, NodeOptions):
    stages: PositiveInt
    nodes: Annotated[int, Field(ge=2, strict=True)]  # side by side in each stage
    split: bool = False
    node_attention: bool = True

    @model_validator(mode="after")
    def _every_node_is_heard(self) -> Options:
        if self.local_share == 0 and not self.node_attention:
            raise Inconsistent("must be above 0 without node_attention: nothing would hear a node", key="local_share")
        return self


class State(NamedTuple):
    """The next position, and by stage and node the states of its blocks."""

    position: int
    stages: list[list[Any]]


class ParallelCascade(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        if options.split and options.width % options.nodes:
            raise builder.refuse("nodes", f"is {options.nodes}, which does not divide the width {options.width}")
        self.parts = options.nodes if options.split else 1
        self.node_stages = nn.ModuleList(
            nn.ModuleList(
                Node(
                    options,
                    builder,
                    width=options.width // self.parts,
                    context=context,
                    depth=stage,
                    depths=options.stages,
                    asks=options.node_attention,
                    remembered=options.node_attention,
                )
                for _ in range(options.nodes)
            )
            for stage in range(options.stages)
        )
        self.shared = self._stages()[0][0].shared(options.stages * options.layers_per_node)
        self.pool_query = None if options.split else nn.Parameter(Initial().fill_(torch.empty(options.width)))

    def predict(self, x: Tensor) -> Tensor:
        streams = self._streams(x)
        for nodes in self._stages():
            seen = [node.norm(z) for node, z in zip(nodes, streams, strict=True)]
            if self.recompute_activations and self.training:
                said = [
                    checkpoint(node, one, self.shared, use_reentrant=False)
                    for node, one in zip(nodes, seen, strict=True)
                ]
            else:
                said = [node(one, self.shared) for node, one in zip(nodes, seen, strict=True)]
            streams = _joined(nodes, streams, said)
        return self.unembed(self._met(streams))

    def initial_state(self, batch: int) -> State:
        return State(0, [[node.initial_state(batch) for node in nodes] for nodes in self._stages()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        streams, after = self._streams(self.embed_at(token, state.position)), []
        for nodes, before in zip(self._stages(), state.stages, strict=True):
            stepped = [
                node.step(node.norm(z), own, self.shared) for node, z, own in zip(nodes, streams, before, strict=True)
            ]
            streams = _joined(nodes, streams, [said for said, _ in stepped])
            after.append([own for _, own in stepped])
        return self.unembed(self._met(streams)), State(state.position + 1, after)

    def window_flops(self, context: int) -> Flops:
        return sum((node.flops(context, *self._heard()) for node in self._nodes()), self._ends()) * context

    def inference_flops(self, context: int) -> Flops:
        return sum((node.step_flops(context, *self._heard()) for node in self._nodes()), self._ends())

    def _streams(self, x: Tensor) -> list[Tensor]:
        """One stream a node from `(..., C)`: a part of its features, or all of them."""
        count = len(self._stages()[0])
        return list(x.chunk(count, dim=-1)) if self.parts > 1 else [x] * count

    def _met(self, streams: list[Tensor]) -> Tensor:
        """`(..., C)` for the head."""
        if self.pool_query is None:
            return torch.cat(streams, dim=-1)
        return recall(self.pool_query, [Memory(self.norm(z), z) for z in streams])

    def _heard(self) -> tuple[int, int]:
        """How many memories a node recalls, and how many vectors it hears."""
        nodes = self._stages()[0]
        return len(nodes), int(nodes[0].query is not None)

    def _ends(self) -> Flops:
        if self.pool_query is None:
            return self.ends_flops()
        count = len(self._stages()[0])
        return self.ends_flops() + norm_flops(self._norm_kind, self.width) * count + recall_flops(self.width, count)

    def _stages(self) -> list[list[Node]]:
        return [list(nodes) for nodes in self.node_stages]  # type: ignore[call-overload]

    def _nodes(self) -> list[Node]:
        return [node for nodes in self._stages() for node in nodes]


def _joined(nodes: list[Node], streams: list[Tensor], said: list[Tensor]) -> list[Tensor]:
    """The streams after one stage, whose nodes have `said` u."""
    heard = [node.normalised(u) for node, u in zip(nodes, said, strict=True)]
    memories = [node.memory(one) for node, one in zip(nodes, heard, strict=True) if node.memory is not None]
    after = []
    for node, z, u, one in zip(nodes, streams, said, heard, strict=True):
        news = [] if node.query is None else [recall(node.query(one), memories)]
        after.append(node.joined(z, u, news))
    return after


Part = ParallelCascade
