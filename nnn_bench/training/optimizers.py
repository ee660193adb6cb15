"""Optimizers by name, and their state as named tensors.

Weight decay acts on tensors with two or more dimensions; gains, biases and vectors are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nnn_bench.config.recipe import AdamW, Lion


def make_optimizer(model: nn.Module, settings: AdamW | Lion, learning_rate: float) -> torch.optim.Optimizer:
    """The optimizer of all trainable parameters of `model`, each in exactly one group."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(settings, Lion):
        from lion_pytorch import Lion as LionOptimizer

        optimizer: torch.optim.Optimizer = LionOptimizer(groups, lr=learning_rate, betas=settings.betas)
        return optimizer
    return torch.optim.AdamW(groups, lr=learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


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
