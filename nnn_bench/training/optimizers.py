"""Optimizers by name, their state as named tensors, and what of it a network keeps when it grows.

Weight decay acts on tensors with two or more dimensions; gains, biases and vectors are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nnn_bench.config.recipe import Lion, OptimizerSettings, SparseLion
from nnn_bench.models.growth import Origin
from nnn_bench.training.sparse_lion import SparseLion as SparseLionOptimizer

#: To which power of the gradient each tensor of an optimizer's state is proportional.
_POWERS = {"exp_avg": 1, "exp_avg_sq": 2}


def make_optimizer(model: nn.Module, settings: OptimizerSettings, learning_rate: float) -> torch.optim.Optimizer:
    """The optimizer of all trainable parameters of `model`, each in exactly one group."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    require_one_group_each(model, groups)
    if isinstance(settings, Lion):
        from lion_pytorch import Lion as LionOptimizer

        optimizer: torch.optim.Optimizer = LionOptimizer(groups, lr=learning_rate, betas=settings.betas)
        return optimizer
    if isinstance(settings, SparseLion):
        return SparseLionOptimizer(groups, learning_rate, settings.betas)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


def require_one_group_each(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Raises `RuntimeError` unless every trainable parameter is in exactly one group, and nothing else in any."""
    grouped = Counter(id(parameter) for group in groups for parameter in group["params"])
    trainable = Counter({id(parameter): 1 for parameter in model.parameters() if parameter.requires_grad})
    if grouped != trainable:
        raise RuntimeError("some trainable parameter is in no group of the optimizer, or in several")


def carry_state(
    old: torch.optim.Optimizer,
    old_parameters: dict[str, nn.Parameter],
    new: torch.optim.Optimizer,
    model: nn.Module,
    origins: dict[str, Origin],
) -> None:
    """Give `new` what `old` knew of the parameters (by name, before growing) that those of `model` come from.

    A parameter that will see the share rho of its origin's gradient gets first moments times rho and second moments times
    rho^2, expanded as the parameter was; counts of steps are kept. What has no origin starts fresh.
    """
    for name, parameter in model.named_parameters():
        origin = origins.get(name)
        if origin is None or not parameter.requires_grad:
            continue
        ancestor = old_parameters[origin.name]
        for key, value in old.state.get(ancestor, {}).items():
            if isinstance(value, Tensor):
                value = origin.heir(value) if value.shape == ancestor.shape else value
                value = value * origin.gradient_share ** _POWERS.get(key, 0)
            new.state[parameter][key] = value


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the optimizer's state as `(parameter name|state name, tensor)`."""
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"{name}|{key}", value if isinstance(value, Tensor) else torch.tensor(float(value))


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in place of any state there is."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for name, value in tensors.items():
        parameter, _, key = name.rpartition("|")
        optimizer.state[parameters[parameter]][key] = value
