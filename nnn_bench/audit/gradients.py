"""Whether everything that is there is trained, and nothing that was not chosen.

Zero-born gates and deltas get their gradient one step after what stands behind them, so a few steps are taken.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.audit.findings import Finding, not_applicable
from nnn_bench.audit.probes import dice, windows
from nnn_bench.models.language_model import LanguageModel

_STEPS = 5
_ROWS = 8
_LEAST_SHARE = 0.5  # of the body's elements: below it, most of what a budget counts does not learn
#: Of the largest gradient in the body. What seeps past a rounding without a straight-through gradient lies a billion times below
#: it: 44 % of the published cascade's elements get more than this, 99 % of a sound network's (20,000 and 200,000 parameters).
_TRACE = 1e-7
_NAMED = 3
_SINGLE_TOKENS = 3


def gradient(model: LanguageModel) -> Finding:
    """Every trainable tensor gets gradient within a few steps; what is not trainable declares itself frozen.

    Also the share of the body's elements that got more than `_TRACE` of its largest gradient; what a network declares frozen is
    left out of it.
    """
    twin = copy.deepcopy(model).train()
    declared = {id(parameter) for parameter in twin.frozen_parameters()}
    named = dict(twin.named_parameters())
    trainable = {name: p for name, p in named.items() if p.requires_grad}
    idle = [name for name, p in named.items() if not p.requires_grad and id(p) not in declared]
    moving = [name for name, p in trainable.items() if id(p) in declared]
    largest = _largest_gradients(twin, trainable)
    dead = [name for name, found in largest.items() if not found.any()]
    ends = {id(p) for p in (*twin.table_parameters(), *twin.head_parameters())}
    body = [
        largest.get(name, torch.zeros_like(p)).flatten()
        for name, p in named.items()
        if id(p) not in ends and id(p) not in declared
    ]
    elements = torch.cat([torch.zeros(0), *body])
    share = (elements > _TRACE * elements.max()).double().mean().item() if elements.any() else 0.0
    wrong = [
        _some(idle, "tensor", "that nobody trains and that are not declared frozen"),
        _some(dead, "tensor", f"without any gradient in {_STEPS} steps"),
        _some(moving, "tensor", "trained though declared frozen"),
        f"only {share:.1%} of the body's elements got gradient worth the name" if share < _LEAST_SHARE else "",
    ]
    numbers = {
        "worst": len(idle) + len(dead) + len(moving) + 1 - share,
        "share": share,
        "share_any": (elements > 0).double().mean().item() if len(elements) else 0.0,
        "tensors": len(named),
        "without_gradient": len(dead),
        "undeclared": len(idle),
    }
    saw = "; ".join(filter(None, wrong))
    sound = f"all {len(trainable)} trainable tensors got gradient in {_STEPS} steps, {share:.1%} of the body's elements"
    return Finding("gradient", not saw, saw or sound, numbers)


def _largest_gradients(model: LanguageModel, trainable: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The largest magnitude each element's gradient had in a few steps on random tokens; `model` is trained by them."""
    largest = {name: torch.zeros_like(p) for name, p in trainable.items()}
    if not trainable:
        return largest
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-3, weight_decay=0.0)
    draw = dice(6)
    for _ in range(_STEPS):
        optimizer.zero_grad(set_to_none=True)
        logits, targets = model(windows(model, _ROWS, draw)), windows(model, _ROWS, draw)
        F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
        for name, parameter in trainable.items():
            if parameter.grad is not None:
                largest[name] = torch.maximum(largest[name], parameter.grad.abs())
        optimizer.step()
    return largest


def _some(names: list[str], noun: str, what: str) -> str:
    """`2 tensors WHAT (a, b)`, or nothing."""
    if not names:
        return ""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} {what} ({shown})"


def unselected(model: LanguageModel) -> Finding:
    """On one token, computations that were not selected get a gradient of exactly zero, and selected ones get some.

    A layer that is passed several times counts all its choices.
    """
    if not any(hasattr(module, "watch") for module in model.modules()):
        return not_applicable("unselected", "nothing in the network selects")
    largest, layers, silent = 0.0, 0, 0
    leaking: list[str] = []
    for token in torch.randperm(model.vocabulary, generator=dice(7))[:_SINGLE_TOKENS]:
        for name, chosen, rest in _single_token(model, token.view(1, 1)):
            layers += 1
            silent += chosen == 0
            largest = max(largest, rest)
            if rest > 0 and name not in leaking:
                leaking.append(name)
    if not layers:
        return not_applicable("unselected", "no choice of the network changes its answer to a single token")
    numbers = {"worst": largest + silent, "largest": largest, "layers": len(leaking)}
    if leaking:
        saw = _some(leaking, "layer", f"with gradient, up to {largest:.2g}, on computations that were not selected")
        return Finding("unselected", False, saw, numbers)
    if silent:
        return Finding(
            "unselected", False, f"selected computations got no gradient in {silent} of {layers} cases", numbers
        )
    saw = f"exactly zero for all that was not selected, in {layers // _SINGLE_TOKENS} layers, on each of {_SINGLE_TOKENS} tokens"
    return Finding("unselected", True, saw, numbers)


def _single_token(model: LanguageModel, token: Tensor) -> Iterator[tuple[str, float, float]]:
    """Each selecting layer: its name, its largest gradient on selected computations and on the others."""
    twin = copy.deepcopy(model).double().eval()
    layers: dict[str, Any] = {name: module for name, module in twin.named_modules() if hasattr(module, "watch")}
    answers: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.watch = []
        layer.register_forward_hook(partial(_keep_answer, answers[name]))
    logits = twin(token)
    (logits * torch.randn(logits.shape, generator=dice(8), dtype=torch.float64)).sum().backward()
    for name, layer in layers.items():
        choices: list[Tensor] = layer.watch
        if not choices or not any(answer.grad is not None and answer.grad.any() for answer in answers[name]):
            continue  # a single token's queries and keys, say, change nothing: its softmax has one term
        K, O = choices[0].shape[-2:]  # noqa: E741
        chosen = torch.zeros(K, O, dtype=torch.bool)
        for choice in choices:
            chosen |= F.one_hot(choice.argmax(dim=-2), K).flatten(0, -3).any(dim=0).T  # (..., O, K) -> (K, O)
        found = [g.reshape(K, O, -1).abs().amax(dim=-1) for g in _gradients(layer, K * O)]
        on, off = torch.stack(found).amax(dim=0)[chosen], torch.stack(found).amax(dim=0)[~chosen]
        yield name, on.max().item(), off.max().item() if off.numel() else 0.0


def _keep_answer(answers: list[Tensor], layer: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> None:
    answer.retain_grad()
    answers.append(answer)


def _gradients(layer: nn.Module, units: int) -> list[Tensor]:
    """Gradients of `weight` and `bias`, whose leading dimensions are the computations of each unit, `(K, O, ...)`."""
    found = []
    for name in ("weight", "bias"):
        parameter = getattr(layer, name, None)
        if isinstance(parameter, nn.Parameter) and parameter.requires_grad:
            if parameter.numel() % units:
                raise TypeError(f"{type(layer).__name__}.{name} has no row for each of {units} computations")
            found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    if not found:
        raise TypeError(f"{type(layer).__name__} selects, but has no weight that could be looked at")
    return found
