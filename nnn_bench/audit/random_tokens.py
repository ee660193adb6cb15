"""T2: train on independent, uniform random tokens. No honest network can predict them; one that sees its target learns to.

This finds leaks that only training makes, and says what a leak is worth. Every window is new, so there is nothing to learn by
heart: the expected loss of any network that does not see the target is at least ln V, at every position.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.audit.findings import Finding
from nnn_bench.audit.probes import dice
from nnn_bench.models.language_model import LanguageModel

#: With as few tokens as there can be, copying one is learned soonest: the published convolution attention (200,000 body
#: parameters) is at 0.46 ln V after 300 steps with 2 tokens, at 0.62 with 4, at 0.93 with 16.
VOCABULARY = 2

STEPS = 300
LEAST_STEPS = 100  # the same leak in 20,000 parameters: 0.979 ln V, where less than 0.99 fails
_RATE = 3e-3
_ROWS = 8
_FRESH_WINDOWS = 512
_MARGIN = 0.01  # of ln V, mean over all positions
_POSITION_MARGIN = (
    0.06  # of ln V, at any one position, whose mean over 512 targets is uncertain by less than a quarter of it
)
_TRIES = 3


def random_tokens(
    model: LanguageModel, steps: int = STEPS, tell: Callable[[int, int], None] = lambda done, steps: None
) -> Finding:
    """Train `model`, fresh and of `VOCABULARY` tokens, through all its stages, and score it on fresh windows.

    Where training diverges it is tried again with a quarter of the learning rate.
    """
    floor = math.log(model.vocabulary)
    for attempt in range(_TRIES):
        rate = _RATE / 4**attempt
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            by_position = _trained(copy.deepcopy(model), steps, rate, tell)
        if by_position is not None:
            break
    else:
        return Finding(
            "random_tokens", False, f"training diverges even at a learning rate of {rate:.2g}", {"worst": 1.0}
        )
    mean, (lowest, position) = by_position.mean().item(), (by_position.min().item(), int(by_position.argmin()))
    numbers = {
        "worst": 1 - mean / floor,
        "loss": mean,
        "ratio": mean / floor,
        "lowest_position_ratio": lowest / floor,
        "positions_below": int((by_position < floor * (1 - _POSITION_MARGIN)).sum()),
        "steps": steps,
        "learning_rate": rate,
    }
    said = f"after {steps} steps on random tokens the loss is {mean:.4f}, {mean / floor:.3f} of ln {model.vocabulary}"
    if mean >= floor * (1 - _MARGIN) and lowest >= floor * (1 - _POSITION_MARGIN):
        return Finding("random_tokens", True, said, numbers)
    below = f"{numbers['positions_below']} of {len(by_position)} positions are below it"
    where = f"{below}, position {position} lowest at {lowest:.4f}"
    return Finding("random_tokens", False, f"{said}; {where}", numbers)


def _trained(model: LanguageModel, steps: int, rate: float, tell: Callable[[int, int], None]) -> Tensor | None:
    """Mean loss by position on fresh windows after training, `(T,)`; None when training diverged."""
    model.train()
    draw, optimizer = dice(10), _optimizer(model)
    for step in range(steps):
        tell(step, steps)
        while model.stage + 1 < model.stages and step >= steps * (model.stage + 1) // model.stages:
            model.grow()
            optimizer = _optimizer(model)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / (0.1 * steps), (steps - step) / (0.3 * steps))
        loss = _losses(model, _ROWS, draw).mean()
        if not torch.isfinite(loss):
            return None
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    fresh = dice(11)
    with torch.no_grad():  # in training mode, which is where a leak was learned
        losses = torch.cat([_losses(model, 64, fresh) for _ in range(_FRESH_WINDOWS // 64)])
    found = losses.double().mean(dim=0)
    return found if bool(torch.isfinite(found).all()) else None


def _losses(model: LanguageModel, rows: int, draw: torch.Generator) -> Tensor:
    """Loss of every target of new random windows, `(rows, T)`; the target lies as far ahead as the network claims not to see."""
    tokens = torch.randint(model.vocabulary, (rows, model.context + model.ahead), generator=draw)
    inputs, targets = tokens[:, : model.context], tokens[:, model.ahead :]
    return F.cross_entropy(model(inputs).float().transpose(1, 2), targets, reduction="none")


def _optimizer(model: LanguageModel) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trainable, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
