"""What the record of a run says of its selections: one look at each validation, cheap enough to be had in every run.

A look takes the first windows of the validation text. What the choices of a single layer are worth costs a forward pass for each
layer, so that is asked after the last step alone (`benchmarks/selection_statistics.py` tells the shares of a run's time).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnn_bench.data.batches import ScoredWindows
from nnn_bench.measure.selection import layer_statistics, watched
from nnn_bench.measure.swap import swap_rises
from nnn_bench.training.environment import Environment

WINDOWS = 8


def look_at_choices(
    model: nn.Module, windows: ScoredWindows, environment: Environment, clipped: float, *, each: bool
) -> dict[str, Any]:
    """`selection`, layer by layer, and `swap_rises`, in nats, as a row of the record holds them; empty where nothing selects.

    `clipped` is what the gradients that lie in the parameters were multiplied by; `each` asks for the rise by each layer besides
    that by all.
    """
    inputs, targets = (one.to(environment.device) for one in next(iter(windows.chunks(WINDOWS))))
    was_training = model.training
    model.eval()
    layers: dict[str, Any] = {}
    rises: dict[str, float] = {}
    with environment.autocast(), torch.no_grad(), watched(model) as seen:
        plain = model(inputs) if seen else None
    if plain is not None:
        layers = layer_statistics(model, seen, clipped)
        with environment.autocast():
            rises = swap_rises(model, inputs, targets, each=each, plain=plain)
    model.train(was_training)
    return {"selection": layers, "swap_rises": rises} if layers else {}


def last_look(record: Path) -> dict[str, Any] | None:
    """The last look of a record, as a result holds it; None where nothing selects.

    Read and not made again: a run that is resumed after its last step has no gradients any more.
    """
    rows = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    seen = [row for row in rows if row.get("selection")]
    return {"layers": seen[-1]["selection"], "swap_rises": seen[-1]["swap_rises"]} if seen else None
