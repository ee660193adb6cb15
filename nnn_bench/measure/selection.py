"""How a network's selection neurons choose, layer by layer.

For one layer with K computations and choices k* over tokens and units: `frequency_k` is the share of choices that fall on k;
`aggregate_entropy` is -sum f ln f, the evenness of use; `sample_entropy` is the mean over tokens and units of -sum p ln p with
p = softmax(logits), the doubt of a single choice. Both lie in [0, ln K], the maximum. An even use (high aggregate) with sure
choices (low sample) is what specialisation looks like; an even use alone proves nothing.

`cosine` tells how alike two computations are, as mean over their pairs: of the whole matrices, and of the rows of one unit.

`gradient_norm` is what the last step asked of each computation's matrix and of the selector's (Frobenius norms, before clipping):
a computation that nobody chooses gets none and learns nothing.

What a choice is worth is asked by exchange: `swap.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tally:
    """What `selection_statistics` needs of logits `(..., K, O)`, summed over forward passes: no logits are kept."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        self._doubt = torch.zeros((), dtype=torch.float64)

    @property
    def empty(self) -> bool:
        return self._counts is None

    def append(self, logits: Tensor) -> None:
        """Take note of one forward pass. All must have the same K."""
        shares = logits.float().log_softmax(dim=-2)
        self._doubt -= (shares.exp() * shares).sum().double().cpu()
        counts = _counts(logits).cpu()
        self._counts = counts if self._counts is None else self._counts + counts

    def statistics(self) -> dict[str, Any]:
        """Frequencies and entropies (nats) of all that was noted, at least one forward pass."""
        assert self._counts is not None, "nothing was chosen"
        choices = self._counts.sum()
        frequency = self._counts / choices
        return {
            "frequency": frequency.tolist(),
            "aggregate_entropy": -torch.special.xlogy(frequency, frequency).sum().item(),
            "sample_entropy": (self._doubt / choices).item(),
            "maximum_entropy": torch.tensor(float(len(frequency))).log().item(),
        }


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tally]]:
    """Tally the logits of every selection layer, by its name, over the forward passes that are made while the block runs."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "watch")}
    seen = {name: Tally() for name in layers}
    for name, module in layers.items():
        module.watch = seen[name]
    try:
        yield seen
    finally:
        for module in layers.values():
            module.watch = None


def selection_statistics(logits: Tensor) -> dict[str, Any]:
    """Frequencies and entropies (nats) of logits `(..., K, O)`."""
    tally = Tally()
    tally.append(logits)
    return tally.statistics()


@torch.no_grad()
def model_selection(model: nn.Module, tokens: Tensor) -> dict[str, dict[str, Any]]:
    """Statistics of every selection layer of `model` on `tokens (B, T)`; empty for a network that selects nothing.

    The network is asked in the mode it is in.
    """
    with watched(model) as seen:
        if seen:
            model(tokens)
    return layer_statistics(model, seen)


def layer_statistics(model: nn.Module, seen: dict[str, Tally], clipped: float = 1.0) -> dict[str, dict[str, Any]]:
    """What was `watched`, with cosines and gradient norms, of every layer that chose.

    Gradients are those that lie in the parameters; `clipped` is what clipping multiplied them by, which is undone.
    """
    layers: dict[str, Any] = dict(model.named_modules())
    return {
        name: tally.statistics()
        | {"cosine": weight_cosine(layers[name].weight), "gradient_norm": gradient_norms(layers[name], clipped)}
        for name, tally in seen.items()
        if not tally.empty
    }


@torch.no_grad()
def gradient_norms(layer: nn.Module, clipped: float = 1.0) -> dict[str, Any]:
    """Frobenius norms of the gradients that lie in a selection layer, divided by `clipped`.

    `computations` holds one for each matrix of `weight (K, O, I)`, `selector` that of `selector_weight`; each is None where there
    is no gradient.
    """
    computing, selecting = (getattr(layer, name).grad for name in ("weight", "selector_weight"))
    return {
        "computations": None if computing is None else (_norms(computing.flatten(1)) / clipped).tolist(),
        "selector": None if selecting is None else (_norms(selecting.flatten()) / clipped).item(),
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


def _norms(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float32)


def _counts(logits: Tensor) -> Tensor:
    """How many choices fall on each computation, `(K,)`; on the first of equal ones. Two are compared faster than searched."""
    if logits.shape[-2] == 2:
        first, second = logits.unbind(dim=-2)
        taken = torch.count_nonzero(second > first)
        return torch.stack([first.numel() - taken, taken])
    return torch.bincount(logits.argmax(dim=-2).flatten(), minlength=logits.shape[-2])
