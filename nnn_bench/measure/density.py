"""What a trained multidimensional network still says when only a share of it is used, at inference.

Thinned weights: of each weight tensor that a part calls prunable (one for each axis), the share rho of largest magnitude is kept
and the rest is zero. Thinned answers: of the outputs of each part that has such weights, the share rho of largest magnitude is
kept at every position. Both take rho of 1, .75, .5, .25 and .1, and leave the network as it was, bit for bit.

Source: mohamed-services/mnn, which proposes the sparsity and measures none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)

#: Makes a network sparse for as long as it is entered.
Thinning = Callable[[nn.Module, float], AbstractContextManager[None]]


def parts_with_prunable(model: nn.Module) -> list[Any]:
    """The parts of `model` that call some of their weights prunable."""
    return [module for module in model.modules() if hasattr(module, "prunable")]


def kept(values: Tensor, share: float) -> Tensor:
    """Which entries of each row `(.., N)` are kept: the `share` of largest magnitude, and one at least, as a mask."""
    count = max(1, round(share * values.shape[-1]))
    largest = values.abs().topk(count, dim=-1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, largest, True)


@contextmanager
def thinned_weights(model: nn.Module, share: float) -> Iterator[None]:
    """Of each prunable tensor only the `share` of largest magnitude, until the block is left, in whatever way."""
    weights = {id(weight): weight for part in parts_with_prunable(model) for weight in part.prunable()}.values()
    before = [(weight, weight.detach().clone()) for weight in weights]
    try:
        for weight in weights:
            weight.data.masked_fill_(~kept(weight.data.flatten(), share).view_as(weight), 0.0)
        yield
    finally:
        for weight, value in before:
            weight.data.copy_(value)


@contextmanager
def thinned_answers(model: nn.Module, share: float) -> Iterator[None]:
    """Of the outputs of each part with prunable weights only the `share` of largest magnitude at every position."""

    def thin(_part: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.masked_fill(~kept(output, share), 0.0)

    hooks = [part.register_forward_hook(thin) for part in parts_with_prunable(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def density_curve(
    model: nn.Module,
    evaluate: Callable[[], float],
    *,
    thinned: Thinning = thinned_weights,
    shares: Iterable[float] = SHARES,
) -> dict[str, float]:
    """Loss by share kept ("1", "0.75", ..), as `evaluate()` finds it; empty for a network that has nothing to thin out."""
    if not parts_with_prunable(model):
        return {}
    curve = {}
    for share in shares:
        with thinned(model, share):
            curve[f"{share:g}"] = evaluate()
    return curve
