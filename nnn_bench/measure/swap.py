"""What the choices of selection neurons are worth, asked by exchange.

Every choice (or those of one layer) falls on the second best computation, with two of them on the other one, and the loss rises
by what the choice was worth. Computations that came to be interchangeable let it rise little, however even their use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Key of what the loss rises by when all layers are exchanged at once.
ALL = "all"


@contextmanager
def swapped(model: nn.Module, names: Collection[str] | None = None) -> Iterator[None]:
    """While the block runs, the selecting layers of these names (all, if none are given) take their second best computation."""
    layers: list[Any] = [
        module
        for name, module in model.named_modules()
        if hasattr(module, "swapped") and (names is None or name in names)
    ]
    for layer in layers:
        layer.swapped = True
    try:
        yield
    finally:
        for layer in layers:
            layer.swapped = False


@torch.no_grad()
def swap_rises(
    model: nn.Module, tokens: Tensor, targets: Tensor, *, each: bool = True, plain: Tensor | None = None
) -> dict[str, float]:
    """By how many nats the mean loss rises when the choices of `all` layers, and of `each` by its name, are exchanged.

    `tokens` and `targets` `(B, T)`; a target of -100 counts nowhere. `plain` are the logits `(B, T, V)` without an exchange, if
    they are known: it takes a forward pass to know them, one for all, and one for each layer. Empty for a network that selects
    nothing. The network is asked in the mode it is in.
    """

    def loss(logits: Tensor) -> float:
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).item()

    layers = [
        name for name, module in model.named_modules() if hasattr(module, "swapped") and module.weight.shape[0] > 1
    ]
    if not layers:
        return {}
    before, rises = loss(model(tokens) if plain is None else plain), {}
    for name, chosen in [(ALL, layers), *((name, [name]) for name in layers if each)]:
        with swapped(model, chosen):
            rises[name] = loss(model(tokens)) - before
    return rises
