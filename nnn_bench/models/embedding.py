"""The two ends most language models share: tokens to vectors, vectors to logits.

x[t] = E[token_t] (+ P[t]);  logits = H Norm(x), no bias. With a tied head H = E. Tables are born normal, with standard deviation
`table_deviation`. In place of H any projection may stand. A token below zero is padding: its vector is zero, position included.
Source: Radford et al. 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.norms import NormKind, norm, norm_flops
from nnn_bench.models.parts import Initial, Port, Projection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnn_bench.models.build import Builder


class EmbeddingOptions(Settings):
    width: PositiveInt
    norm: NormKind = "layer"
    positions: Literal["learned", "none"] = "learned"
    tied_head: bool = True
    head_projection: Component | None = None
    random_left_padding: bool = False
    table_deviation: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _one_head(self) -> EmbeddingOptions:
        if self.tied_head and self.head_projection is not None:
            raise Inconsistent("must be false where head_projection is given", key="tied_head")
        return self


class EmbeddingModel(LanguageModel):
    """A language model between a table of token vectors and a linear head; `predict` ends with `unembed`."""

    head: nn.Parameter | Projection | None

    def __init__(self, options: EmbeddingOptions, builder: Builder, vocabulary: int, context: int):
        super().__init__()
        self.vocabulary, self.context = vocabulary, context
        self.width, self._norm_kind = options.width, options.norm
        table = Initial(options.table_deviation)
        self.embedding = nn.Parameter(table.fill_(torch.empty(vocabulary, self.width)))
        learned = options.positions == "learned"
        self.positions = nn.Parameter(table.fill_(torch.empty(context, self.width))) if learned else None
        self.random_left_padding = options.random_left_padding
        if options.head_projection is not None:
            self.head = builder.projector(options.head_projection)(Port("head", self.width, vocabulary, table))
        elif options.tied_head:
            self.head = None
        else:
            self.head = nn.Parameter(table.fill_(torch.empty(vocabulary, self.width)))
        self.norm = norm(options.norm, self.width)

    def embed(self, tokens: Tensor) -> Tensor:
        x = F.embedding(tokens.clamp(min=0) if self.random_left_padding else tokens, self.embedding)  # (B, T, C)
        x = x if self.positions is None else x + self.positions[: tokens.shape[1]]
        return x * (tokens >= 0).unsqueeze(-1) if self.random_left_padding else x

    def embed_at(self, token: Tensor, position: int) -> Tensor:
        """Vectors `(B, C)` of the tokens `(B,)` that stand at `position`."""
        x = F.embedding(token, self.embedding)
        return x if self.positions is None else x + self.positions[position]

    def unembed(self, x: Tensor) -> Tensor:
        """`(..., C) -> (..., V)`."""
        x = self.norm(x)
        if isinstance(self.head, Projection):
            return self.head(x)
        return F.linear(x, self.embedding if self.head is None else self.head)

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return [self.embedding] if self.positions is None else [self.embedding, self.positions]

    def head_parameters(self) -> Iterable[nn.Parameter]:
        if isinstance(self.head, Projection):
            return self.head.parameters()
        return [] if self.head is None else [self.head]

    def ends_flops(self) -> Flops:
        """Operations per token of `embed` and `unembed`."""
        placed = elementwise(0 if self.positions is None else self.width)
        head = self.head.flops() if isinstance(self.head, Projection) else linear(self.width, self.vocabulary)
        return placed + norm_flops(self._norm_kind, self.width) + head
