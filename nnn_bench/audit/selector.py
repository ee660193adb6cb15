"""Whether a network that selects learns to select what is better.

For one token and one selecting layer, a random direction dy makes a linear loss: computation k is worth t_k = sum v_k dy, less
is better. One step of gradient descent on this loss moves the layer's logits by dl. To first order the loss expected under
p = softmax(l) then moves, by this alone, in proportion to

  sum_k p_k dl_k (t_k - sum_j p_j t_j)

Negative is right. For K = 2 that says just whether the better of two logits rises. Nothing is asked of how the layer comes to its
gradient, but that it can tell its logits and values.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from nnn_bench.audit.findings import Finding, not_applicable
from nnn_bench.audit.probes import dice, frozen_copy, windows
from nnn_bench.models.language_model import LanguageModel

_TOKENS = 32
#: Of a fair coin's standard errors: a selector that learns nothing is at one half, give or take; one that learns the wrong way at
#: none (the published one), one that learns from what it chose at three quarters, straight through at one.
_DEVIATIONS = 3.0


def selector(model: LanguageModel) -> Finding:
    """In every layer, at more than half of its choices but for chance, training leads towards the better computation."""
    layers = _inputs(model)
    if not layers:
        return not_applicable("selector", "nothing in the network selects")
    draw = dice(13)
    shares: dict[str, tuple[int, int]] = {}
    for name, (layer, x) in layers.items():
        found = [_progress(layer, token, draw) for token in x]
        progress, spread = (torch.cat([torch.zeros(0), *parts]) for parts in zip(*found, strict=True))
        shares[name] = int((progress[spread > 0] < 0).sum()), int((spread > 0).sum())
    shares = {name: counts for name, counts in shares.items() if counts[1]}
    if not shares:
        return not_applicable("selector", "no selection of the network has two computations that differ")
    right, judged = (sum(counts) for counts in zip(*shares.values(), strict=True))
    by_layer = {name: good / choices for name, (good, choices) in shares.items()}
    wrong = [n for n, (_, choices) in shares.items() if by_layer[n] <= 0.5 - _DEVIATIONS * 0.5 / choices**0.5]
    share, lowest = right / judged, min(by_layer, key=lambda name: by_layer[name])
    numbers = {"worst": 1 - by_layer[lowest], "share": share, "lowest": by_layer[lowest], "choices": judged}
    where = f"at {share:.1%} of {judged:,} choices training leads towards the better computation"
    where += f", {by_layer[lowest]:.1%} in {lowest}, the lowest layer"
    if not wrong:
        return Finding("selector", True, where, numbers)
    saw = f"{where}: selectors of {len(wrong)} of {len(shares)} layers learn nothing, or to pick the worse one"
    return Finding("selector", False, saw, numbers)


def _inputs(model: LanguageModel) -> dict[str, tuple[nn.Module, Tensor]]:
    """Each selecting layer, by name, with some of the vectors `(tokens, I)` it sees on random tokens."""
    twin = frozen_copy(model)
    layers = {name: module for name, module in twin.named_modules() if hasattr(module, "watch")}
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, layer in layers.items():

        def keep(module: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            seen.setdefault(name, given[0].detach().flatten(0, -2)[-_TOKENS:])

        hooks.append(layer.register_forward_pre_hook(keep))
    with torch.no_grad():
        twin(windows(twin, 1, dice(14)))
    for hook in hooks:
        hook.remove()
    return {name: (layers[name], x) for name, x in seen.items()}


def _progress(layer: Any, x: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """By how much a step of training moves the expected loss of each choice `(U,)`, but for a positive factor; and how far
    apart the computations it chooses from are worth."""
    if layer.weight.shape[0] < 2:
        return torch.zeros(0), torch.zeros(0)
    taught = copy.deepcopy(layer).requires_grad_()
    logits, values = (one.detach()[0] for one in taught.logits_and_values(x.unsqueeze(0)))  # (K, U), (K, O)
    direction = torch.randn(values.shape[-1], generator=draw, dtype=values.dtype)
    (taught(x.unsqueeze(0)) @ direction).sum().backward()
    with torch.no_grad():
        for parameter in taught.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
        moved = taught.logits_and_values(x.unsqueeze(0))[0][0] - logits
    worth = values * direction
    if logits.shape[-1] != worth.shape[-1]:  # one choice for all units
        worth = worth.sum(dim=-1, keepdim=True)
    p = logits.softmax(dim=0)
    return (p * moved * (worth - (p * worth).sum(dim=0))).sum(dim=0), worth.amax(dim=0) - worth.amin(dim=0)
