"""What every causal language model offers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnn_bench.models.flops import Flops
from nnn_bench.models.growth import Growth, Origin
from nnn_bench.models.parts import Part, Projection


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by role, those that a growing network has frozen included; `body` is what budgets match."""

    tables: int
    head: int
    body: int

    @property
    def total(self) -> int:
        return self.tables + self.head + self.body


class LanguageModel(nn.Module):
    """Predicts a coming token at every position, from the positions up to it.

    `forward(tokens (B, T)) -> logits (B, T, V)`, with `T <= context`; `step(token (B,), state) -> (logits (B, V), state)` says
    the same one position at a time. `forward` is `embed`, then `predict`, so that an audit can poke what lies between.

    A network of several `stages` starts in the first; `grow` takes it to the next (see `growth.py`).
    """

    vocabulary: int
    context: int
    ahead: int = (
        1  # position t may see every token before t + ahead: its target lies there, or later; 0: all but its own
    )
    streams: bool = True  # whether `step` exists; a network that looks ahead inside a block has none
    differentiable: bool = True  # trees have nothing between `embed` and `predict`, and no gradient
    growth: Growth | None = None
    stage: int = 0
    stages: int = 1
    preserves_function: bool = True  # growing changes no logit
    random_left_padding: bool = (
        False  # wants to be trained on windows whose first positions, a random number, are padding
    )
    recompute_activations: bool = False  # trade a second forward pass of each block for its memory

    def forward(self, tokens: Tensor) -> Tensor:
        return self.predict(self.embed(tokens))

    def embed(self, tokens: Tensor) -> Tensor:
        """Vectors `(B, T, C)` of `tokens (B, T)`, position by position."""
        raise TypeError(f"{type(self).__name__} embeds nothing")

    def predict(self, x: Tensor) -> Tensor:
        """Logits `(B, T, V)` from what `embed` gave."""
        raise TypeError(f"{type(self).__name__} predicts nothing")

    def visible(self, context: int) -> Tensor:
        """Which positions s (columns) the answer at each position t (rows) claims to depend on, `(T, T)`, bool.

        A network that looks ahead claims the past alone: there, what lies in between is a matter of its blocks.
        """
        return torch.ones(context, context, dtype=torch.bool).tril()

    def hidden(self, context: int) -> Tensor:
        """Which positions s (columns) the answer at each position t (rows) must not depend on, `(T, T)`, bool.

        The target of t and all that follows it; where the target is t itself (`ahead` 0), t alone.
        """
        if self.ahead == 0:
            return torch.eye(context, dtype=torch.bool)
        return torch.ones(context, context, dtype=torch.bool).triu(self.ahead)

    def mixers_and_maps(self) -> list[Part]:
        return [module for module in self.modules() if isinstance(module, Part)]

    def initial_state(self, batch: int) -> Any:
        """State before the first token of `batch` sequences."""
        raise TypeError(f"{type(self).__name__} has no state")

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits `(B, V)` after one more token `(B,)`. The given state may be overwritten."""
        raise TypeError(f"{type(self).__name__} has no step")

    def at_birth(self) -> LanguageModel:
        """A network like this one in its first stage, with fresh weights; itself, where there is only one."""
        return self

    def grow(self) -> dict[str, Origin]:
        """Enter the next stage in place. Returns, for each parameter with a past, its new name and where it comes from."""
        raise TypeError(f"{type(self).__name__} does not grow")

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters of the present stage that are meant to stay as they are."""
        return [p for part in self.modules() if isinstance(part, Projection) for p in part.frozen_parameters()]

    def table_parameters(self) -> Iterable[nn.Parameter]:
        """Lookup tables by token or by position."""
        return ()

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """The map to the vocabulary, where it is not one of the tables."""
        return ()

    def window_flops(self, context: int) -> Flops:
        """Operations of a forward pass over one window of `context` positions, at the present stage."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def stage_flops(self, context: int) -> list[Flops]:
        """`window_flops` of every stage."""
        with torch.device("meta"):
            twin = self.at_birth()
            found = [twin.window_flops(context)]
            while twin.stage + 1 < twin.stages:
                twin.grow()
                found.append(twin.window_flops(context))
        return found

    def training_flops(self, tokens: int, context: int) -> Flops:
        """Operations to train on `tokens` targets in windows of `context`, through all stages as `growth` schedules them."""
        ends = [round(share * tokens) for share in self.growth.at] if self.growth else []
        total = Flops()
        for flops, first, last in zip(self.stage_flops(context), [0, *ends], [*ends, tokens], strict=True):
            total += flops.with_backward * (last - first) // context
        return total

    def inference_flops(self, context: int) -> Flops:
        """Operations of one `step` as the `context`-th token; of a network without one, of the window it ends."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def parameter_count(self) -> ParameterCount:
        tables = {id(p): p.numel() for p in self.table_parameters()}
        head = {id(p): p.numel() for p in self.head_parameters() if id(p) not in tables}
        total = sum(p.numel() for p in self.parameters())
        return ParameterCount(
            sum(tables.values()), sum(head.values()), total - sum(tables.values()) - sum(head.values())
        )
