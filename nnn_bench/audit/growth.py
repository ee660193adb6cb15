"""What a step from one stage to the next does: to the loss, and to the parameters the optimizer knows."""

from __future__ import annotations

import copy
import math

import torch.nn.functional as F

from nnn_bench.audit.findings import Finding
from nnn_bench.audit.probes import answer, dice, distance, windows
from nnn_bench.models.language_model import LanguageModel

LARGEST_CHANGE = 1e-5  # nats on a fixed batch, where growing is claimed to keep the function
_ROWS = 8


def growth(model: LanguageModel) -> Finding:
    """Take a copy of `model` to its next stage, on the way that training takes.

    Where the network claims to keep its function, the loss on a fixed batch stays. Every parameter that lives on, or that a
    new one copies, is named with its origin, so that no optimizer state is lost or put in a wrong place.
    """
    draw = dice(9)
    tokens, targets = windows(model, _ROWS, draw), windows(model, _ROWS, draw)
    twin = copy.deepcopy(model).double().train()
    before = {name: (p, p.detach().clone()) for name, p in twin.named_parameters() if p.requires_grad}
    old = answer(twin, tokens)
    origins = twin.grow()
    new = answer(twin, tokens)
    after = dict(twin.named_parameters())

    losses = [F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item() for logits in (old, new)]
    change = abs(losses[1] - losses[0])
    numbers = {
        "worst": change,
        "loss_before": losses[0],
        "loss_after": losses[1],
        "largest_logit_change": distance(old, new).max().item(),
        "tensors_without_heir": len(before.keys() - {origin.name for origin in origins.values()}),
    }
    wrong = []
    if twin.preserves_function and not change < LARGEST_CHANGE:
        wrong.append(f"the loss on a fixed batch went from {losses[0]:.6f} to {losses[1]:.6f}")
    kept = {id(p) for p, _ in before.values()}
    forgotten = [name for name, p in after.items() if id(p) in kept and p.requires_grad and name not in origins]
    if forgotten:
        wrong.append(f"{len(forgotten)} tensors that live on have no origin, as {forgotten[0]}")
    for name, origin in origins.items():
        if name not in after or (
            origin.name in before and after[name].shape != origin.heir(before[origin.name][1]).shape
        ):
            wrong.append(f"the origin of {name} is {origin.name}, which does not fit")
            break
    if not all(math.isfinite(loss) for loss in losses):
        wrong.append("a loss is no number")
    claim = (
        "claimed to keep the function"
        if twin.preserves_function
        else "not claimed to keep the function: told, not judged"
    )
    saw = f"growing changed the loss on a fixed batch by {change:.2g} ({claim})"
    return Finding("growth", not wrong, "; ".join(wrong) or saw, numbers)
