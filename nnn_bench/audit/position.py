"""T7: the loss along the window. An honest network gets no worse with more context; one that sees a target some way ahead is
good as long as the target lies inside the window, and falls off a cliff near its end."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnn_bench.audit.findings import Finding, not_applicable

CLIFF = 0.25  # nats
_PARTS = 16
_DEVIATIONS = 4.0


def position(by_position: Sequence[float], ahead: int = 1) -> Finding:
    """No part of the window is worse than the best before it by more than `CLIFF` and what chance explains.

    `by_position`: mean loss (nats) at each position. Chance is read off neighbouring positions, whose losses would be equal but
    for the targets they happen to have. Of a network that may see `ahead` - 1 tokens on, whole blocks of `ahead` positions are
    compared: within one, the first position honestly sees nearer to its target than the last.
    """
    losses = torch.tensor(by_position, dtype=torch.float64)
    size = max(ahead, 2, -(-len(losses) // _PARTS))
    starts = range(len(losses) % size, len(losses), size)  # the last part ends with the window
    if len(starts) < 2:
        return not_applicable("position", f"a window of {len(losses)} positions has no two parts of {size} to compare")
    parts = [losses[start : start + size].mean().item() for start in starts]
    steps = losses.diff().abs().median().item() / (0.6745 * 2**0.5)  # of one position; a cliff does not move the median
    margin = CLIFF + _DEVIATIONS * steps * (2 / size) ** 0.5
    rises = [later - min(parts[:index]) for index, later in enumerate(parts) if index]
    largest = max(rises)
    at = rises.index(largest) + 1
    numbers = {"worst": largest, "rise": largest, "margin": margin, "first": parts[0], "last": parts[-1]}
    against = f"{largest:+.3f} against the best part before ({margin:.3f} allowed)"
    saw = f"from position {starts[at]} on the loss is {parts[at]:.3f}, {against}"
    return Finding("position", largest <= margin, saw, numbers)
