"""One function, however it is asked: alone or beside other rows, at once or token by token, in training or in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from nnn_bench.audit.findings import Finding, not_applicable
from nnn_bench.audit.probes import (
    FLIPS,
    TOLERANCE,
    answer,
    answer_to,
    decides,
    dice,
    distance,
    embedded,
    frozen_copy,
    noise,
    others,
    same,
    windows,
)
from nnn_bench.models.language_model import LanguageModel

_ROWS = 4


def batch_rows(model: LanguageModel) -> Finding:
    """A row says the same alone, in another place of the batch, and beside other rows, in training mode too (T5).

    What is computed in another order may flip a decision (`probes.same`); beside replaced rows, nothing may move at all.
    """
    draw = dice(2)
    tokens = windows(model, _ROWS, draw)
    twin = frozen_copy(model)
    together = answer(twin, tokens)
    order = torch.randperm(_ROWS, generator=draw)
    alone = torch.cat(
        [distance(answer(twin, row.unsqueeze(0)), told) for row, told in zip(tokens, together, strict=True)]
    )
    moved = distance(answer(twin, tokens[order]), together[order])
    beside = torch.cat([_beside(frozen_copy(model, training=training), tokens) for training in (False, True)])
    found = {
        "alone": (alone, same(alone, twin)),
        "in another row": (moved, same(moved, twin)),
        "beside other rows": (beside, not bool((beside > TOLERANCE).any())),
    }
    largest = {how: distances.max().item() for how, (distances, _) in found.items()}
    numbers = {"worst": max(largest.values()), "beside_other_rows": largest["beside other rows"]}
    wrong = [f"{how} a row says something else (by {largest[how]:.2g})" for how, (_, good) in found.items() if not good]
    saw = f"{_ROWS} rows say the same alone, permuted and beside others, to {numbers['worst']:.1g}"
    return Finding("batch_rows", not wrong, "; ".join(wrong) or saw, numbers)


def _beside(model: LanguageModel, tokens: Tensor) -> Tensor:
    """How far each row moves when all others are replaced by other tokens, and by noise: `(2 rows, T)`."""
    draw = dice(3)
    plain, moved = answer(model, tokens), []
    for row in range(len(tokens)):
        replaced = others(tokens, model.vocabulary, draw)
        replaced[row] = tokens[row]
        moved.append(distance(answer(model, replaced)[row], plain[row]))
    if model.differentiable:
        x = embedded(model, tokens)
        plain = answer_to(model, x)
        for row in range(len(tokens)):
            noisy = noise(x, draw)
            noisy[row] = x[row]
            moved.append(distance(answer_to(model, noisy)[row], plain[row]))
    return torch.stack(moved)


def step(model: LanguageModel) -> Finding:
    """Token by token, several rows side by side, gives the logits of each row at once and alone (T4)."""
    if not model.streams:
        return not_applicable("step", "the network has no step: it cannot go token by token")
    twin = frozen_copy(model)
    tokens = windows(twin, _ROWS, dice(4))
    whole = torch.cat([answer(twin, row.unsqueeze(0)) for row in tokens])
    state, told = twin.initial_state(_ROWS), []
    with torch.no_grad():
        for position in range(twin.context):
            logits, state = twin.step(tokens[:, position], state)
            told.append(logits)
    apart = distance(torch.stack(told, dim=1), whole)  # (rows, T)
    share = (apart > TOLERANCE).double().mean().item()
    numbers = {"worst": apart.max().item(), "share": share}
    if same(apart, twin):
        flips = f", but for decisions that flip at {share:.1%} of them" if share else ""
        saw = f"step and forward agree to {numbers['worst']:.1g} at {apart.numel()} positions{flips}"
        return Finding("step", True, saw, numbers)
    first = int((apart > TOLERANCE).any(dim=0).int().argmax())
    allowed = f" (a network that rounds or picks may flip at {FLIPS:.0%})" if decides(twin) else ""
    saw = f"step and forward differ by up to {numbers['worst']:.2g}, from position {first} on, at {share:.0%} of them{allowed}"
    return Finding("step", False, saw, numbers)


def modes(model: LanguageModel) -> Finding:
    """Training mode and evaluation mode compute the same logits."""
    tokens = windows(model, _ROWS, dice(5))
    told = [answer(frozen_copy(model, training=training), tokens) for training in (True, False)]
    largest = distance(*told).max().item()
    if largest <= TOLERANCE:
        return Finding("modes", True, f"training and evaluation agree to {largest:.1g}", {"worst": largest})
    saw = f"training and evaluation give logits that differ by up to {largest:.2g}"
    return Finding("modes", False, saw, {"worst": largest})
