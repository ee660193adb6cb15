"""Score a model on fixed windows: the same targets, with the same context, for every variant and seed.

Only the second half of each window is scored, so that every scored target has at least half a context behind it (the middle of it
where targets are seen from both sides); the loss over all positions stands beside it. Bits per byte = total nats / (ln 2 x bytes
the targets stand for), which lets tokenizers compare.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnn_bench.data.batches import MASKED, ScoredWindows
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.environment import Environment

_WINDOWS_AT_ONCE = 64


def position_losses(
    model: LanguageModel, windows: ScoredWindows, environment: Environment
) -> tuple[np.ndarray, np.ndarray]:
    """Nats of every target of every window, `(windows, T)`, and the targets themselves; those of `MASKED` ones are 0."""
    losses, targets = [], []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for inputs, expected in windows.chunks(_WINDOWS_AT_ONCE):
            with environment.autocast():
                logits = model(inputs.to(environment.device))
            losses.append(nats(logits, expected.to(environment.device)).cpu().numpy())
            targets.append(expected.numpy())
    model.train(was_training)
    return np.concatenate(losses), np.concatenate(targets)


def evaluate(
    model: LanguageModel, windows: ScoredWindows, token_bytes: np.ndarray, environment: Environment
) -> dict[str, Any]:
    """Mean loss and bits per byte on the scored half and on all positions, and the mean loss of each position.

    `MASKED` targets count nowhere; a position without any other has no mean (None).
    """
    losses, targets = position_losses(model, windows, environment)
    losses = losses.astype(np.float64)
    scored = windows.scored
    scored_loss, scored_bits = _mean_and_bits(losses[:, scored], targets[:, scored], token_bytes)
    all_loss, all_bits = _mean_and_bits(losses, targets, token_bytes)
    return {
        "loss": scored_loss,
        "bits_per_byte": scored_bits,
        "all_positions_loss": all_loss,
        "all_positions_bits_per_byte": all_bits,
        "tokens": int((targets[:, scored] != MASKED).sum()),
        "by_position": [
            total / count if count else None
            for total, count in zip(losses.sum(axis=0).tolist(), (targets != MASKED).sum(axis=0).tolist(), strict=True)
        ],
    }


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target: logits (B, T, V), targets (B, T) -> (B, T); 0 for those that are `MASKED`."""
    found = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=MASKED, reduction="none")
    return found.view_as(targets)


def _mean_and_bits(losses: np.ndarray, targets: np.ndarray, token_bytes: np.ndarray) -> tuple[float, float]:
    total, counted = float(losses.sum()), targets[targets != MASKED]
    return total / counted.size, total / (math.log(2) * float(token_bytes[counted].sum()))
