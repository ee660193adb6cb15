"""Lion on the entries of a tensor that a step has a gradient for; all others stand still.

For each entry w with momentum m (0 at first), gradient g, betas b1 and b2, weight decay d and learning rate r:

    g != 0    c = b1 m + (1 - b1) g        w <- (1 - r d) w - r sign(c)        m <- b2 m + (1 - b2) g
    g == 0    w and m keep their bits; the momentum does not fade either

Lion moves every entry by a whole r, so that the weights of a symbol that did not occur, or of a segment that no number fell
into, would go on along an old momentum. Where no gradient is zero this is Lion, in the arithmetic of lion-pytorch; but where
one is no number, neither is the weight any more.

Source: language-interpolation, SparseLion, its default. Departures: the line of weight decay there did nothing by mistake, here
it works, on the same entries as the rest; and there those entries were picked by index, which copies them and waits for
the device, here all are computed and `where` keeps the old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class SparseLion(torch.optim.Optimizer):
    """Parameters or groups as for any optimizer of torch; a group may have a `weight_decay` of its own."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"], first, second)
        return loss

    def _update(
        self, weight: torch.Tensor, gradient: torch.Tensor, rate: float, decay: float, first: float, second: float
    ) -> None:
        state = self.state[weight]
        if not state:
            state["exp_avg"] = torch.zeros_like(weight)
        momentum = state["exp_avg"]
        touched = gradient != 0
        interpolated = (momentum * first).add_(gradient, alpha=1 - first)
        # the sign of what is no number is 0: its weight would stand still for ever, and no loss would show it
        direction = torch.where(interpolated.isnan(), interpolated, interpolated.sgn())
        moved = (weight * (1 - rate * decay)).add_(direction, alpha=-rate)
        weight.copy_(torch.where(touched, moved, weight))
        heard = (momentum * second).add_(gradient, alpha=1 - second)
        momentum.copy_(torch.where(touched, heard, momentum))
