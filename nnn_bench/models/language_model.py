"""What every causal language model offers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nnn_bench.models.flops import Flops
from nnn_bench.models.parts import Projection


@dataclass(frozen=True)
class ParameterCount:
    """Trainable parameters by role; `body` is what budgets match."""

    tables: int
    head: int
    body: int

    @property
    def total(self) -> int:
        return self.tables + self.head + self.body


class LanguageModel(nn.Module):
    """Predicts the next token at every position, from the positions up to it.

    `forward(tokens (B, T)) -> logits (B, T, V)`, with `T <= context`; `step(token (B,), state) -> (logits (B, V), state)` says
    the same one position at a time.
    """

    vocabulary: int
    context: int
    recompute_activations: bool = False  # trade a second forward pass of each block for its memory

    def initial_state(self, batch: int) -> Any:
        """State before the first token of `batch` sequences."""
        raise TypeError(f"{type(self).__name__} has no state")

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits `(B, V)` after one more token `(B,)`. The given state may be overwritten."""
        raise TypeError(f"{type(self).__name__} has no step")

    def table_parameters(self) -> Iterable[nn.Parameter]:
        """Lookup tables by token or by position."""
        return ()

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """The map to the vocabulary, where it is not one of the tables."""
        return ()

    def forward_flops(self, context: int) -> Flops:
        """Operations per token of a forward pass over `context` positions."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def training_flops(self, tokens: int, context: int) -> Flops:
        """Operations to train on `tokens` targets in windows of `context`: a backward pass costs two forward passes,
        less what projections say they skip."""
        per_token = self.forward_flops(context) * 3
        for module in self.modules():
            if isinstance(module, Projection):
                per_token = per_token - module.skipped_backward()
        return per_token * tokens

    def inference_flops(self, context: int) -> Flops:
        """Operations of one `step` as the `context`-th token."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def parameter_count(self) -> ParameterCount:
        tables = {id(p): p.numel() for p in self.table_parameters() if p.requires_grad}
        head = {id(p): p.numel() for p in self.head_parameters() if p.requires_grad and id(p) not in tables}
        total = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return ParameterCount(
            sum(tables.values()), sum(head.values()), total - sum(tables.values()) - sum(head.values())
        )
