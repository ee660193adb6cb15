"""Text a trained model writes, token by token through `step`."""

from __future__ import annotations

import torch
from torch import Tensor

from nnn_bench.models.language_model import LanguageModel


@torch.no_grad()
def sample(
    model: LanguageModel, prompt: list[int], tokens: int, *, seed: int, temperature: float = 0.8, top_k: int = 40
) -> list[int]:
    """`tokens` ids that follow `prompt` (at least one id), drawn from the `top_k` likeliest at `temperature`.

    When the window is full the model starts afresh on its last half, the same way for every architecture.
    """
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    text, state, room = list(prompt), None, 0
    logits: Tensor | None = None
    for _ in range(tokens):
        if logits is None or room == 0:
            window = text[-max(1, model.context // 2) :]
            state, room = model.initial_state(1), model.context
            waiting = window
        else:
            waiting = text[-1:]
        for token in waiting:
            logits, state = model.step(torch.tensor([token], device=device), state)
            room -= 1
        assert logits is not None
        best = (logits[0].float().cpu() / temperature).topk(min(top_k, logits.shape[-1]))
        pick = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        text.append(int(best.indices[pick]))
    return text[len(prompt) :]
