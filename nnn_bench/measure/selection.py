"""How a network's selection neurons choose, layer by layer.

For one layer with K computations and choices k* over tokens and units: `frequency_k` is the share of choices that fall on k;
`aggregate_entropy` is -sum f ln f, the evenness of use; `sample_entropy` is the mean over tokens and units of -sum p ln p with
p = softmax(logits), the doubt of a single choice. Both lie in [0, ln K], the maximum. An even use (high aggregate) with sure
choices (low sample) is what specialisation looks like; an even use alone proves nothing.

`cosine` tells how alike two computations are, as mean over their pairs: of the whole matrices, and of the rows of one unit.

Whether the selectors learned anything is asked by exchange: every choice (or those of one layer) falls on the second best
computation, with two of them on the other one, and the loss rises by what the choice was worth. Computations that came to be
interchangeable let it rise little, however even their use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the logits `(..., K, O)` of every selection layer while the block runs: layer name -> one per forward pass."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "watch")}
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name, module in layers.items():
        module.watch = seen[name]
    try:
        yield seen
    finally:
        for module in layers.values():
            module.watch = None


def selection_statistics(logits: Tensor) -> dict[str, Any]:
    """Frequencies and entropies (nats) of logits `(..., K, O)`."""
    K = logits.shape[-2]
    shares = logits.float().log_softmax(dim=-2)
    counts = torch.bincount(logits.argmax(dim=-2).flatten(), minlength=K)
    frequency = counts / counts.sum()
    return {
        "frequency": frequency.tolist(),
        "aggregate_entropy": -torch.special.xlogy(frequency, frequency).sum().item(),
        "sample_entropy": -(shares.exp() * shares).sum(dim=-2).mean().item(),
        "maximum_entropy": torch.tensor(float(K)).log().item(),
    }


@torch.no_grad()
def model_selection(model: nn.Module, tokens: Tensor) -> dict[str, dict[str, Any]]:
    """Statistics of every selection layer of `model` on `tokens (B, T)`; empty for a network that selects nothing."""
    with watched(model) as seen:
        if seen:
            model(tokens)
    layers: dict[str, Any] = dict(model.named_modules())
    return {
        name: selection_statistics(torch.cat(values)) | {"cosine": weight_cosine(layers[name].weight)}
        for name, values in seen.items()
        if values
    }


@torch.no_grad()
def weight_cosine(weight: Tensor) -> dict[str, float]:
    """Mean cosine between the computations of `weight (K, O, I)`, K of at least 2, as wholes and row by row."""
    K = weight.shape[0]
    found = {}
    for how, rows in (("whole", weight.flatten(1).unsqueeze(0)), ("rows", weight.transpose(0, 1))):
        directions = F.normalize(rows.float(), dim=-1)  # (one or O, K, elements)
        sums = directions.sum(dim=1).square().sum(dim=-1)  # all pairs, each twice, and each computation with itself
        own = directions.square().sum(dim=(1, 2))
        found[how] = ((sums - own) / (K * (K - 1))).mean().item()
    return found


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
def swap_rises(model: nn.Module, tokens: Tensor, targets: Tensor) -> dict[str, float]:
    """By how many nats the mean loss rises when the choices of each layer, by name, are exchanged, and of `all` at once.

    Empty for a network that selects nothing. The network is asked in the mode it is in.
    """

    def loss() -> float:
        return F.cross_entropy(model(tokens).flatten(0, 1).float(), targets.flatten()).item()

    layers = [
        name for name, module in model.named_modules() if hasattr(module, "swapped") and module.weight.shape[0] > 1
    ]
    if not layers:
        return {}
    plain, rises = loss(), {}
    for name, chosen in [("all", layers), *((name, [name]) for name in layers)]:
        with swapped(model, chosen):
            rises[name] = loss() - plain
    return rises
