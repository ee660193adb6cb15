"""Whether a network that goes token by token says what it says of the whole text at once: only then is its step worth timing."""

from __future__ import annotations

import torch
from torch import Tensor

from nnn_bench.audit.probes import FLIPS, answer, decides, distance, frozen_copy, same
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.speed.reading import stepped


def refusal(model: LanguageModel, tokens: Tensor) -> str | None:
    """Why `model` cannot go token by token through `tokens (B, T)`; None where it can.

    Judged in float64, as the audits do: equal within their tolerance, but for a network that rounds or picks, which may flip at
    few positions. They ask it at the context it trains at, on the processor; here it is the text and the device that are timed.
    """
    if not model.streams:
        return "the network has no step: it answers a whole window at once"
    twin = frozen_copy(model)
    whole = torch.cat([answer(twin, row.unsqueeze(0)) for row in tokens])
    told, _ = stepped(twin, tokens, twin.initial_state(len(tokens)))
    apart = distance(torch.stack(told, dim=1), whole)
    if same(apart, twin):
        return None
    allowed = f", at more than {FLIPS:.0%} of positions or always at one" if decides(twin) else ""
    return f"step and forward differ by up to {apart.max().item():.2g}{allowed}, so its cached times would mean nothing"
