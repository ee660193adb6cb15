"""The two ends most language models share: tokens to vectors, vectors to logits.

x[t] = E[token_t] (+ P[t]);  logits = H Norm(x), no bias. With a tied head H = E. Tables are born N(0, 0.02).
Source: Radford et al. 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.norms import NormKind, norm, norm_flops
from nnn_bench.models.parts import Initial

if TYPE_CHECKING:
    from collections.abc import Iterable


class EmbeddingOptions(Settings):
    width: PositiveInt
    norm: NormKind = "layer"
    positions: Literal["learned", "none"] = "learned"
    tied_head: bool = True


class EmbeddingModel(LanguageModel):
    """A language model between a table of token vectors and a linear head; `predict` ends with `unembed`."""

    def __init__(self, options: EmbeddingOptions, vocabulary: int, context: int):
        super().__init__()
        self.vocabulary, self.context = vocabulary, context
        self.width, self._norm_kind = options.width, options.norm
        table = Initial(0.02)
        self.embedding = nn.Parameter(table.fill_(torch.empty(vocabulary, self.width)))
        learned = options.positions == "learned"
        self.positions = nn.Parameter(table.fill_(torch.empty(context, self.width))) if learned else None
        self.head = None if options.tied_head else nn.Parameter(table.fill_(torch.empty(vocabulary, self.width)))
        self.norm = norm(options.norm, self.width)

    def embed(self, tokens: Tensor) -> Tensor:
        x = F.embedding(tokens, self.embedding)  # (B, T, C)
        return x if self.positions is None else x + self.positions[: tokens.shape[1]]

    def embed_at(self, token: Tensor, position: int) -> Tensor:
        """Vectors `(B, C)` of the tokens `(B,)` that stand at `position`."""
        x = F.embedding(token, self.embedding)
        return x if self.positions is None else x + self.positions[position]

    def unembed(self, x: Tensor) -> Tensor:
        """`(..., C) -> (..., V)`."""
        return F.linear(self.norm(x), self.embedding if self.head is None else self.head)

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return [self.embedding] if self.positions is None else [self.embedding, self.positions]

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return [] if self.head is None else [self.head]

    def ends_flops(self) -> Flops:
        """Operations per token of `embed` and `unembed`."""
        placed = elementwise(0 if self.positions is None else self.width)
        return placed + norm_flops(self._norm_kind, self.width) + linear(self.width, self.vocabulary)
