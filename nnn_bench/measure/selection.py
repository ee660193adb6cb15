"""How a network's selection neurons choose, layer by layer.

For one layer with K computations and choices k* over tokens and units: `frequency_k` is the share of choices that fall on k;
`aggregate_entropy` is -sum f ln f, the evenness of use; `sample_entropy` is the mean over tokens and units of -sum p ln p with
p = softmax(logits), the doubt of a single choice. Both lie in [0, ln K], the maximum. An even use (high aggregate) with sure
choices (low sample) is what specialisation looks like; an even use alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
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
    return {name: selection_statistics(torch.cat(values)) for name, values in seen.items() if values}
