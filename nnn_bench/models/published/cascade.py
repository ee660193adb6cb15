"""Control: the node cascade as published. Almost nothing of it is trained, and it sees the future through its rounding.

z_1 = Node_1(E[token]);  n > 1:  u_n = Node_n(z_{n-1});  c_n = CrossAttention(u_n -> Q;  z_{n-1} -> K, V);  z_n = c_n + z_{n-1}

f, c, g = S q(N(x)) + b          N: mean subtracted, unit variance, no gain ("RMSNorm"); S = sign(W), straight-through
h_t = s(f_t) h_{t-1} + (1 - s(f_t)) SiLU(c_t);  o_t = s(g_t) h_t                            s: the logistic function
a, v = S q(N(o)) + b;  Node(x) = q(N( S q(SiLU(a) v) + b ))                                 no residual in the node
q(y) = round(127 y / m) m / 127,  m = max |y|

- u_n is a query and nothing else: shares (0, 1), c alone. What nodes after the first work out never joins the stream.
- q has no straight-through gradient. Rounding has none of its own, so all that passes is the gradient of m, to the one element of
  the tensor that is greatest.
- m is of a whole tensor: all rows and, in the gated unit and behind it, all positions of the batch (of all rows at one position
  in the recurrence, which the published program runs position by position). Coming tokens change m, and so the past.
- `step` knows one position only, whose m is another one: it rightly disagrees with `forward`.

Source: Abiaselli/node_neuron_network, 3a1c791, with its causal mask. As elsewhere in this project, so that what fails is what
was published: one embedding and one head (there each node owns both, of which N - 1 are never used), born as usual, as is the
attention; a norm before the head; a gated unit whose hidden width need not be the width. Repaired: `topologies/cascade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.cross_attention import CrossAttention
from nnn_bench.models.embedding import EmbeddingModel, EmbeddingOptions
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Site
from nnn_bench.models.recurrence import linear_recurrence

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(EmbeddingOptions):
    nodes: Annotated[int, Field(ge=2, strict=True)]
    hidden: PositiveInt  # of the gated unit
    heads: PositiveInt
    cross_projection: Component


class State(NamedTuple):
    """The next position, the recurrent state of each node `(B, C)`, and each crossing's keys and values."""

    position: int
    nodes: list[Tensor]
    crossings: list[Any]


def centred(x: Tensor) -> Tensor:
    """What is published as RMSNorm: zero mean and unit variance over the last dimension, without a gain."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-8)


def rounded(x: Tensor, over: tuple[int, ...] | None = None) -> Tensor:
    """`x` on 8-bit levels of its greatest magnitude along the dimensions `over` (all), gradient as autograd has it."""
    greatest = x.abs().amax(dim=tuple(range(x.dim())) if over is None else over, keepdim=True)
    scale = torch.where(greatest == 0, 1.0, greatest / 127)
    return (x / scale).round().clamp(-128, 127) * scale


class SignLinear(nn.Module):
    """y = sign(W) x + b, both born N(0, 1); the gradient passes the sign unchanged."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        through = self.weight - self.weight.detach()  # zero, with the gradient of the weight
        return F.linear(x, self.weight.detach().sign() + through, self.bias)

    def flops(self) -> Flops:
        outputs, inputs = self.weight.shape
        return linear(inputs, outputs) + elementwise(outputs)


class PublishedNode(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.width, self.hidden = width, hidden
        self.forget_new_gate = SignLinear(width, 3 * width)
        self.gate_and_value = SignLinear(width, 2 * hidden)
        self.down = SignLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        decay, drive, gate = self._gates(x)
        return self._mixed(linear_recurrence(decay, drive) * gate)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One position `(B, C)` as a batch of its own, and the recurrent state `(B, C)`."""
        decay, drive, gate = (one.squeeze(1) for one in self._gates(x.unsqueeze(1)))
        state = decay * state + drive
        return self._mixed((state * gate).unsqueeze(1)).squeeze(1), state

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay and drive of the state and the gate of the output, `(B, T, C)` each."""
        forget, new, gate = self.forget_new_gate(rounded(centred(x), over=(0, 2))).chunk(3, dim=-1)
        keep = torch.sigmoid(forget)
        return keep, (1 - keep) * F.silu(new), torch.sigmoid(gate)

    def _mixed(self, x: Tensor) -> Tensor:
        gate, value = self.gate_and_value(rounded(centred(x))).chunk(2, dim=-1)
        return rounded(centred(self.down(rounded(F.silu(gate) * value))))

    def flops(self) -> Flops:
        """Forward operations per token, in a window and in a step."""
        maps = self.forget_new_gate.flops() + self.gate_and_value.flops() + self.down.flops()
        # three norms: mean, centre, square, mean, scale; rounding: magnitude, maximum, scale, round, two clips, unscale
        normalised = elementwise(self.width, 3 * 5 + 3 * 7) + elementwise(self.hidden, 7)
        # two sigmoids; 1 - F, SiLU, product; multiply-add; product with the gate; then SiLU and product
        return maps + normalised + elementwise(self.width, 2 + 4 + 2 + 1) + elementwise(self.hidden, 3)


class PublishedCascade(EmbeddingModel):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context)
        sites = [Site(options.width, context, index, options.nodes) for index in range(options.nodes)]
        self.nodes = nn.ModuleList(PublishedNode(options.width, options.hidden) for _ in sites)
        self.crossings = nn.ModuleList(
            CrossAttention(options.heads, options.cross_projection, builder, site) for site in sites[1:]
        )

    def predict(self, x: Tensor) -> Tensor:
        first, *later = self._nodes()
        z = self._worked_out(first, x)
        for node, crossing in zip(later, self._crossings(), strict=True):
            z = crossing(self._worked_out(node, z), z) + z
        return self.unembed(z)

    def _worked_out(self, node: PublishedNode, x: Tensor) -> Tensor:
        if self.recompute_activations and self.training:
            return checkpoint(node, x, use_reentrant=False)
        return node(x)

    def initial_state(self, batch: int) -> State:
        blank = self.embedding.new_zeros(batch, self.width)
        return State(0, [blank for _ in self.nodes], [crossing.initial_state(batch) for crossing in self._crossings()])

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        first, *later = self._nodes()
        z, hidden = first.step(self.embed_at(token, state.position), state.nodes[0])
        after = State(state.position + 1, [hidden], [])
        for index, (node, crossing) in enumerate(zip(later, self._crossings(), strict=True)):
            said, hidden = node.step(z, state.nodes[index + 1])
            heard, cache = crossing.step(said, z, state.crossings[index])
            z = heard + z
            after.nodes.append(hidden)
            after.crossings.append(cache)
        return self.unembed(z), after

    def window_flops(self, context: int) -> Flops:
        return self.inference_flops(context) * context  # every position pays for the whole square of scores

    def inference_flops(self, context: int) -> Flops:
        nodes = sum((node.flops() for node in self._nodes()), self.ends_flops())
        return sum((one.step_flops(context) + elementwise(self.width) for one in self._crossings()), nodes)

    def _nodes(self) -> list[PublishedNode]:
        return list(self.nodes)  # type: ignore[arg-type]

    def _crossings(self) -> list[CrossAttention]:
        return list(self.crossings)  # type: ignore[arg-type]


Part = PublishedCascade
