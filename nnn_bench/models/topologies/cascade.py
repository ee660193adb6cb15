"""The node-neuron cascade: whole small networks as neurons, in a row, each hearing its predecessor and all before it.

z_0 = E[token] (+ P[position], once);  for n = 1..N:
u_n = Node_n(LN z_{n-1})                                                                `layers_per_node` blocks
c_n = CrossAttention(LN u_n -> Q;  LN z_{n-1} -> K, V), n > 1                           over time, causal
G_n[t] = sum_{m<n} softmax_m(q_n[t] . k_m[t] / sqrt(C)) v_m[t], n > 1                   over depth, at one position
z_n = z_{n-1} + a_loc u_n + a_glob (c_n + G_n)
logits = H LN(z_N), no bias

Source: Abiaselli/node_neuron_network, whose text says more than its code does (`published/cascade`). Assumptions:
A1  its "global" attention over nodes is G: over the depth axis at one position, and so causal.
A2  "40-50 percent of a single neuron's activation to be applied locally and globally respectively" is a_loc = 0.4, a_glob = 0.5.
Where that leaves room: what node m lets others remember is made of LN u_m; memory 0 is made of the embedding, as node 1 sees it,
so that node 2 too has something to choose from and its query a gradient. One LN u_n serves both queries of a node and its memory,
one LN z_{n-1} its blocks, keys and values. Node attention has maps of its own in each node, one head and no map behind it. Nodes
are pre-norm residual blocks (published: post-norm, or recurrent without a residual), and share embedding, positions and head.

Without what is global, shares (1, 0): local_share 1, both attentions off. (0, 1): local_share 0, global_share 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent
from nnn_bench.models.cross_attention import CrossAttention
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops
from nnn_bench.models.node import Memory, MemoryWriter, Node, NodeOptions, recall

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions, NodeOptions):
    nodes: Annotated[int, Field(ge=2, strict=True)]
    heads: PositiveInt  # of the cross-node attention
    cross_attention: bool = True
    depth_attention: bool = True

    @model_validator(mode="after")
    def _every_node_is_heard(self) -> Options:
        if self.local_share == 0 and not self.depth_attention:
            raise Inconsistent("must be above 0 without depth_attention: nothing would hear node 1", key="local_share")
        return self


class State(NamedTuple):
    """The next position, the states of each node's blocks, and each crossing's keys and values."""

    position: int
    nodes: list[Any]
    crossings: list[Any]


class Cascade(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        count, depth = options.nodes, options.depth_attention
        self.embedding_memory: MemoryWriter | None = None
        self.nodes, self.crossings = nn.ModuleList(), nn.ModuleList()
        for index in range(count):
            node = Node(
                options,
                builder,
                width=options.width,
                context=context,
                depth=index,
                depths=count,
                crossed=index > 0 and options.cross_attention,
                asks=index > 0 and depth,
                remembered=index + 1 < count and depth,
            )
            self.nodes.append(node)
            if index == 0 and depth:
                self.embedding_memory = MemoryWriter(options.cross_projection, builder, node.site)
            if index > 0 and options.cross_attention:
                self.crossings.append(CrossAttention(options.heads, options.cross_projection, builder, node.site))
        self.shared = self._nodes()[0].shared(count * options.layers_per_node)

    def predict(self, x: Tensor) -> Tensor:
        return self.unembed(self._through(x, None))

    def attention_maps(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits `(B, T, V)`, the same as `forward` gives, and W_2 .. W_N `(B, T, T)`: row t says where c_n[t] looked,
        averaged over heads. Raises `TypeError` of a network without cross-node attention.
        """
        if not self.crossings:
            raise TypeError("this cascade has no cross-node attention to show")
        maps: list[Tensor] = []
        logits = self.unembed(self._through(self.embed(tokens), maps))
        return logits, maps

    def _through(self, z: Tensor, maps: list[Tensor] | None) -> Tensor:
        """z_N `(B, T, C)` from z_0; attention maps are added to `maps` if there is such a list."""
        memories: list[Memory] = []
        for index, (node, crossing) in enumerate(self._pairs()):
            seen = node.norm(z)
            if index == 0:
                self._remember(seen, memories)
            if self.recompute_activations and self.training:
                said = checkpoint(node, seen, self.shared, use_reentrant=False)
            else:
                said = node(seen, self.shared)
            heard = node.normalised(said)
            crossed = None if crossing is None else crossing(heard, seen)
            if maps is not None and crossing is not None:
                maps.append(crossing.weights(heard, seen))
            z = _passed(node, z, said, heard, crossed, memories)
        return z

    def initial_state(self, batch: int) -> State:
        return State(
            0,
            [node.initial_state(batch) for node in self._nodes()],
            [None if crossing is None else crossing.initial_state(batch) for _, crossing in self._pairs()],
        )

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        z, memories = self.embed_at(token, state.position), list[Memory]()
        after = State(state.position + 1, [], [])
        for index, (node, crossing) in enumerate(self._pairs()):
            seen = node.norm(z)
            if index == 0:
                self._remember(seen, memories)
            said, node_state = node.step(seen, state.nodes[index], self.shared)
            heard = node.normalised(said)
            crossed, cache = None, None
            if crossing is not None:
                crossed, cache = crossing.step(heard, seen, state.crossings[index])
            z = _passed(node, z, said, heard, crossed, memories)
            after.nodes.append(node_state)
            after.crossings.append(cache)
        return self.unembed(z), after

    def window_flops(self, context: int) -> Flops:
        nodes = [
            node.flops(context, index + 1, self._news(index)) + (crossing.flops(context) if crossing else Flops())
            for index, (node, crossing) in enumerate(self._pairs())
        ]
        return sum(nodes, self._ends()) * context

    def inference_flops(self, context: int) -> Flops:
        nodes = [
            node.step_flops(context, index + 1, self._news(index))
            + (crossing.step_flops(context) if crossing else Flops())
            for index, (node, crossing) in enumerate(self._pairs())
        ]
        return sum(nodes, self._ends())

    def _ends(self) -> Flops:
        return self.ends_flops() + (self.embedding_memory.flops() if self.embedding_memory else Flops())

    def _news(self, index: int) -> int:
        """How many vectors node `index` hears."""
        node, crossing = self._pairs()[index]
        return int(node.query is not None) + int(crossing is not None)

    def _remember(self, seen: Tensor, memories: list[Memory]) -> None:
        if self.embedding_memory is not None:
            memories.append(self.embedding_memory(seen))

    def _nodes(self) -> list[Node]:
        return list(self.nodes)  # type: ignore[arg-type]

    def _pairs(self) -> list[tuple[Node, CrossAttention | None]]:
        """Each node with the crossing from the node before it."""
        crossings: list[Any] = [None, *self.crossings] if self.crossings else [None] * len(self.nodes)
        return list(zip(self._nodes(), crossings, strict=True))


def _passed(
    node: Node, z: Tensor, said: Tensor, heard: Tensor, crossed: Tensor | None, memories: list[Memory]
) -> Tensor:
    """The stream after `node`: `said` is u, `heard` LN u, `crossed` c. What the node leaves behind joins `memories`."""
    news = [] if crossed is None else [crossed]
    if node.query is not None:
        news.append(recall(node.query(heard), memories))
    if node.memory is not None:
        memories.append(node.memory(heard))
    return node.joined(z, said, news)


Part = Cascade
