"""The two ends of the high-order transformers: a character is a number, and polynomials make a vector of it.

x(c) = (2 c + 1) / V - 1                                the V characters of a vocabulary, evenly on (-1, 1)
e = P_2(scale P_1(scale p(x)))                          p: 1 -> E piecewise with V segments; P_1 (E -> E), P_2 (E -> C)
logits = H b(A_2(b(A_1 r)))                             A_1 (C -> G), A_2 (G -> G), H (G -> V); b(x) = phi(scale x)

Every number lies in the middle of a segment of its own, where the basis has the same values l_j for all: p(x(c)) is a sum of n
rows of its weights, sum_j l_j w[first(c) + j]. For two nodes that is the mean of two rows (neighbouring characters share one,
where p is continuous), for an odd n the middle row alone. So p is a table by token and is counted as one; what follows is body.
H is dense without bias and counted apart, as in all matched studies. A `vocabulary_projection` in its place is body: no capacity
hides in a map to the vocabulary that has several weights a link.

Source: the high-order transformers of language-interpolation (V = 128 as ASCII, C = 8, E = 16, G = 100). Departures: E and G
follow the width, 2 C as there and 4 C for its 12.5 C, which at a matched budget would leave little to the blocks; the scalings
have no gains (the published ones were never trained).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.activations import ActivationName, activation
from nnn_bench.models.chain import Between, Chain
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.pieces import Form, Pieces
from nnn_bench.models.scaling import ScaleKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class NumberedOptions(Settings):
    """`projection` makes the maps of both ends; those of the embedding may be of their own kind, and so may H."""

    width: PositiveInt
    embedding_hidden: PositiveInt | None = None
    answer_hidden: PositiveInt | None = None
    input_form: Form = "continuous"
    input_nodes: Annotated[int, Field(ge=2, strict=True)] = 2
    scale: ScaleKind = "layer"
    activation: ActivationName | None = None
    projection: Component
    embedding_projection: Component | None = None
    vocabulary_projection: Component | None = None


class NumberedModel(LanguageModel):
    """A subclass puts the blocks between `vectors` and `logits`."""

    head: nn.Parameter | Projection

    def __init__(self, options: NumberedOptions, builder: Builder, vocabulary: int, context: int):
        super().__init__()
        self.vocabulary, self.context, self.width = vocabulary, context, options.width
        E, G = options.embedding_hidden or 2 * options.width, options.answer_hidden or 4 * options.width
        self.pieces = Pieces(options.input_form, options.input_nodes, vocabulary)
        self._middle = self.pieces.basis(torch.zeros((), device="cpu", dtype=torch.float64)).tolist()
        self.embedding = nn.Parameter(torch.empty(self.pieces.weights, E).uniform_(-1, 1))
        self._embedding_between = Between(E, options.scale)
        project = builder.projector(options.embedding_projection or options.projection)
        self.embedding_maps = Chain(project, "embedding", [E, E, options.width], self._embedding_between)
        bent = activation(options.activation, G, partial=False, builder=builder) if options.activation else None
        self._answer_between = Between(G, options.scale, bent)
        project = builder.projector(options.projection)
        self.answer_maps = Chain(project, "answer", [options.width, G, G], self._answer_between)
        if options.vocabulary_projection is not None:
            self.head = builder.projector(options.vocabulary_projection)(Port("vocabulary", G, vocabulary))
        else:
            self.head = nn.Parameter(Initial().fill_(torch.empty(vocabulary, G)))

    def vectors(self, tokens: Tensor) -> Tensor:
        """`(...) -> (..., C)`."""
        first = tokens * self.pieces.stride
        rows = [
            value * F.embedding(first + j, self.embedding) for j, value in enumerate(self._middle) if value
        ]  # a node without a share in the middle has no part in any character
        return self.embedding_maps(self._embedding_between(torch.stack(rows).sum(dim=0)))

    def logits(self, x: Tensor) -> Tensor:
        """`(..., C) -> (..., V)`."""
        x = self._answer_between(self.answer_maps(x))
        return self.head(x) if isinstance(self.head, Projection) else F.linear(x, self.head)

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return [self.embedding]

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return [] if isinstance(self.head, Projection) else [self.head]

    def ends_flops(self) -> Flops:
        """Operations per token of `vectors` and `logits`."""
        rows = sum(value != 0 for value in self._middle)
        looked_up = elementwise(self.embedding.shape[1], 2 * rows - 1)  # a product for each row, and their sums
        embedded = looked_up + self._embedding_between.flops() + self.embedding_maps.flops()
        answered = self.answer_maps.flops() + self._answer_between.flops()
        if isinstance(self.head, Projection):
            return embedded + answered + self.head.flops()
        return embedded + answered + linear(self._answer_between.width, self.vocabulary)
